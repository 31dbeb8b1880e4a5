"""ResNet-18 (He et al. 2016), which keras.applications does not have.

Layers are called as torchvision calls its modules.
"""

from __future__ import annotations

import keras
from keras import layers

from fer_hailo.training.networks.blocks import conv, norm, picture

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))  # filters, stride of the first block; two blocks each


def resnet18(input_size: int, weights: str | None) -> keras.Model:
    """From (I, I, 3) in [-1, 1] to (I / 32, I / 32, 512). weights: a file that `save_weights` of this network
    wrote, or None.
    """
    image, x = picture(input_size)
    x = stem(x, "conv1", "bn1")
    for number, (filters, stride) in enumerate(STAGES, 1):
        x = stage(x, filters, stride, f"layer{number}")
    model = keras.Model(image, x, name="resnet18")
    if weights:
        model.load_weights(weights)
    return model


def renamed(stem: str, stages: dict[int, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Where a checkpoint's names of a ResNet-18 stand in a larger network: {beginning: beginnings}. stages:
    of layer1 to layer4.
    """
    return {"conv1.": (f"{stem}.0.",), "bn1.": (f"{stem}.1.",)} | {
        f"layer{number}.": ends for number, ends in stages.items()
    }


def stem(image, conv_name: str, norm_name: str):
    """A 7x7 convolution and a maximum, each with stride 2."""
    x = norm(conv(image, STAGES[0][0], 7, 2, name=conv_name), norm_name)
    x = layers.ReLU(name=f"{norm_name}_relu")(x)
    # Of values from 0 on, so that zeros never win the maximum
    x = layers.ZeroPadding2D(1, name=f"{norm_name}_pad")(x)
    return layers.MaxPooling2D(3, 2, name=f"{norm_name}_pool")(x)


def stage(x, filters: int, stride: int, name: str):
    """Two blocks, of which the first may halve the sides."""
    return _block(_block(x, filters, stride, f"{name}-0"), filters, 1, f"{name}-1")


def _block(x, filters: int, stride: int, name: str):
    """Two 3x3 convolutions beside a shortcut; a 1x1 convolution in the shortcut where the shape changes."""
    short = x
    if stride > 1 or x.shape[-1] != filters:
        short = norm(conv(x, filters, 1, stride, name=f"{name}-downsample-0"), f"{name}-downsample-1")
    x = norm(conv(x, filters, 3, stride, name=f"{name}-conv1"), f"{name}-bn1")
    x = layers.ReLU(name=f"{name}-relu1")(x)
    x = norm(conv(x, filters, 3, name=f"{name}-conv2"), f"{name}-bn2")
    return layers.ReLU(name=name)(layers.Add(name=f"{name}-add")([short, x]))
