"""Validation is carved out of train: stratified, and all copies of an image on one side."""

from __future__ import annotations

import numpy as np

from fer_hailo.common.errors import UserError


def split_groups(
    labels: np.ndarray, groups: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split images in two, stratified by label, never parting a group.

    labels, groups: int (N,). A group counts under the label of its first image. Returns sorted index arrays
    (rest, part), `part` holding about `fraction` of the groups. Raises UserError when a class is too small.
    """
    from sklearn.model_selection import train_test_split

    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    counts = np.bincount(labels[first])
    taken = int(np.ceil(fraction * len(first)))
    if counts[counts > 0].min() < 2 or min(taken, len(first) - taken) < (counts > 0).sum():
        raise UserError(
            f"too few different images to split ({len(first)} in {(counts > 0).sum()} classes): add images"
        )
    _, part = train_test_split(
        np.arange(len(first)), test_size=fraction, random_state=seed, stratify=labels[first]
    )
    chosen = np.isin(inverse, part)
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def assign_folds(labels: np.ndarray, groups: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The fold of each image, int64 (N,), 0 to count - 1: stratified by label, never parting a group.

    labels, groups: int (N,), as in `split_groups`. Raises UserError when a class is too small.
    """
    from sklearn.model_selection import StratifiedKFold

    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    counts = np.bincount(labels[first])
    if counts[counts > 0].min() < count:
        raise UserError(
            f"too few different images for {count} folds (a class has {counts[counts > 0].min()}): take fewer"
        )
    folds = np.empty(len(first), np.int64)
    parts = StratifiedKFold(count, shuffle=True, random_state=seed).split(first, labels[first])
    for number, (_, part) in enumerate(parts):
        folds[part] = number
    return folds[inverse]
