"""MixUp (Zhang et al. 2018): each image is blended with its neighbour in the batch, and so is its label.

Weights are drawn on the host, where the order of everything is fixed by the seed. Labels are blended there;
images are blended by the compiled step, after augmentation, with the same `blend`. keras.layers.MixUp draws
inside the model, where the labels are out of reach without a training step of one's own for every backend.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def mixup(images: np.ndarray, onehot: np.ndarray, alpha: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mix a batch: each image with the one before it (the first with the last), by a weight from Beta(alpha,
    alpha).

    images: (B, ...) numbers of any range; onehot: (B, C) floats. Returns float32 arrays of the same shapes.
    alpha 0 mixes nothing. A batch in random order makes the neighbour a random partner.
    """
    weights = mixup_weights(len(images), alpha, 1.0, np.random.default_rng(seed))
    images = np.asarray(images, np.float32)
    return blend(images, weights.reshape(-1, *[1] * (images.ndim - 1)), np), blend(
        np.asarray(onehot, np.float32), weights[:, None], np
    )


def mixup_weights(count: int, alpha: float, share: float, rng: np.random.Generator) -> np.ndarray:
    """float32 (count,): weights from Beta(alpha, alpha) for about `share` of the images, 1 (not mixed) for
    the others.
    """
    if not alpha:
        return np.ones(count, np.float32)
    mixed = rng.random(count) < share
    return np.where(mixed, rng.beta(alpha, alpha, count), 1).astype(np.float32)


def blend(values: Any, weights: Any, xp: Any) -> Any:
    """weights x values + (1 - weights) x neighbour. `xp` is numpy or keras.ops."""
    return weights * values + (1 - weights) * xp.roll(values, 1, axis=0)
