"""What a run has not learnt: the fold that it left out, and its validation side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.deploy.home import Home
from fer_hailo.training.data.dataset import Dataset, Part, load_dataset
from fer_hailo.training.fit.lineage import check_lineage


def left_out_folds(homes: Sequence[Home], config: Config, cache: Path) -> list[Part]:
    """What each model's run left out. Raises UserError where together that is not the training side."""
    own = [home.own.data.left_out if home.own else None for home in homes]
    for home, fold in zip(homes, own, strict=True):
        if fold is None:
            raise UserError(f"{home.model} left no fold out: name runs that did, trained with --fold i/K")
    folds = [fold for fold in own if fold]
    counts = sorted({count for _, count in folds})
    missing = set(range(1, counts[0] + 1)) - {number for number, _ in folds}
    if len(counts) > 1:
        raise UserError(f"the runs are of {' and '.join(map(str, counts))} folds: name those of one number")
    if missing:
        raise UserError(f"no run left fold {min(missing)}/{counts[0]} out: train one with --fold")
    return [load_dataset(config.change(fold=f"{i}/{k}"), cache).left_out for i, k in folds]


def unseen(homes: Sequence[Home], config: Config, dataset: Dataset, cache: Path) -> list[np.ndarray]:
    """The images whose labels each model has not learnt, by their places in the data: int64, one array a
    model.

    Runs of all K folds have the training side between them, and each has the validation side; other runs have
    that alone. config: that of one of them, of no fold; dataset: what it gives. Raises UserError where the
    folds are not whole, or a model is of no run, of other data, split otherwise, or of all of train.
    """
    for home in homes:
        if home.own is None or home.trained_on != dataset.key:
            raise UserError(
                f"{home.model} may have learnt any of these labels: name runs that were trained on "
                f"{config.data.source}"
            )
        if not home.own.data.validation_fraction:
            raise UserError(
                f"{home.model} has learnt the labels of all of train: name {home.own.data.selected_by}, "
                "whose settings it repeats"
            )
    learnt = config.change(
        teacher=tuple(str(home.model) for home in homes), weights="none", targets="", views=0
    )
    check_lineage(learnt, dataset)
    val = dataset.val.images.index
    if not any(home.own.data.fold for home in homes if home.own):
        return [val] * len(homes)
    folds = left_out_folds(homes, config, cache)
    return [np.concatenate([part.images.index, val]) for part in folds]
