"""ResNet-18 (He et al. 2016), which keras.applications does not have."""

from __future__ import annotations

import keras
from keras import layers

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))  # filters, stride of the first block; two blocks each


def resnet18(input_size: int, weights: str | None) -> keras.Model:
    """From (I, I, 3) in [-1, 1] to (I / 32, I / 32, 512). weights: a file that `save_weights` of this network wrote, or None."""
    image = keras.Input((input_size, input_size, 3))
    x = _conv_norm(image, 64, 7, 2, "stem")
    x = layers.ReLU(name="stem_relu")(x)
    x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)  # of values from 0 on, so that zeros never win the maximum
    x = layers.MaxPooling2D(3, 2, name="stem_pool")(x)
    for stage, (filters, stride) in enumerate(STAGES, 1):
        x = _block(x, filters, stride, f"stage{stage}_block1")
        x = _block(x, filters, 1, f"stage{stage}_block2")
    model = keras.Model(image, x, name="resnet18")
    if weights:
        model.load_weights(weights)
    return model


def _block(x, filters: int, stride: int, name: str):
    """Two 3x3 convolutions beside a shortcut; a 1x1 convolution in the shortcut where the shape changes."""
    short = x
    if stride > 1 or x.shape[-1] != filters:
        short = _conv_norm(x, filters, 1, stride, f"{name}_short")
    x = _conv_norm(x, filters, 3, stride, f"{name}_1")
    x = layers.ReLU(name=f"{name}_relu1")(x)
    x = _conv_norm(x, filters, 3, 1, f"{name}_2")
    return layers.ReLU(name=f"{name}_relu2")(layers.Add(name=f"{name}_add")([short, x]))


def _conv_norm(x, filters: int, size: int, stride: int, name: str):
    # PyTorch's padding, the same on both sides; Keras' "same" would pad a strided convolution on one side only.
    if size > 1:
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    init = keras.initializers.HeNormal()
    x = layers.Conv2D(filters, size, stride, use_bias=False, kernel_initializer=init, name=f"{name}_conv")(x)
    return layers.BatchNormalization(epsilon=1e-5, name=f"{name}_norm")(x)
