"""Against class imbalance: repeat the small classes, and weigh classes by their effective number of
images.
"""

from __future__ import annotations

import numpy as np


def oversample_minority_classes(
    indices: np.ndarray, labels: np.ndarray, ratio: float, seed: int
) -> np.ndarray:
    """Repeat the images of small classes until each has int(ratio x the largest class).

    indices: int (N,), images of the training side; labels: int (N,), their classes. Returns int (M,), M >= N:
    all of `indices` in their order, then the repeats: whole copies of a class, and a random part of it for
    the remainder.
    """
    rng = np.random.default_rng(seed)
    counts = np.bincount(labels)
    target = int(ratio * counts.max())
    extra = [indices]
    for label in np.flatnonzero((counts > 0) & (counts < target)):
        own = indices[labels == label]
        copies, rest = divmod(target - len(own), len(own))
        extra += [np.tile(own, copies), rng.permutation(own)[:rest]]
    return np.concatenate(extra)


def balanced_weights(labels: np.ndarray) -> np.ndarray:
    """By which images, labels int (N,), are drawn that every class may come as often, float64 (N,): one over
    how many there are of a class, as in AffectNet's papers.
    """
    return 1 / np.bincount(labels)[labels]


def compute_class_weights_effective(counts: np.ndarray, beta: float) -> np.ndarray:
    """Class weights by the effective number of samples (Cui et al. 2019): (1 - beta) / (1 - beta^n), scaled
    to mean 1.

    counts: int (C,), images of each class before oversampling, all above 0. beta: [0, 1); 0 gives ones.
    Returns float64 (C,).
    """
    counts = np.asarray(counts)
    if (counts <= 0).any():
        raise ValueError("every class needs an image")
    if not 0 <= beta < 1:
        raise ValueError(f"beta must be in [0, 1), got {beta}")
    weights = (1 - beta) / -np.expm1(counts * np.log(beta)) if beta else np.ones(len(counts))
    return weights / weights.mean()
