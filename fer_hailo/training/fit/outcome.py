"""The end of a run: its saved model scored on validation and test, its confidence fitted, rows, report,
DONE.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from fer_hailo.common.confidence import fit_confidence
from fer_hailo.common.config import Config
from fer_hailo.common.files import write_json, write_text
from fer_hailo.common.metrics import format_metrics
from fer_hailo.common.results import add_rows, row_of
from fer_hailo.common.runs import CONFIDENCE, DONE, MODEL
from fer_hailo.deploy.selection import Selection
from fer_hailo.training.data.dataset import Dataset
from fer_hailo.training.evaluate.outputs import write_evaluation, write_report
from fer_hailo.training.evaluate.score import evaluate_model
from fer_hailo.training.models.build import load_model

SMALLEST = 1e-30  # a probability that float32 rounded to 0 has a logarithm too


def score_run(
    run: Path, config: Config, dataset: Dataset, note: str, selection: Selection | None = None
) -> None:
    """Score RUN/best_model_float32.keras as it lies on disk, and complete the run folder.

    note: a sentence for the report. selection: of a run on all of train, which has no validation side to
    score and takes its confidence from there.
    """
    model, rows = load_model(run / MODEL), []
    if selection:
        write_json(run / CONFIDENCE, selection.confidence.to_dict())
    for split, part in (("val", dataset.val), ("test", dataset.test)):
        if selection and split == "val":
            continue
        if not len(part):
            print(f"{dataset.name} has no {split} side: it is not scored", file=sys.stderr, flush=True)
            continue
        metrics, probabilities = evaluate_model(
            model, part, dataset.names, config.preprocess, data=dataset.name, split=split
        )
        write_evaluation(run, metrics, part, probabilities)
        if split == "val":
            write_json(
                run / CONFIDENCE,
                fit_confidence(np.log(np.maximum(probabilities, SMALLEST)), part.labels).to_dict(),
            )
        rows.append(
            row_of(
                metrics,
                run=run.name,
                stage="keras",
                seed=config.seed,
                size_bytes=(run / MODEL).stat().st_size,
                input_size=config.face.input_size,
                selected_by=selection.name if selection else "",
            )
        )
        print(format_metrics(metrics), flush=True)
    add_rows(run.parent / "results.csv", rows)
    write_report(run, f"{config.model.arch} on {dataset.name}", f"Run {run.name}, seed {config.seed}. {note}")
    write_text(run / DONE, "")
    print(f"done: {run / MODEL} and {run / 'report.html'}", file=sys.stderr, flush=True)
