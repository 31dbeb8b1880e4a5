"""The files that an evaluation leaves: metrics, plots, the report page."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_csv, write_json
from fer_hailo.common.metrics import Bin, Metrics, read_metrics, reliability
from fer_hailo.common.reading import read_json, reading
from fer_hailo.common.report import (
    confusion_figure,
    line_figure,
    metrics_table,
    reliability_figure,
    write_page,
)
from fer_hailo.common.runs import CURVES
from fer_hailo.deploy.selection import read_selection
from fer_hailo.training.data.dataset import Part
from fer_hailo.training.evaluate.plots import plot_confusion, plot_history, plot_mistakes


def write_evaluation(folder: Path, metrics: Metrics, part: Part, probabilities: np.ndarray) -> None:
    """Write metrics_SPLIT.json, reliability_SPLIT.json, confusion_matrix_SPLIT.png and mistakes_SPLIT.png."""
    split = metrics.split
    write_json(folder / f"metrics_{split}.json", metrics.to_dict())
    write_json(
        folder / f"reliability_{split}.json", [b.to_dict() for b in reliability(probabilities, part.labels)]
    )
    plot_confusion(folder / f"confusion_matrix_{split}.png", metrics)
    plot_mistakes(
        folder / f"mistakes_{split}.png",
        part.images,
        part.labels,
        probabilities,
        metrics.labels,
        f"{metrics.data}, {split}",
    )


def write_report(folder: Path, title: str, note: str) -> Path:
    """Write report.html (and training_curves.png) from the files of a run or evaluation folder. Returns its
    path.
    """
    sections = []
    for split, heading in (("test", "Test"), ("val", "Validation")):
        metrics, bins = (
            _read_metrics(folder / f"metrics_{split}.json"),
            _read_bins(folder / f"reliability_{split}.json"),
        )
        if metrics and bins:
            sections.append(
                (f"{heading}: {metrics.data}", metrics_table(metrics) + confusion_figure(metrics))
            )
            sections.append((f"{heading}: confidence", reliability_figure(bins)))
    selection = read_selection(folder)
    if selection:
        own = selection.metrics["keras"]
        heading = f"Validation of {selection.name}, whose settings this run repeats on all of train"
        sections.append((heading, metrics_table(own) + confusion_figure(own)))
    history = read_history(folder)
    if history:
        starts = [i for i in range(1, len(history)) if history[i]["stage"] != history[i - 1]["stage"]]
        plot_history(folder / CURVES, history)
        for name in ("accuracy", "loss"):
            curves = {f"training {name}": [row[name] for row in history]}
            if not selection:
                curves[f"validation {name}"] = [row[f"val_{name}"] for row in history]
            sections.append(
                (name.capitalize(), line_figure(curves, "epoch (dashed: stage 2 begins)", starts))
            )
    write_page(folder / "report.html", title, note, sections)
    return folder / "report.html"


def _read_metrics(path: Path) -> Metrics | None:
    """What another evaluation wrote; None where there is nothing, or a damaged file: its section is left
    out.
    """
    with contextlib.suppress(UserError):
        return read_metrics(path)
    return None


def _read_bins(path: Path) -> list[Bin] | None:
    """As `_read_metrics`, of the reliability diagram."""
    with contextlib.suppress(UserError), reading(path, "holds no reliability diagram", "score again"):
        return [Bin.from_dict(values) for values in read_json(path)]
    return None


def read_history(folder: Path) -> list[dict]:
    """history.csv as rows of numbers, without those that a run on all of train leaves empty; no rows when
    there is none.

    Raises UserError for a damaged file.
    """
    path = folder / "history.csv"
    if not path.exists():
        return []
    with reading(path, "does not tell how the training went", "resume the run, which writes it again"):
        return [{name: float(value) for name, value in row.items() if value} for row in read_csv(path)]
