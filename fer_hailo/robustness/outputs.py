"""Tables, files and the plot of what models lose on corrupted faces."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_hailo.common.calls import install
from fer_hailo.common.files import write_csv, write_json
from fer_hailo.common.results import add_rows, git_commit, row_of
from fer_hailo.robustness.scores import Interval, Scores
from fer_hailo.robustness.table import SEED, TABLE

COLUMNS = [
    "model", "stage", "data", "split", "count", "corruption", "strength", "amount", "accuracy",
    "accuracy_low", "accuracy_high", "loss", "macro_recall", "ece",
]  # fmt: skip


def to_dict(all_scores: Sequence[Scores]) -> dict[str, Any]:
    """Plain JSON values: the table, and of each model its metrics and losses, fractions."""
    first = all_scores[0]
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "git_commit": git_commit(),
        "data": first.clean.data,
        "split": first.clean.split,
        "count": first.clean.count,
        "sha256": first.clean.sha256,
        "seed": SEED,
        "table": [row._asdict() for row in TABLE],
        "models": [_model(scores, first) for scores in all_scores],
    }


def text(all_scores: Sequence[Scores]) -> str:
    """As people read them: percent and points."""
    clean = all_scores[0].clean
    lines = [f"{clean.data}, {clean.split}: {clean.count:,} faces; accuracy in % (points lost)"]
    for scores in all_scores:
        lines += ["", scores.contender.name, *_block(scores)]
    if len(all_scores) > 1:
        lines += ["", *_comparison(all_scores)]
    return "\n".join(lines)


def write(all_scores: Sequence[Scores], folder: Path) -> list[Path]:
    """Write corruptions_SPLIT.json, .csv and .png; rows of results.csv. Returns the files' paths.

    Without Matplotlib, as on a board, there is no plot, and a line says so.
    """
    base = folder / f"corruptions_{all_scores[0].clean.split}"
    paths = [base.with_suffix(suffix) for suffix in (".json", ".csv", ".png")]
    write_json(paths[0], to_dict(all_scores))
    write_csv(paths[1], COLUMNS, _rows(all_scores))
    _add_results(all_scores)
    try:
        from fer_hailo.training.evaluate.plots import plot_corruptions

        plot_corruptions(paths[2], *_curves(all_scores))
    except ImportError as error:
        print(f"note: no plot ({error}): {install('train')}", file=sys.stderr)
        paths.pop()
    return paths


def _curves(all_scores: Sequence[Scores]) -> tuple[dict[str, dict[str, list[float]]], str]:
    """For each corruption and model the accuracies at strength 0 to 3, and the plot's title."""
    curves = {
        _words(name): {
            f"{scores.contender.name} (mean loss {_percent(scores.mean_loss)})": [
                scores.clean.accuracy,
                *(cell.accuracy for cell in scores.cells[name]),
            ]
            for scores in all_scores
        }
        for name in all_scores[0].cells
    }
    clean = all_scores[0].clean
    return curves, f"{clean.data}, {clean.split}: accuracy on {clean.count:,} corrupted faces"


def _block(scores: Scores) -> list[str]:
    strengths = "".join(f"{f'strength {number}':>14}" for number in (1, 2, 3))
    lines = [f"  {'clean':<16}{_percent(scores.clean.accuracy):>6}", f"  {'':<16}{strengths}{'mean':>8}"]
    for name, cells in scores.cells.items():
        losses = scores.loss(name)
        shown = [
            f"{_percent(cell.accuracy):>6} {f'({_percent(loss)})':>7}"
            for cell, loss in zip(cells, losses, strict=True)
        ]
        lines.append(f"  {_words(name):<16}{''.join(shown)}{_percent(_mean(losses)):>8}")
    return [*lines, f"  mean loss {_percent(scores.mean_loss)} points {_span(scores.interval)}"]


def _comparison(all_scores: Sequence[Scores]) -> list[str]:
    lines = [f"{chr(ord('A') + i)}  {scores.contender.name}" for i, scores in enumerate(all_scores)]
    head = "".join(f"{chr(ord('A') + i):>7}" for i in range(len(all_scores)))
    lines += ["", f"{'mean loss, points':<18}{head}"]
    for name in all_scores[0].cells:
        means = "".join(f"{_percent(_mean(scores.loss(name))):>7}" for scores in all_scores)
        lines.append(f"  {_words(name):<16}{means}")
    lines.append(f"  {'all':<16}" + "".join(f"{_percent(scores.mean_loss):>7}" for scores in all_scores))
    for i, scores in enumerate(all_scores[1:], 1):
        more, interval = scores.more_than(all_scores[0])
        lines.append(f"{chr(ord('A') + i)} loses {100 * more:+.1f} points more than A {_span(interval)}")
    return [*lines, "[95 % intervals over images; the differences paired]"]


def _model(scores: Scores, first: Scores) -> dict[str, Any]:
    more, interval = scores.more_than(first)
    return {
        "name": scores.contender.name,
        "stage": scores.stage,
        "sha256": scores.contender.digest,
        "mean_loss": scores.mean_loss,
        "mean_loss_ci95": list(scores.interval),
        "more_than_first": more,
        "more_than_first_ci95": list(interval),
        "loss": {name: list(scores.loss(name)) for name in scores.cells},
        "clean": scores.clean.to_dict(),
        "corruptions": {name: [cell.to_dict() for cell in cells] for name, cells in scores.cells.items()},
    }


def _rows(all_scores: Sequence[Scores]) -> list[dict]:
    rows = []
    for scores in all_scores:
        cells = [("clean", 0, "", scores.clean)]
        for row in TABLE:
            metrics = scores.cells[row.name]
            cells += [(row.name, i, f"{row.amounts[i - 1]:g}", metrics[i - 1]) for i in (1, 2, 3)]
        for name, strength, amount, cell in cells:
            numbers = {
                "accuracy": cell.accuracy,
                "accuracy_low": cell.accuracy_ci95[0],
                "accuracy_high": cell.accuracy_ci95[1],
                "loss": scores.clean.accuracy - cell.accuracy,
                "macro_recall": cell.macro_recall,
                "ece": cell.ece,
            }
            which = {"model": scores.contender.name, "stage": scores.stage, "corruption": name}
            side = {"data": cell.data, "split": cell.split, "count": cell.count}
            shown = {key: f"{value:.6f}" for key, value in numbers.items()}
            rows.append(which | side | {"strength": strength, "amount": amount} | shown)
    return rows


def _add_results(all_scores: Sequence[Scores]) -> None:
    """A row for each model: its scores on clean faces, and its mean loss. A peer's goes to the first
    model's file.
    """
    places = [scores.contender.home.results for scores in all_scores if scores.contender.home]
    for scores in all_scores:
        home = scores.contender.home
        row = row_of(
            scores.clean,
            run=home.name if home else scores.contender.name,
            stage=scores.stage,
            size_bytes=home.model.stat().st_size if home else "",
            corruption_loss=scores.mean_loss,
        )
        add_rows(home.results if home else places[0], [row])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _percent(value: float) -> str:
    """Of a fraction; of one of accuracy, points."""
    return f"{round(100 * value, 1) + 0:.1f}"  # no -0.0


def _span(interval: Interval) -> str:
    return f"[{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def _words(name: str) -> str:
    return name.replace("_", " ")
