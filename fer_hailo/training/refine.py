"""Refine the labels of a training side: models' mean probabilities over augmented views, in a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from fer_hailo.common.config import Config
from fer_hailo.common.metrics import softmax
from fer_hailo.common.progress import track
from fer_hailo.common.runs import cache_of, environment
from fer_hailo.deploy.bundle import file_sha256
from fer_hailo.deploy.home import Home
from fer_hailo.training.crossfit import left_out_folds
from fer_hailo.training.data.dataset import Dataset, Part, describe, load_dataset
from fer_hailo.training.data.feed import TrainingBatches
from fer_hailo.training.data.targets import Targets, image_digests, write_targets
from fer_hailo.training.ensemble import members
from fer_hailo.training.fit.lineage import check_lineage, split_of
from fer_hailo.training.fit.views import Answering
from fer_hailo.training.models.build import load_model

BATCH = 128  # fixed: what is drawn depends on it
PLAIN = {"mixup_alpha": 0, "erase": 0}  # an image is answered for itself, and whole


def refine(places: list[str], cross_fitted: bool, overrides: dict, views: int, seed: int, out: Path) -> Path:
    """Make the file `out` of the models at `places`. overrides: {"data": PATH}, where it lies elsewhere.

    Each image of the training side is answered by every model on `views` views, augmented as the first
    model's images were in training but for MixUp and erasing; cross-fitted, by the models alone whose runs
    left its fold out. Raises UserError where models do not go together, or the folds are not whole.
    """
    homes = members(places, overrides)
    first = homes[0].config.change(views=0, targets="", fold="", teacher=tuple(places), weights="none")
    cache = cache_of(homes[0].run or out)
    dataset = load_dataset(first, cache)
    print(describe(dataset), file=sys.stderr)
    check_lineage(first, dataset)
    parts = left_out_folds(homes, first, cache) if cross_fitted else [dataset.train] * len(homes)
    augmented = first.change(**PLAIN, teacher=())
    digests, likely = [], []
    for place, home, part in zip(places, homes, parts, strict=True):
        digests.append(image_digests(part.images))
        likely.append(_probabilities(place, home, part, augmented, views, seed))
    image_digests(dataset.train.images)  # of all folds together they must differ too
    targets = _mean(np.concatenate(digests), np.concatenate(likely), first.data.classes)
    write_targets(out, _told(targets, homes, dataset, first, cross_fitted, views, seed))
    _say_agreement(out, targets, dataset.train)
    return out


def _probabilities(place: str, home: Home, part: Part, config: Config, views: int, seed: int) -> np.ndarray:
    """A model's mean probabilities over the views: float64 (N, C), in the order of the part."""
    answering = Answering(load_model(home.model), config)
    batches = TrainingBatches(part.images, part.labels, len(config.data.classes), BATCH, seed)
    total = np.zeros((len(part), len(config.data.classes)))
    steps = [(view, number) for view in range(views) for number in range(len(batches))]
    for view, number in track(steps, len(steps), f"{place} on {len(part):,} images, {views} views"):
        if number == 0:
            answering.begin(batches, view)
        chosen = batches.order[number * BATCH : (number + 1) * BATCH]
        total[chosen] += softmax(answering.logits(batches[number][0]))
    return total / views


def _mean(digests: np.ndarray, likely: np.ndarray, classes: tuple[str, ...]) -> Targets:
    """One row an image: digests (M,) may repeat, by copies of it and by several models."""
    unique, row = np.unique(digests, return_inverse=True)
    total = np.zeros((len(unique), likely.shape[1]))
    np.add.at(total, row, likely)
    mean = total / total.sum(axis=1, keepdims=True)
    return Targets(unique, mean.astype(np.float16), classes, {})


def _told(
    targets: Targets, homes: list[Home], dataset: Dataset, config: Config, cross_fitted: bool, views: int,
    seed: int,
) -> Targets:  # fmt: skip
    """The targets with what is known of their making. No path of this machine goes into it."""
    here = environment()
    made: dict[str, Any] = {name: here[name] for name in ("date", "git_commit", "versions")}
    made["command"] = [Path(word).name if Path(word).is_absolute() else word for word in here["command"]]
    made["models"] = [
        {"name": home.name, "sha256": file_sha256(home.model), "fold": home.own.data.fold if home.own else ""}
        for home in homes
    ]
    made["data"] = {"name": dataset.name, "key": dataset.key}
    made |= {"split": split_of(config), "source_size": config.face.source_size, "color": config.face.color}
    made |= {"cross_fitted": cross_fitted, "views": views, "seed": seed}
    return Targets(targets.digests, targets.probabilities, targets.classes, made)


def _say_agreement(out: Path, targets: Targets, part: Part) -> None:
    """How often the likeliest class is the label: cross-fitted, about the accuracy of the models."""
    place = np.searchsorted(targets.digests, image_digests(part.images))
    agreed = (targets.probabilities[place].argmax(axis=1) == part.labels).mean()
    print(
        f"done: {out}, {len(targets.digests):,} images; the likeliest class is the label of {agreed:.1%}",
        file=sys.stderr,
    )
