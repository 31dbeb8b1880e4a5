"""DDAMFN (Zhang et al. 2023): a MobileFaceNet of mixed kernels under two heads of attention along the height
and along the width.
"""

from __future__ import annotations

from functools import partial

import keras
from keras import layers, ops

from fer_hailo.training.networks.blocks import (
    Part,
    conv,
    conv_block,
    depthwise,
    norm,
    picture,
    prelu,
    project,
)
from fer_hailo.training.networks.face_backbones import PARTS

# Filters, stride, width inside, channels of the kernels 3, 5, 7, 9, blocks with a residual sum (0: one block,
# that changes the shape).
STAGES = (
    (64, 2, 128, (64, 32, 32), 0),
    (64, 1, 128, (96, 32), 9),
    (128, 2, 256, (128, 64, 64), 0),
    (128, 1, 256, (192, 64), 16),
    (256, 2, 1024, (256, 256, 256, 256), 0),
    (256, 1, 512, (172, 170, 170), 6),
)
TOP, HEADS = 512, 2
RENAMED = {part: (f"features.{i}.",) for i, part in enumerate(PARTS)}  # of a checkpoint of its backbone
# Without a checkpoint gradients are so large that hardly anything is learnt (docs/experiments.md) unless
# residual blocks begin at zero (Goyal et al. 2017). Their gates begin near one half, as PyTorch draws them;
# the heads' wide, since the loss divides by how far they differ. Each kernel gets an initializer of its own:
# one that is shared gives Keras' kernels of one shape the same numbers.
NARROW, WIDE = (
    partial(keras.initializers.VarianceScaling, 1 / 3, "fan_in", "uniform"),
    keras.initializers.HeNormal,
)
MAPS = tuple(f"cat_head{i}" for i in range(HEADS))  # what the loss sees


def ddamfn(input_size: int, logits: int) -> keras.Model:
    """From (I, I, 3) in [-1, 1] to logits. Layers are called as the official code calls its modules.

    The heads' kernels are as large as the last map, I / 16: weights fit one input size, officially 112.
    """
    image, x = picture(input_size)
    x = conv_block(x, 64, 3, 2, name="features-0")
    x = prelu(norm(depthwise(x, 3, name="features-1-conv"), "features-1-bn"), "features-1-prelu")
    for number, (filters, stride, inside, split, blocks) in enumerate(STAGES, 2):
        for i in range(blocks):
            name = f"features-{number}-model-{i}"
            x = layers.Add(name=name)([x, _mixed(x, filters, stride, inside, split, name, "zeros")])
        if not blocks:
            x = _mixed(x, filters, stride, inside, split, f"features-{number}")
    x = conv_block(x, TOP, 1, name=f"features-{len(STAGES) + 2}")
    side = x.shape[1]
    maps = [_coordinates(x, name, side) for name in MAPS]
    x = layers.Multiply(name="attended")([x, layers.Maximum(name="strongest")(maps)])
    x = layers.Flatten(name="flat")(norm(depthwise(x, side, pad=False, name="Linear-conv"), "Linear-bn"))
    return keras.Model(image, layers.Dense(logits, name="fc", dtype="float32")(x), name="ddamfn")


def _mixed(x, filters: int, stride: int, inside: int, split: tuple[int, ...], name: str, scale="ones"):
    """Expand, filter each group of channels with a kernel of its own, attend, project to a norm whose scale
    begins as `scale`.
    """
    x = conv_block(x, inside, 1, name=f"{name}-conv")
    groups, start = [], 0
    for i, count in enumerate(split):
        part = Part(-1, start, start + count, name=f"{name}-conv_dw-part{i}")(x)
        groups.append(depthwise(part, 3 + 2 * i, stride, name=f"{name}-conv_dw-mixed_depthwise_conv-{i}"))
        start += count
    x = layers.Concatenate(name=f"{name}-conv_dw")(groups)
    rows, columns = _Mean(2, name=f"{name}-CA-pool_h")(x), _Mean(1, name=f"{name}-CA-pool_w")(x)
    gates = _gates(rows, columns, inside, NARROW, f"{name}-CA")
    return project(layers.Multiply(name=f"{name}-CA")([x, *gates]), filters, f"{name}-project", scale)


def _coordinates(x, name: str, side: int):
    """A head: the product of a gate for each row and one for each column, (B, H, W, C)."""
    inner = f"{name}-CoordAtt"
    along = {"h": (1, side), "w": (side, 1)}
    rows, columns = (
        norm(depthwise(x, size, pad=False, name=f"{inner}-Linear_{axis}-conv"), f"{inner}-Linear_{axis}-bn")
        for axis, size in along.items()
    )
    return layers.Multiply(name=name)(_gates(rows, columns, x.shape[-1], WIDE, inner))


def _gates(rows, columns, channels: int, start, name: str):
    """Coordinate attention (Hou et al. 2021): from (B, H, 1, C) and (B, 1, W, C) to gates of these shapes, by
    way of fewer channels. start: makes the kernels' initializer.
    """
    turned = layers.Permute((2, 1, 3), name=f"{name}-turn")(columns)
    y = layers.Concatenate(axis=1, name=f"{name}-join")([rows, turned])
    y = norm(
        conv(y, max(8, channels // 32), 1, bias=True, start=start(), name=f"{name}-conv1"), f"{name}-bn1"
    )
    y = layers.Activation("hard_swish", name=f"{name}-relu")(y)
    high = layers.Cropping2D(((0, columns.shape[2]), (0, 0)), name=f"{name}-rows")(y)
    wide = layers.Cropping2D(((rows.shape[1], 0), (0, 0)), name=f"{name}-columns")(y)
    wide = layers.Permute((2, 1, 3), name=f"{name}-turn_back")(wide)
    named = ((high, "conv2"), (wide, "conv3"))
    spread = [conv(y, channels, 1, bias=True, start=start(), name=f"{name}-{key}") for y, key in named]
    return [layers.Activation("sigmoid", name=f"{name}-gate{i}")(y) for i, y in enumerate(spread, 2)]


@keras.saving.register_keras_serializable("fer_hailo")
class _Mean(layers.Layer):
    """The mean of a map along one axis, which stays with length 1."""

    def __init__(self, axis: int, **options):
        super().__init__(**options)
        self.axis = axis

    def call(self, x):
        return ops.mean(x, axis=self.axis, keepdims=True)

    def get_config(self) -> dict:
        return super().get_config() | {"axis": self.axis}
