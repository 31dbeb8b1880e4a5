"""mini-XCEPTION (Arriaga et al. 2017), the small network that many programs read expressions with."""

from __future__ import annotations

import keras
from keras import layers

FILTERS = (16, 32, 64, 128)


def mini_xception(input_size: int, weights: str | None) -> keras.Model:
    """From (I, I, 3) in [-1, 1] to a map of 128 features. weights: a file that `save_weights` of this network
    wrote, or None.

    The authors end in a convolution to the classes and its mean; here the mean of the features goes to the
    common head.
    """
    image = x = keras.Input((input_size, input_size, 3))
    for number in (1, 2):
        x = layers.Conv2D(8, 3, use_bias=False, name=f"stem{number}_conv")(x)
        x = layers.BatchNormalization(name=f"stem{number}_norm")(x)
        x = layers.ReLU(name=f"stem{number}_relu")(x)
    for number, filters in enumerate(FILTERS, 1):
        x = _block(x, filters, f"block{number}")
    model = keras.Model(image, x, name="mini_xception")
    if weights:
        model.load_weights(weights)
    return model


def _block(x, filters: int, name: str):
    """Two separable convolutions and a maximum, beside a strided 1x1 convolution."""
    # A strided 1x1 convolution in two steps: TensorFlow 2.21 crashes where it trains one of 8 channels
    # (oneDNN, AVX-512).
    short = layers.MaxPooling2D(1, 2, padding="same", name=f"{name}_short_every_other")(x)
    short = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_short_conv")(short)
    short = layers.BatchNormalization(name=f"{name}_short_norm")(short)
    for number in (1, 2):
        x = layers.SeparableConv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv{number}")(x)
        x = layers.BatchNormalization(name=f"{name}_norm{number}")(x)
        if number == 1:
            x = layers.ReLU(name=f"{name}_relu")(x)
    x = layers.MaxPooling2D(3, 2, padding="same", name=f"{name}_pool")(x)
    return layers.Add(name=f"{name}_add")([x, short])
