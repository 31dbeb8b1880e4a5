"""Evaluate a model file on a data set: score it, leave files and a row."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from fer_hailo.board.images import write_picture
from fer_hailo.common.calls import call, tool
from fer_hailo.common.config import SPLITS_BY
from fer_hailo.common.errors import UserError
from fer_hailo.common.metrics import Metrics
from fer_hailo.common.preprocess import prepare
from fer_hailo.common.results import Row, add_rows, row_of
from fer_hailo.common.runs import RUNS, cache_of
from fer_hailo.deploy.home import Home, Kind
from fer_hailo.deploy.selection import read_selection
from fer_hailo.explain.contact import contact_sheet
from fer_hailo.predict.predictor import load
from fer_hailo.training.data.dataset import Dataset, Part, load_dataset
from fer_hailo.training.evaluate.order import check_order
from fer_hailo.training.evaluate.outputs import write_evaluation, write_report
from fer_hailo.training.evaluate.score import evaluate_model, evaluate_predictor
from fer_hailo.training.models.opened import check_stated, open_network, seen_by

LOOKED_AT = 2000  # validation images, for the order of the classes


def check_split(home: Home, split: str) -> None:
    """Raise UserError where the configuration would split the data otherwise than the run did: a side would
    hold other images.
    """
    if home.own is None:
        return
    for name in SPLITS_BY:
        own = home.own.value(name)
        if home.config.value(name) != own:
            raise UserError(
                f"{home.run} was split with {name} {own}: with another, {split} would hold other images"
            )


def load_side(home: Home, split: str) -> tuple[Dataset, Part]:
    """The data set that a model's configuration names, and the side of it to score.

    Raises UserError where `val` would not be the side that the run kept out of its training, or the classes
    of a bare file stand in another order than is taken.
    """
    config, run, own = home.config, home.run, home.own
    if split == "val" and own and own.data.selected_by:
        raise UserError(
            f"{run} was trained on all of train and has no validation side; that of the run whose settings "
            "it repeats is scored by "
            f"{call('evaluate')} {own.data.selected_by} --split val"
        )
    if split != "test":
        check_split(home, split)
    dataset = load_dataset(config, cache_of(run) if run else RUNS / "cache", home.order)
    _check_order(home, dataset)
    if home.trained_on not in (None, dataset.key) and split != "test":
        print(
            f"note: {config.data.source} is not what this model was trained on; its {split} side may hold "
            "training images",
            file=sys.stderr,
        )
    return dataset, dataset.part(split)


def evaluate_file(home: Home, split: str, out: Path | None, explain: bool = False) -> tuple[Metrics, Path]:
    """Score a model on one side of a data set.

    Returns (metrics, folder): the folder is `out`; by default the run folder for the data that it was trained
    on, so that its own metrics are renewed, else one named after model and data. explain: also write
    explained_SPLIT.png, see `contact_sheet`. Raises UserError as `load_side` does.
    """
    config, run, own = home.config, home.run, home.own
    if out and out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: --out takes a folder")
    check_stated(home)
    dataset, part = load_side(home, split)
    trained_on = home.trained_on or dataset.key
    stage, metrics, probabilities = _score(home, dataset, part, split)
    if out is None:
        # A released model's folder stays as it is: its files have been summed, and no face of the data may
        # come into it.
        trained = home.kind is Kind.RUN and stage == "keras"
        renewed = (
            config.change(
                data=own.data.source,
                extra_classes=own.data.extra_classes,
                soft_labels=own.data.soft_labels,
                drop=own.data.drop,
            )
            if own
            else None
        )
        same = trained and trained_on == dataset.key and renewed == own
        kind = "" if stage == "keras" else f"_{stage}"
        place = f"evaluation_{home.name}{kind}_{dataset.name.replace(' ', '_')}_{dataset.key[:8]}"
        out = run if run and same else home.results.parent / place
    write_evaluation(out, metrics, part, probabilities)
    if explain:
        with load(home) as predictor:
            shown = contact_sheet(
                predictor, lambda i: prepare(part.images[i], predictor.spec), part.labels, probabilities
            )
        write_picture(out / f"explained_{split}.png", shown)
    write_report(
        out, f"{home.model.name} on {dataset.name}", f"Model {home.name}, evaluated by {tool('evaluate')}."
    )
    add_rows(home.results, [_row(home, stage, metrics)])
    return metrics, out


def _check_order(home: Home, dataset: Dataset) -> None:
    """Of a bare file whose order of the classes nothing states, see on some validation images whether it is
    another. Raises UserError as `check_order` does.
    """
    if home.kind is not Kind.BARE or home.stated.labels:
        return
    taken = ", ".join(home.order)
    print(f"note: nothing states the order of the model's classes; it is taken as {taken}", file=sys.stderr)
    if len(dataset.val):
        chosen = np.unique(np.linspace(0, len(dataset.val) - 1, LOOKED_AT).astype(np.int64))
        metrics = _score(home, dataset, dataset.val.take(chosen), "val")[1]
        check_order(np.array(metrics.confusion_matrix), dataset.names)


def _score(home: Home, dataset: Dataset, part: Part, split: str) -> tuple[str, Metrics, np.ndarray]:
    """Stage, metrics and probabilities of a model on images of one side of a data set."""
    if not home.format.converted:
        network = open_network(home)
        spec = seen_by(home, network)
        return "keras", *evaluate_model(network, part, dataset.names, spec, data=dataset.name, split=split)
    with load(home) as predictor:
        return predictor.stage, *evaluate_predictor(predictor, part, data=dataset.name, split=split)


def _row(home: Home, stage: str, metrics: Metrics) -> Row:
    selection = read_selection(home.run) if home.run else None
    seed, selected = home.own.seed if home.own else "", selection.name if selection else ""
    size = home.model.stat().st_size
    return row_of(metrics, run=home.name, stage=stage, seed=seed, size_bytes=size, selected_by=selected)
