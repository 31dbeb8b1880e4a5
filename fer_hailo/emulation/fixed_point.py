"""Multiplying whole numbers by a real factor with whole numbers only.

A factor is m * 2^(shift - 31) with a whole m of 31 bits. LiteRT's reference kernels have three ways, all of
which round to the nearest:

twice   to 2^-31 with halves upwards, then by 2^shift with halves away from zero: all layers of 8 bits but the
next
    once    by all of m and shift in one step, halves upwards: fully connected layers
    wide    the same with the upper 16 bits of m, for sums of 48 bits: convolutions of 16-bit activations
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

Rounding = Literal["twice", "once", "wide"]


def round_away(values: np.ndarray | np.float64) -> np.ndarray:
    """To the nearest whole number, halves away from zero, float64."""
    return np.copysign(np.floor(np.abs(values) + 0.5), values)


def multiplier_of(factor: float) -> tuple[int, int]:
    """(m, shift) of a factor of 0 or more: m in [2^30, 2^31), or 0.

    The same as LiteRT's QuantizeMultiplier.
    """
    mantissa, shift = math.frexp(factor)
    m = int(math.floor(mantissa * (1 << 31) + 0.5))
    if m == 1 << 31:
        m, shift = m // 2, shift + 1
    return (0, 0) if shift < -31 else (m, shift)


@dataclass(frozen=True)
class Factor:
    """Factors for the last axis, or one for all. m, shift: int64 (C,) or (1,). rounding: twice, once or
    wide.
    """

    m: np.ndarray
    shift: np.ndarray
    rounding: Rounding = "twice"

    @classmethod
    def of(cls, factors: float | np.ndarray, rounding: Rounding = "twice") -> Factor:
        """From real factors, float or (C,)."""
        pairs = [multiplier_of(float(factor)) for factor in np.atleast_1d(np.asarray(factors, np.float64))]
        m, shift = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
        return cls(m, shift, rounding)

    def divided(self, count: int) -> Factor:
        """The factor / count, for a mean from a sum. m keeps fewer bits than of(factor / count) would have,
        as in LiteRT.
        """
        up = np.minimum(count.bit_length() - 1, 31 + self.shift)
        return Factor((self.m << up) // count, self.shift - up, self.rounding)

    def tiled(self, times: int) -> Factor:
        """For rows in which the channels stand `times` times: long rows are much quicker in numpy than short
        ones.
        """
        if len(self.m) == 1:
            return self
        return Factor(np.tile(self.m, times), np.tile(self.shift, times), self.rounding)

    def __call__(self, sums: np.ndarray) -> np.ndarray:
        """int64 (..., C) to int64, in place. |sums| below 2^31, wide ones below 2^47."""
        if self.rounding == "twice":
            return _twice(sums, self.m, self.shift)
        if self.rounding == "once":
            return _once(sums, self.m, 31 - self.shift)
        return _once(sums, np.where(self.m < 0x7FFF0000, (self.m + (1 << 15)) >> 16, 0x7FFF), 15 - self.shift)


def _twice(sums: np.ndarray, m: np.ndarray, shift: np.ndarray) -> np.ndarray:
    if shift.max() > 0:  # what leaves 32 bits here is far beyond the 8 or 16 bits of the result
        up = np.maximum(shift, 0)
        np.clip(sums, -(1 << 31) >> up, ((1 << 31) - 1) >> up, out=sums)
        sums <<= up
    sums *= m
    sums += 1 << 30
    sums >>= 31
    return shift_right(sums, np.maximum(-shift, 0))


def _once(sums: np.ndarray, m: np.ndarray, places: np.ndarray) -> np.ndarray:
    sums *= m
    sums += np.int64(1) << (places - 1)
    sums >>= places
    return sums


def shift_right(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Divide int64 by 2^places in place, to the nearest, halves away from zero."""
    if not places.any():
        return values
    below = values >> 63  # -1 of the negative ones, which round down from the half
    if not places.all():
        below *= places > 0
    values += below
    values += (np.int64(1) << places) >> 1
    values >>= places
    return values


def divide(values: np.ndarray, count: np.ndarray | int) -> np.ndarray:
    """int64 by whole numbers above 0, to the nearest, halves away from zero."""
    return np.sign(values) * ((np.abs(values) + count // 2) // count)


def high_product(a: np.ndarray, b: int) -> np.ndarray:
    """Of 16-bit numbers: a * b / 2^15 to the nearest, halves upwards, held within 16 bits."""
    return np.clip((a * b + (1 << 14)) >> 15, -(1 << 15), (1 << 15) - 1)
