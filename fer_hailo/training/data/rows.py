"""Some rows of an array on disk: a data set larger than the memory is read where it is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK = 64 * 2**20  # bytes


class Rows:
    """The rows `index` of `array`, like an array for what indexes it along the first axis, iterates over it
    or converts it.

    array: (M, ...), in memory or mapped; index: int (N,). Indexing gives arrays in memory.
    """

    def __init__(self, array: np.ndarray, index: np.ndarray):
        self.array, self.index = array, np.asarray(index, np.int64)
        self.shape, self.dtype, self.ndim = (len(self.index), *array.shape[1:]), array.dtype, array.ndim

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: Any) -> np.ndarray:
        if isinstance(key, tuple):
            return self[key[0]][(slice(None), *key[1:]) if np.ndim(self.index[key[0]]) else key[1:]]
        return np.asarray(self.array[self.index[key]])

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in blocks(self):
            yield from block

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def __add__(self, other: Rows) -> Rows:
        """These rows, then those of another, of one array."""
        if other.array is not self.array:
            raise ValueError("rows of two arrays cannot be joined")
        return Rows(self.array, np.concatenate([self.index, other.index]))


Images = np.ndarray | Rows  # what is read by numbers or slices along its first axis


def blocks(images: Images) -> Iterator[np.ndarray]:
    """An array or Rows, some rows at a time."""
    size = max(1, BLOCK // max(1, int(np.prod(images.shape[1:])) * images.dtype.itemsize))
    for start in range(0, len(images), size):
        yield np.asarray(images[start : start + size])
