"""DAN, "Distract Your Attention" (Wen et al. 2023): a ResNet-18 under four heads that are trained to look at
different places.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from fer_hailo.training.networks.blocks import conv, norm, picture
from fer_hailo.training.networks.resnet18 import network as resnet

WIDTH, SQUEEZED = 256, 32
RENAMED = resnet.renamed("features", {number: (f"features.{number + 3}.",) for number in range(1, 5)})
FEATURES, COMPARED = "feature_map", "heads"  # what the losses see


def dan(input_size: int, logits: int, heads: int = 4) -> keras.Model:
    """From (I, I, 3) in [-1, 1] to logits. heads: of attention, two or more.

    Layers are called as the official code calls its modules.
    """
    image, x = picture(input_size)
    x = resnet.stem(x, "features-0", "features-1")
    for number, (filters, stride) in enumerate(resnet.STAGES, 4):
        x = resnet.stage(x, filters, stride, f"features-{number}")
    x = layers.Identity(name=FEATURES)(x)
    seen = [_channels(_places(x, f"cat_head{i}-sa"), f"cat_head{i}-ca") for i in range(heads)]
    x = _Compete(name=COMPARED)(
        layers.Concatenate(axis=1, name="stacked")([layers.Reshape((1, x.shape[-1]))(head) for head in seen])
    )
    x = _SumOfHeads(name="fused")(x)
    x = layers.Dense(logits, name="fc", dtype="float32")(x)
    return keras.Model(
        image, layers.BatchNormalization(epsilon=1e-5, name="bn", dtype="float32")(x), name="dan"
    )


def _places(x, name: str):
    """Where to look: one map, (B, H, W, 1), times the features."""
    y = norm(conv(x, WIDTH, 1, bias=True, name=f"{name}-conv1x1-0"), f"{name}-conv1x1-1")
    sizes = {"conv_3x3": (3, 3), "conv_1x3": (1, 3), "conv_3x1": (3, 1)}
    seen = [
        norm(conv(y, x.shape[-1], size, bias=True, name=f"{name}-{kind}-0"), f"{name}-{kind}-1")
        for kind, size in sizes.items()
    ]
    y = layers.ReLU(name=f"{name}-relu")(layers.Add(name=f"{name}-add")(seen))
    return layers.Multiply(name=name)([x, _SumOfChannels(name=f"{name}-sum")(y)])


def _channels(x, name: str):
    """What to look for: the mean over the map, (B, C), times a gate for each channel."""
    x = layers.GlobalAveragePooling2D(name=f"{name}-gap")(x)
    y = norm(layers.Dense(SQUEEZED, name=f"{name}-attention-0")(x), f"{name}-attention-1")
    y = layers.Dense(x.shape[-1], "sigmoid", name=f"{name}-attention-3")(
        layers.ReLU(name=f"{name}-attention-2")(y)
    )
    return layers.Multiply(name=name)([x, y])


@keras.saving.register_keras_serializable("fer_hailo")
class _SumOfChannels(layers.Layer):
    """(B, H, W, C) to (B, H, W, 1)."""

    def call(self, x):
        return ops.sum(x, axis=-1, keepdims=True)


@keras.saving.register_keras_serializable("fer_hailo")
class _Compete(layers.Layer):
    """(B, heads, C): the logarithm of each head's share of a channel."""

    def call(self, heads):
        return ops.log_softmax(heads, axis=1)


@keras.saving.register_keras_serializable("fer_hailo")
class _SumOfHeads(layers.Layer):
    """(B, heads, C) to (B, C)."""

    def call(self, heads):
        return ops.sum(heads, axis=1)
