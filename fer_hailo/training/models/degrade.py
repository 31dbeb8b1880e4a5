"""Faces made worse in training, as poor cameras and light make them: blurred, smeared, coarse, noisy, of
another gamma. None of it is an operation of fer_hailo/robustness, by which models are scored.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

LINEAR = (
    ("mean5", "mean5"),
    ("mean7", "same"),
    ("same", "mean7"),
    ("block2", "block2"),
    ("block3", "block3"),
)
NOISE, GAMMA = len(LINEAR), len(LINEAR) + 1  # the two further kinds
MOST_NOISE = 50.0  # grey levels, to either side
MOST_GAMMA = 1.5  # as a power of two: exponents from 0.35 to 2.8


class Degraded(keras.layers.Layer):
    """uint8 (B, S, S) or (B, S, S, 3) to float32 of the same shape, 0 to 255: a part of the images made
    worse, each in one of seven ways, by a strength that is drawn evenly up to the most.

    Means over 5 x 5 pixels, over 7 of a row or of a column, blocks of 2 x 2 or 3 x 3, even noise, a gamma.
    The first five are blended with the image by the strength. Random in every call, whatever `training` says.
    """

    def __init__(self, share: float, side: int, seed: int, **options):
        super().__init__(**options)
        self.share = share
        self.seeds = keras.random.SeedGenerator(seed)
        self._rows, self._columns = (
            np.stack([_matrix(pair[axis], side) for pair in LINEAR] + [np.eye(side, dtype=np.float32)] * 2)
            for axis in (0, 1)
        )

    def call(self, images: Any) -> Any:
        values = ops.cast(images, "float32")
        flat = values.ndim == 3
        planes = values[:, None] if flat else ops.transpose(values, (0, 3, 1, 2))
        count = ops.shape(planes)[0]
        kind = keras.random.randint((count,), 0, len(LINEAR) + 2, seed=self.seeds)
        strength = self._uniform((count, 1, 1, 1), 0, 1)
        worse = self._uniform((count, 1, 1, 1), 0, 1) < self.share
        changed = planes + ops.where(worse, self._changes(planes, kind, strength), 0.0)
        changed = ops.clip(changed, 0, 255)
        return changed[:, 0] if flat else ops.transpose(changed, (0, 2, 3, 1))

    def compute_output_shape(self, shape: tuple) -> tuple:
        return shape

    def _changes(self, planes, kind, strength):
        """What each image's own kind adds to it."""
        rows, columns = (ops.take(bank, kind, axis=0)[:, None] for bank in (self._rows, self._columns))
        smeared = ops.matmul(ops.matmul(rows, planes), ops.transpose(columns, (0, 1, 3, 2))) - planes
        noise = MOST_NOISE * self._uniform(ops.shape(planes), -1, 1)
        exponent = 2.0 ** (MOST_GAMMA * (2 * strength - 1))
        gamma = 255 * (planes / 255) ** exponent - planes
        kind = kind[:, None, None, None]
        return ops.where(kind == GAMMA, gamma, strength * ops.where(kind == NOISE, noise, smeared))

    def _uniform(self, shape, low: float, high: float):
        return keras.random.uniform(shape, low, high, dtype="float32", seed=self.seeds)


def _matrix(name: str, side: int) -> np.ndarray:
    """float32 (S, S), whose rows sum to 1: what it makes of a column of pixels."""
    place = np.arange(side)
    if name == "same":
        return np.eye(side, dtype=np.float32)
    length = int(name[-1])
    if name.startswith("block"):
        taken = place[:, None] // length == place // length
    else:
        taken = np.abs(place[:, None] - place) <= length // 2
    return (taken / taken.sum(axis=1, keepdims=True)).astype(np.float32)
