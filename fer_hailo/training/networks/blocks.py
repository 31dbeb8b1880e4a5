"""Convolutions, norms and residual pieces as PyTorch pads and counts them, named as its modules are, so that
its checkpoints fit. A - stands for the dot: Keras on PyTorch takes no dot in a layer's name.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

EPSILON = 1e-5  # PyTorch's; Keras' own is 1e-3
# Of ImageNet's images, red, green and blue on 0..255: what the official code normalises by.
MEAN, DEVIATION = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])


def picture(size: int):
    """The input, (size, size, 3) in [-1, 1], and the same shifted to where ImageNet's mean is 0. The scale,
    which official weights expect too, belongs into the first kernels: `state_dict.load_checkpoints`.
    """
    image = keras.Input((size, size, 3))
    return image, layers.Rescaling(1.0, [float(value) for value in (127.5 - MEAN) / 127.5], name="shift")(
        image
    )


def conv(
    x,
    filters: int,
    size: int | tuple[int, int],
    stride: int = 1,
    *,
    bias: bool = False,
    start="he_normal",
    name: str,
):
    """A convolution, (B, H, W, C) to (B, H / stride, W / stride, filters). start: its kernel's
    initializer.
    """
    x, padding = _padded(x, size, stride, name)
    return layers.Conv2D(filters, size, stride, padding, use_bias=bias, kernel_initializer=start, name=name)(
        x
    )


def depthwise(x, size: int | tuple[int, int], stride: int = 1, *, pad: bool = True, name: str):
    """A convolution of each channel by itself. pad: False lets a kernel as large as the map reduce it."""
    x, padding = _padded(x, size, stride, name) if pad else (x, "valid")
    # He's for what a kernel sees, one channel. Keras' own counts all of them: kernels start so small that a
    # step of Adam overruns them.
    area = size * size if isinstance(size, int) else size[0] * size[1]
    start = keras.initializers.RandomNormal(stddev=(2 / area) ** 0.5)
    return layers.DepthwiseConv2D(
        size, stride, padding, use_bias=False, depthwise_initializer=start, name=name
    )(x)


def norm(x, name: str, start="ones"):
    """A batch norm with PyTorch's epsilon. start: the initializer of its scale."""
    return layers.BatchNormalization(epsilon=EPSILON, gamma_initializer=start, name=name)(x)


def prelu(x, name: str):
    """A slope for each channel, .25 at first."""
    return layers.PReLU(keras.initializers.Constant(0.25), shared_axes=[1, 2], name=name)(x)


def conv_block(x, filters: int, size: int, stride: int = 1, *, name: str):
    """Convolution, batch norm, PReLU."""
    return prelu(norm(conv(x, filters, size, stride, name=f"{name}-conv"), f"{name}-bn"), f"{name}-prelu")


def project(x, filters: int, name: str, start="ones"):
    """A 1x1 convolution and its batch norm, linear. start: the initializer of the norm's scale."""
    return norm(conv(x, filters, 1, name=f"{name}-conv"), f"{name}-bn", start)


def _padded(x, size: int | tuple[int, int], stride: int, name: str):
    # The same on all sides. With stride 1 that is "same"; with stride 2 "same" would pad an even map at its
    # end only.
    height, width = (size, size) if isinstance(size, int) else size
    if stride == 1 or height == width == 1:
        return x, "same"
    return layers.ZeroPadding2D((height // 2, width // 2), name=f"{name}_pad")(x), "valid"


@keras.saving.register_keras_serializable("fer_hailo")
class Part(layers.Layer):
    """What stands from `start` to `stop` - 1 along an axis: 1 of (B, N, D) are tokens, -1 channels."""

    def __init__(self, axis: int, start: int, stop: int, **options):
        super().__init__(**options)
        self.axis, self.start, self.stop = axis, start, stop

    def call(self, x):
        part = [slice(None)] * len(x.shape)
        part[self.axis] = slice(self.start, self.stop)
        return x[tuple(part)]

    def get_config(self) -> dict:
        return super().get_config() | {"axis": self.axis, "start": self.start, "stop": self.stop}
