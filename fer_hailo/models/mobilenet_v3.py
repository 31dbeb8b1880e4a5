"""MobileNetV3Small (Howard et al. 2019) as keras.applications builds it, without its own preprocessing."""

from __future__ import annotations

import keras


def small(input_size: int, weights: str | None) -> keras.Model:
    """The full network. weights: "imagenet", a path to no-top weights, or None."""
    return _build(input_size, weights, minimalistic=False)


def small_minimalistic(input_size: int, weights: str | None) -> keras.Model:
    """The minimalistic variant: ReLU for h-swish, 3x3 kernels, no squeeze-and-excite."""
    return _build(input_size, weights, minimalistic=True)


def _build(input_size: int, weights: str | None, minimalistic: bool) -> keras.Model:
    return keras.applications.MobileNetV3Small(
        input_shape=(input_size, input_size, 3),
        include_top=False,
        include_preprocessing=False,
        minimalistic=minimalistic,
        weights=weights,
    )
