"""Evaluate a model file: find the configuration and labels it belongs to, score it, leave files and a row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from fer_hailo.config import Config, load_config
from fer_hailo.data.dataset import load_dataset
from fer_hailo.errors import UserError
from fer_hailo.evaluate.outputs import write_evaluation, write_report
from fer_hailo.evaluate.score import evaluate_model
from fer_hailo.models.build import load_model
from fer_hailo.results import add_rows, row_of
from fer_hailo.runs import CONFIG, DONE, LABELS, MODEL, RUNS, newest_run, read_labels


@dataclass(frozen=True)
class Subject:
    """A model file with what is known about it: its run folder (None for a bare file), configuration and class names."""

    model: Path
    run: Path | None
    config: Config
    labels: tuple[str, ...]


def find_subject(path: str | None, overrides: dict) -> Subject:
    """The model that `path` means: a run folder, a .keras file, or (None) the newest complete run's."""
    place = Path(path) if path else newest_run(done=True)
    model = place / MODEL if place.is_dir() else place
    if not model.is_file():
        raise UserError(f"no model at {model}")
    if model.suffix != ".keras":
        raise UserError(f"{model} is not a .keras file: evaluate.py scores Keras models")
    run = model.parent if (model.parent / CONFIG).is_file() else None
    config = load_config(run / CONFIG if run else None, overrides)
    labels = read_labels(model.parent / LABELS) if (model.parent / LABELS).is_file() else config.classes
    if "classes" not in overrides:
        config = replace(config, classes=labels)
    if config.classes != labels:
        raise UserError(f"the model's classes are {', '.join(labels)}, not {', '.join(config.classes)}")
    return Subject(model, run, config, labels)


def evaluate_file(path: str | None, split: str, overrides: dict, out: Path | None) -> tuple[dict, Path]:
    """Score a model on one side of a data set.

    Returns (metrics, folder): the folder is `out`; by default the run folder for the data that it was trained on, so that
    its own metrics are renewed, else one named after model and data.
    """
    subject = find_subject(path, overrides)
    config = subject.config
    parent = subject.run.parent if subject.run else RUNS
    dataset = load_dataset(config, parent / "cache")
    part = dataset.part(split)
    metrics, probabilities = evaluate_model(
        load_model(subject.model), part, subject.labels, config.preprocess, data=dataset.name, split=split
    )
    if out is None:
        own = subject.run and (subject.run / DONE).exists() and load_config(subject.run / CONFIG) == config
        out = (
            subject.run
            if own
            else parent / f"evaluation_{subject.run.name if subject.run else subject.model.stem}_{dataset.name.replace(' ', '_')}"
        )
    name = subject.run.name if subject.run else subject.model.name
    write_evaluation(out, metrics, part, probabilities)
    write_report(out, f"{subject.model.name} on {dataset.name}", f"Model {name}, evaluated by evaluate.py.")
    seed = config.seed if subject.run else ""
    add_rows(parent / "results.csv", [row_of(metrics, run=name, stage="keras", seed=seed, size_bytes=subject.model.stat().st_size)])
    return metrics, out
