"""Networks of keras.applications that expect another normalisation than ours.

Each takes (B, I, I, 3) floats in [-1, 1] like every network here. What its ImageNet weights were trained on
is a shift of that, which becomes the first layer, and a scale for each channel, which goes into the kernel
of the first convolution: so that a network that starts from scratch sees values near [-1, 1] too, and one
graph serves both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np

# Red, green, blue, on 0..255.
CAFFE_MEAN = np.array([123.68, 116.779, 103.939])


def shifted(
    make: Callable,
    first: str,
    input_size: int,
    weights: str | None,
    mean: np.ndarray,
    scale: np.ndarray,
    bgr: bool = False,
) -> keras.Model:
    """A network whose weights expect (value - mean) x scale for values 0..255, red first or (bgr) blue
    first.
    """
    image = keras.Input((input_size, input_size, 3))
    shift = keras.layers.Rescaling(1.0, _numbers((127.5 - mean) / 127.5), name="shift")(image)
    model = make(include_top=False, weights=weights, input_tensor=shift)
    if weights:
        conv = model.get_layer(first)
        kernel, *bias = conv.get_weights()
        kernel = kernel[:, :, ::-1] if bgr else kernel
        conv.set_weights([kernel * (127.5 * scale)[:, None], *bias])
    return model


def _numbers(values: np.ndarray) -> Sequence[float]:
    return [float(value) for value in values]
