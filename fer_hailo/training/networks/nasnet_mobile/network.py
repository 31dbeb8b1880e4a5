"""NASNet-A mobile as keras.applications builds it."""

from __future__ import annotations

import keras


def nasnet_mobile(input_size: int, weights: str | None) -> keras.Model:
    """NASNet-A, 4 @ 1056 (Zoph et al. 2018). Its weights were trained on [-1, 1]."""
    return keras.applications.NASNetMobile(
        input_shape=(input_size, input_size, 3), include_top=False, weights=weights
    )
