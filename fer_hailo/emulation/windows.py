"""Convolution and pooling of float arrays (N, H, W, C): the same sums for float values and for whole numbers
held in floats.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fer_hailo.formats.tflite_graph import Sliding


@dataclass(frozen=True)
class Window:
    """What moves over an image. size, stride, dilation: (rows, columns); pads: ((above, below), (left,
    right)); places: of the output.
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: tuple[tuple[int, int], tuple[int, int]]
    places: tuple[int, int]

    @classmethod
    def of(cls, side: tuple[int, int], size: tuple[int, int], settings: Sliding) -> Window:
        """For inputs of `side` (rows, columns), as TFLite lays it: SAME puts the odd pixel of padding below
        and right.
        """
        axes = zip(side, size, settings.stride, settings.dilation, strict=True)
        rows, columns = (_laid(*axis, settings.same) for axis in axes)
        return cls(size, settings.stride, settings.dilation, (rows[0], columns[0]), (rows[1], columns[1]))

    @property
    def is_point(self) -> bool:
        """Whether it looks at one pixel for each output, and at all of them."""
        return self.size == self.stride == (1, 1)

    def padded(self, x: np.ndarray, value: float = 0) -> np.ndarray:
        if not any(map(any, self.pads)):
            return x
        return np.pad(x, ((0, 0), *self.pads, (0, 0)), constant_values=value)

    def slices(self, x: np.ndarray) -> Iterator[np.ndarray]:
        """For each place of the kernel, row by row, what it sees: views (N, *places, C) of a padded array."""
        (rows, columns), (down, right), (gap_y, gap_x) = self.size, self.stride, self.dilation
        last_y, last_x = (self.places[0] - 1) * down + 1, (self.places[1] - 1) * right + 1
        for y in range(0, rows * gap_y, gap_y):
            for tap in range(0, columns * gap_x, gap_x):
                yield x[:, y : y + last_y : down, tap : tap + last_x : right]

    def counts(self, side: tuple[int, int]) -> np.ndarray:
        """How many pixels, not of the padding, each output sees: int64 (1, *places, 1)."""
        return summed(np.ones((1, *side, 1), np.int64), self)


def _laid(length: int, taps: int, step: int, gap: int, same: bool) -> tuple[tuple[int, int], int]:
    """Along one axis: the padding before and after, and how many places the output has."""
    reach = (taps - 1) * gap + 1
    count = -(-length // step) if same else -(-(length - reach + 1) // step)
    lack = max((count - 1) * step + reach - length, 0) if same else 0
    return (lack // 2, lack - lack // 2), count


def convolve(x: np.ndarray, kernel: np.ndarray, window: Window) -> np.ndarray:
    """x (N, H, W, C) with kernel (k * k * C, O) of the same dtype: (N, *places, O)."""
    seen = x if window.is_point else np.concatenate(list(window.slices(window.padded(x))), axis=-1)
    return (seen.reshape(-1, seen.shape[-1]) @ kernel).reshape(*seen.shape[:3], -1)


def depthwise(x: np.ndarray, kernel: np.ndarray, window: Window) -> np.ndarray:
    """x (N, H, W, C) with kernel (k, k, O), O a multiple of C: (N, *places, O), each output of one
    channel.
    """
    taps = kernel.reshape(-1, kernel.shape[-1])
    times = kernel.shape[-1] // x.shape[-1]
    x = window.padded(np.repeat(x, times, axis=-1) if times > 1 else x)
    rows = np.tile(taps, window.places[1])  # a row of outputs at once: long rows are quicker
    pairs = zip(window.slices(x), rows.reshape(len(rows), window.places[1], -1), strict=True)
    seen, weights = next(pairs)
    total = seen * weights
    product = np.empty_like(total)
    for seen, weights in pairs:
        np.multiply(seen, weights, out=product)
        total += product
    return total


def largest(x: np.ndarray, window: Window, lowest: float) -> np.ndarray:
    """Max pooling; the padding counts as `lowest`."""
    views = window.slices(window.padded(x, lowest))
    total = next(views).copy()
    for seen in views:
        np.maximum(total, seen, out=total)
    return total


def summed(x: np.ndarray, window: Window) -> np.ndarray:
    """Sums of the pixels that each output sees."""
    views = window.slices(window.padded(x))
    total = next(views).copy()
    for seen in views:
        np.add(total, seen, out=total)
    return total
