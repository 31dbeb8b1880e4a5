"""The images of a run: cleaned, of the chosen classes, split into train, validation and test."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.training.data.cache import Pictures, load_pictures
from fer_hailo.training.data.clean import clean, duplicate_groups
from fer_hailo.training.data.ferplus import FERPLUS
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


def load_dataset(config: Config, cache: Path | str | None) -> Dataset:
    """Read, clean and split the data set of a configuration.

    Raises UserError when a class has no images to train on, or the layout does not go with `resplit`.
    """
    pictures = load_pictures(config.data.source, config.preprocess, cache, config.data.copies)
    plain = bool((pictures.splits == "").all())
    if plain and not config.data.resplit:
        raise UserError(
            f"{config.data.source} has no train and test folders: use --resplit to split it 8:1:1"
        )
    if config.data.resplit and not plain:
        raise UserError(f"{config.data.source} is split into train and test already: leave out --resplit")
    keep, dropped = clean(pictures, config)
    helping = keep & np.isin(pictures.labels, config.data.extra_classes)
    keep &= np.isin(pictures.labels, config.data.classes)
    test = pictures.splits == "test"
    learnt_from = keep & ~test
    if not test.all() or not keep.any():  # of a test side alone some classes may be absent
        require_classes(pictures.labels[learnt_from], config.data.classes, config.data.source)
        require_classes(pictures.labels[helping & ~test], config.data.extra_classes, config.data.source)
    labels = np.searchsorted(config.data.classes, np.where(keep, pictures.labels, config.data.classes[0]))
    groups = duplicate_groups(pictures)

    def split(among: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
        rest, part = split_groups(labels[among], groups[among], fraction, config.data.split_seed)
        return among[rest], among[part]

    def part(chosen: np.ndarray) -> Part:
        return Part(Rows(pictures.images, chosen), labels[chosen], pictures.ids[chosen])

    train, val, held = np.flatnonzero(learnt_from), np.arange(0), np.flatnonzero(keep & test)
    if plain:
        train, rest = split(train, 0.2)
        val, held = split(rest, 0.5)
        if not config.data.validation_fraction:
            train, val = np.sort(np.concatenate([train, val])), val[:0]
    elif len(train) and config.data.validation_fraction:
        train, val = split(train, config.data.validation_fraction)
    left_out = train[:0]
    if config.data.left_out:
        number, count = config.data.left_out
        out = assign_folds(labels[train], groups[train], count, config.data.split_seed) == number - 1
        train, left_out = train[~out], train[out]
    # Of a photograph that is scored or left out, no copy is learnt from, under whatever label.
    unseen = groups[np.concatenate([val, held, left_out])]
    extra = np.flatnonzero(helping & ~test & ~np.isin(groups, unseen))
    labels[extra] = len(config.data.classes) + np.searchsorted(
        config.data.extra_classes, pictures.labels[extra]
    )
    return Dataset(
        train=part(train),
        val=part(val),
        test=part(held),
        extra=part(extra),
        left_out=part(left_out),
        targets=_targets(pictures, np.concatenate([train, extra]), labels, config),
        names=config.data.classes,
        extra_names=config.data.extra_classes,
        name=pictures.name,
        key=pictures.key,
        dropped=dropped,
        bad=pictures.bad,
    )


def _targets(pictures: Pictures, chosen: np.ndarray, labels: np.ndarray, config: Config) -> np.ndarray:
    """One-hot labels, or, with soft_labels, the shares of the votes among the classes of the
    configuration.
    """
    classes = (*config.data.classes, *config.data.extra_classes)
    targets = np.eye(len(classes), dtype=np.float32)[labels[chosen]]
    if config.data.soft_labels:
        if not pictures.votes.any():
            raise UserError(f"{pictures.name} has no votes: soft_labels is for FERPlus")
        votes = np.zeros_like(targets)
        for column, name in enumerate(classes):
            if name in FERPLUS:
                votes[:, column] = pictures.votes[chosen, FERPLUS.index(name)]
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
