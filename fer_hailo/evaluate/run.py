"""Evaluate a model file: find the configuration and labels it belongs to, score it, leave files and a row."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fer_hailo.calls import call, tool
from fer_hailo.config import SPLITS_BY, Config, load_config
from fer_hailo.data.dataset import Part, load_dataset
from fer_hailo.errors import UserError
from fer_hailo.evaluate.outputs import write_evaluation, write_report
from fer_hailo.evaluate.score import evaluate_model, evaluate_predictor
from fer_hailo.hailo.bundle import MANIFEST
from fer_hailo.models.build import load_model
from fer_hailo.released import absent
from fer_hailo.released import place as placed
from fer_hailo.results import add_rows, row_of
from fer_hailo.runs import CONFIG, ENVIRONMENT, LABELS, MODEL, RUNS, beside, cache_of, newest_run, read_labels
from fer_hailo.runtime.predictor import describe, load
from fer_hailo.selection import read_selection

PREPARED_BY = ("source_size", "input_size", "color")


@dataclass(frozen=True)
class Subject:
    """A model file with what is known about it: its run folder (None for a bare file), configuration and class names."""

    model: Path
    run: Path | None
    config: Config
    labels: tuple[str, ...]


def find_subject(path: str | None, overrides: dict) -> Subject:
    """The model that `path` means: a run folder, released:NAME, a .keras, .tflite or .hef file, or (None) the newest complete run's."""
    place = placed(path) if path else newest_run(done=True)
    model = place / MODEL if place.is_dir() else place
    if not model.is_file():
        raise UserError(absent(model))
    converted = model.suffix != ".keras"
    folders = model.absolute().parents[:3] if converted else (model.parent,)  # RUN/deploy/hailo8/model.hef
    run = next((folder for folder in folders if (folder / CONFIG).is_file() and (folder / ENVIRONMENT).is_file()), None)
    config = replace(load_config(run / CONFIG if run else None, overrides), extra_classes=(), soft_labels=False)  # scoring needs neither
    if converted:
        labels, spec = describe(model)
        for name in PREPARED_BY:
            if name in overrides and getattr(config, name) != getattr(spec, name):
                raise UserError(f"{model} was made for {name} {getattr(spec, name)}, not {getattr(config, name)}")
        config = replace(config, **{name: getattr(spec, name) for name in PREPARED_BY})
    else:
        labels = read_labels(model.parent / LABELS) if (model.parent / LABELS).is_file() else config.classes
    if "classes" not in overrides:
        config = replace(config, classes=labels)
    if config.classes != labels:
        raise UserError(f"the model's classes are {', '.join(labels)}, not {', '.join(config.classes)}")
    return Subject(model, run, config, labels)


def check_split(subject: Subject, split: str) -> None:
    """Raise UserError where the configuration would split the data otherwise than the run did: a side would hold other pictures."""
    if not subject.run:
        return
    own = load_config(subject.run / CONFIG)
    for name in SPLITS_BY:
        if getattr(subject.config, name) != getattr(own, name):
            raise UserError(f"{subject.run} was split with {name} {getattr(own, name)}: with another, {split} would hold other pictures")


def training_data(subject: Subject) -> str | None:
    """The key of the data that a run was trained on, where it is known."""
    if not subject.run:
        return None
    return json.loads((subject.run / ENVIRONMENT).read_text(encoding="utf-8")).get("data", {}).get("key")


def evaluate_file(path: str | None, split: str, overrides: dict, out: Path | None) -> tuple[dict, Path]:
    """Score a model on one side of a data set.

    Returns (metrics, folder): the folder is `out`; by default the run folder for the data that it was trained on, so that
    its own metrics are renewed, else one named after model and data.
    Raises UserError where `val` would not be the side that the run kept out of its training.
    """
    subject = find_subject(path, overrides)
    config, run = subject.config, subject.run
    own = load_config(run / CONFIG) if run else None
    if split == "val" and own and own.selected_by:
        raise UserError(
            f"{run} was trained on all of train and has no validation side; that of the run whose settings it repeats is scored by "
            f"{call('evaluate')} {own.selected_by} --split val"
        )
    if split != "test":
        check_split(subject, split)
    if out and out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: --out takes a folder")
    parent = beside(run) if run else RUNS
    dataset = load_dataset(config, cache_of(run) if run else RUNS / "cache")
    trained_on = training_data(subject) or dataset.key
    if trained_on != dataset.key and split != "test":
        print(f"note: {config.data} is not what this model was trained on; its {split} side may hold training pictures", file=sys.stderr)
    stage, metrics, probabilities = _score(subject, dataset.part(split), data=dataset.name, split=split)
    name = run.name if run else subject.model.stem
    if out is None:
        # A released model's folder stays as it is: its files have been summed, and no face of the data may come into it.
        released = run and (run / MANIFEST).is_file()
        renewed = replace(config, data=own.data, extra_classes=own.extra_classes, soft_labels=own.soft_labels) if own else None
        same = run and not released and stage == "keras" and trained_on == dataset.key and renewed == own
        kind = "" if stage == "keras" else f"_{stage}"
        out = run if same else parent / f"evaluation_{name}{kind}_{dataset.name.replace(' ', '_')}_{dataset.key[:8]}"
    write_evaluation(out, metrics, dataset.part(split), probabilities)
    write_report(out, f"{subject.model.name} on {dataset.name}", f"Model {name}, evaluated by {tool('evaluate')}.")
    selection = read_selection(run) if run else None
    seed, size, selected = own.seed if own else "", subject.model.stat().st_size, selection.name if selection else ""
    add_rows(parent / "results.csv", [row_of(metrics, run=name, stage=stage, seed=seed, size_bytes=size, selected_by=selected)])
    return metrics, out


def _score(subject: Subject, part: Part, *, data: str, split: str) -> tuple[str, dict, np.ndarray]:
    """Stage, metrics and probabilities of a model on one side of a data set."""
    if subject.model.suffix == ".keras":
        model = load_model(subject.model)
        return "keras", *evaluate_model(model, part, subject.labels, subject.config.preprocess, data=data, split=split)
    with load(subject.model) as predictor:
        return predictor.stage, *evaluate_predictor(predictor, part, data=data, split=split)
