"""The images of a run: cleaned, of the chosen classes, split into train, validation and test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_hailo.common.classes import EXPRESSIONS, canonical
from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.common.progress import say_once
from fer_hailo.training.data.cache import Pictures
from fer_hailo.training.data.clean import clean, duplicate_groups
from fer_hailo.training.data.drop import named_images
from fer_hailo.training.data.entry import SIDES
from fer_hailo.training.data.ferplus import FERPLUS
from fer_hailo.training.data.pictures import read_pictures
from fer_hailo.training.data.rows import Rows, blocks
from fer_hailo.training.data.sources import require_classes
from fer_hailo.training.data.split import assign_folds, split_groups


@dataclass(frozen=True)
class Part:
    """One side of a split: images uint8 (N, S, S[, 3]), read from disk as they are asked for, labels int64
    (N,), ids str (N,).
    """

    images: Rows
    labels: np.ndarray
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: np.ndarray) -> Part:
        """Some of the images: int (M,)."""
        return Part(Rows(self.images.array, self.images.index[chosen]), self.labels[chosen], self.ids[chosen])

    def sha256(self) -> str:
        """Digest of images and labels in their order."""
        total = hashlib.sha256()
        for block in blocks(self.images):
            total.update(block.tobytes())
        total.update(self.labels.astype("<i8").tobytes())
        return total.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """The three sides (an absent one is empty), class names in label order, and what cleaning took.

    extra: training images of the classes `extra_names`, which are not scored; their labels follow on those of
    `names`. left_out: the fold of the training side that is neither learnt from nor scored. targets: float32
    (L, C), what a network is to answer on `lessons`: the label, or the shares of the votes.
    """

    train: Part
    val: Part
    test: Part
    extra: Part
    left_out: Part
    targets: np.ndarray
    names: tuple[str, ...]
    extra_names: tuple[str, ...]
    name: str
    key: str
    dropped: dict[str, int]
    bad: np.ndarray

    def part(self, split: str) -> Part:
        """The side called train, val or test. Raises UserError when it is empty."""
        part = getattr(self, split)
        if not len(part):
            raise UserError(f"{self.name} has no {split} images")
        return part

    def lessons(self) -> Part:
        """What a network learns from: the training side, then the images of the extra classes."""
        train, extra = self.train, self.extra
        labels, ids = (
            np.concatenate(pair) for pair in ((train.labels, extra.labels), (train.ids, extra.ids))
        )
        return Part(train.images + extra.images, labels, ids)


def load_dataset(config: Config, cache: Path | str | None, order: Sequence[str] = ()) -> Dataset:
    """Read, clean and split the data set of a configuration.

    order: its classes in the order of a model from elsewhere, which the labels then follow; by default the
    alphabet's.
    Raises UserError when a class has no images to train on, or the layout has no sides and `resplit` is off.
    """
    pictures = read_pictures(config, cache)
    plain = bool((pictures.splits == "").all())
    if plain and not config.data.resplit:
        raise UserError(
            f"{config.data.source} has no train and test folders: use --resplit to split it 8:1:1"
        )
    keep, dropped = clean(pictures, config)
    names, extra_names = tuple(order) or config.data.classes, config.data.extra_classes
    _check_classes(pictures, keep, config)
    labels = _numbers(pictures.labels, (*names, *extra_names))
    groups = duplicate_groups(pictures)
    chosen = keep & (labels >= 0) & (labels < len(names))
    train, val, test, left_out = _sides(pictures, chosen, groups, config)
    # Of a photograph that is scored or left out, no copy is learnt from, under whatever label.
    held = np.isin(groups, groups[np.concatenate([val, test, left_out])]) | (pictures.splits == "test")
    if config.data.validation_fraction:
        held |= pictures.splits == "val"
    extra = np.flatnonzero(keep & (labels >= len(names)) & ~held)
    if config.data.drop:  # last, so that the sides are those of a run without it
        named = named_images(config.data.drop, pictures, groups)
        dropped[f"named in {Path(config.data.drop).name}"] = _say_named(
            named, (train, extra, left_out), config
        )
        train, extra, left_out = (side[~named[side]] for side in (train, extra, left_out))
        _check_left(labels[train], names, config)

    def part(chosen: np.ndarray) -> Part:
        return Part(Rows(pictures.images, chosen), labels[chosen], pictures.ids[chosen])

    return Dataset(
        train=part(train),
        val=part(val),
        test=part(test),
        extra=part(extra),
        left_out=part(left_out),
        targets=_targets(pictures, np.concatenate([train, extra]), labels, (*names, *extra_names), config),
        names=names,
        extra_names=extra_names,
        name=pictures.name,
        key=pictures.key,
        dropped=dropped,
        bad=pictures.bad,
    )


def _check_classes(pictures: Pictures, keep: np.ndarray, config: Config) -> None:
    """Raise UserError for a class without images to learn from; of a test side alone only for one that is
    neither there nor an expression.
    """
    data, test, there = config.data, pictures.splits == "test", set(pictures.labels.tolist())
    wanted = [*data.classes, *data.extra_classes]
    if test.all() and not there.isdisjoint(map(canonical, data.classes)):
        wanted = [name for name in data.classes if canonical(name) not in EXPRESSIONS]
    require_classes(there, wanted, data.source)
    learnt = set(pictures.labels[keep & ~test].tolist())
    for name in [] if test.all() else wanted:
        if canonical(name) not in learnt:
            raise UserError(
                f"class '{name}' has no images to learn from in {data.source}: its images stand in test, or "
                "are dropped by the cleaning"
            )


def _say_named(named: np.ndarray, sides: Sequence[np.ndarray], config: Config) -> int:
    """How many of the images of the training side are named: bool (N,); say how many stay elsewhere."""
    count = int(sum(named[side].sum() for side in sides))
    if stay := int(named.sum()) - count:
        say_once(
            f"{config.data.drop}: {stay:,} of the {int(named.sum()):,} images that it names, with their "
            "copies, are not learnt from anyway; those of validation and test stay there"
        )
    return count


def _check_left(labels: np.ndarray, names: Sequence[str], config: Config) -> None:
    """Raise UserError where no image of a class is left to learn from."""
    gone = sorted(set(range(len(names))) - set(labels.tolist()))
    if len(labels) and gone:
        raise UserError(
            f"{config.data.drop} names all training images of class '{names[gone[0]]}': keep some"
        )


def _numbers(labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """int64 (N,): the place of each label among names, -1 where it is none of them."""
    places = {canonical(name): place for place, name in enumerate(names)}
    known, index = np.unique(labels, return_inverse=True)
    return np.array([places.get(label, -1) for label in known.tolist()], np.int64)[index]


def _sides(
    pictures: Pictures, keep: np.ndarray, groups: np.ndarray, config: Config
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Which of the images to keep are for training, validation and test, and which are of the fold that is
    left out: int64 each, ascending.
    """
    # By name, so that no model's order of its classes changes the split
    strata = np.unique(pictures.labels, return_inverse=True)[1]

    def split(among: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
        rest, part = split_groups(strata[among], groups[among], fraction, config.data.split_seed)
        return among[rest], among[part]

    fraction = config.data.validation_fraction
    train, val, test = (np.flatnonzero(keep & (pictures.splits == side)) for side in SIDES)
    if (pictures.splits == "").all():
        train, rest = split(np.flatnonzero(keep), 0.2)
        val, test = split(rest, 0.5)
    elif len(train) and fraction and not (pictures.splits == "val").any():
        train, val = split(train, fraction)
    if not fraction:
        train, val = np.sort(np.concatenate([train, val])), val[:0]
    out = np.zeros(len(train), bool)
    if config.data.left_out:
        number, count = config.data.left_out
        out = assign_folds(strata[train], groups[train], count, config.data.split_seed) == number - 1
    return train[~out], val, test, train[out]


def _targets(
    pictures: Pictures, chosen: np.ndarray, labels: np.ndarray, classes: Sequence[str], config: Config
) -> np.ndarray:
    """One-hot labels, or, with soft_labels, the shares of the votes among the classes."""
    targets = np.eye(len(classes), dtype=np.float32)[labels[chosen]]
    if config.data.soft_labels:
        if not pictures.votes.any():
            raise UserError(f"{pictures.name} has no votes: soft_labels is for FERPlus")
        votes = np.zeros_like(targets)
        for column, name in enumerate(classes):
            if canonical(name) in FERPLUS:
                votes[:, column] = pictures.votes[chosen, FERPLUS.index(canonical(name))]
        asked = votes.sum(axis=1) > 0
        targets[asked] = votes[asked] / votes[asked].sum(axis=1, keepdims=True)
    return targets


def describe(dataset: Dataset) -> str:
    """Counts per class and side, and what cleaning dropped, as text."""
    sides = [("train", dataset.train), ("validation", dataset.val), ("test", dataset.test)]
    if len(dataset.left_out):
        sides.append(("left out", dataset.left_out))
    lines = [f"{dataset.name}: " + ", ".join(f"{len(part):,} {name}" for name, part in sides)]
    for label, name in enumerate(dataset.names):
        lines.append(
            f"  {name:<10}" + "".join(f"{int((part.labels == label).sum()):>8,}" for _, part in sides)
        )
    for label, name in enumerate(dataset.extra_names, len(dataset.names)):
        lines.append(f"  {name:<10}{int((dataset.extra.labels == label).sum()):>8,}  to learn from only")
    taken = ", ".join(f"{count:,} {reason}" for reason, count in dataset.dropped.items())
    lines.append(f"  dropped, over all classes: {taken or 'none'}")
    lines += [f"  skipped {id} ({reason})" for id, reason in dataset.bad[:5]]
    return "\n".join(lines)
