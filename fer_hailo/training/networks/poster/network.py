"""POSTER (Zheng et al. 2023): tokens of a face-recognition and of a landmark network ask each other, at three
widths.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from fer_hailo.training.networks.attention import (
    Attention,
    MeanFirst,
    Positions,
    dense,
    drop_path,
    gated,
    mlp,
)
from fer_hailo.training.networks.blocks import Part, picture
from fer_hailo.training.networks.face_backbones import UNITS, ir50, mobile_face_net, renamed

WIDTH, HEADS, DEPTH, DROP = 512, 8, 8, 0.1
EPSILON = 1e-6
RENAMED = renamed({"body.": "ir_back.body."})


def poster(input_size: int, logits: int) -> keras.Model:
    """From (I, I, 3) in [-1, 1] to logits; I is a multiple of 32. Both backbones see every second pixel, as
    the official code does.

    Layers are called as the official code calls its modules.
    """
    image, shifted = picture(input_size)
    half = layers.MaxPooling2D(1, 2, name="half")(shifted)
    features = ir50(half, lambda stage, i: f"body-{sum(UNITS[:stage]) + i}")[-1]
    landmarks = mobile_face_net(half)[-1]
    count = landmarks.shape[1] * landmarks.shape[2]

    # The official code cuts the tokens out of memory that has the channels first, whatever they mean.
    cut = layers.Reshape((count, -1), name="ir_back")(
        layers.Permute((3, 1, 2), name="channels_first")(features)
    )
    seen = Positions(name="pyramid_fuse-positions")(
        MeanFirst(name="image_mean")(dense(cut, WIDTH, "ir_layer"))
    )
    asked = MeanFirst(name="landmark_mean")(layers.Reshape((count, -1), name="landmark_tokens")(landmarks))
    large = layers.Concatenate(axis=1, name="tokens")([seen, asked])
    medium, small = (
        _along(large, layers.Conv1D, step, f"pyramid_fuse-downsample_{key}")
        for step, key in ((2, "m"), (4, "s"))
    )
    for i, rate in enumerate(np.linspace(0, DROP, DEPTH)):
        name = f"pyramid_fuse-blocks-{i}"
        large, medium, small = (
            _block(x, float(rate), f"{name}-block_{key}")
            for x, key in ((large, "l"), (medium, "m"), (small, "s"))
        )
        medium = layers.Add(name=f"{name}-m")(
            [medium, _along(small, layers.Conv1DTranspose, 2, f"{name}-upsample_s")]
        )
        large = layers.Add(name=f"{name}-l")(
            [large, _along(medium, layers.Conv1DTranspose, 2, f"{name}-upsample_m")]
        )
    x = Part(1, 0, 1, name="class_token")(_norm(large, "pyramid_fuse-norm"))
    x = gated(layers.Flatten(name="pyramid_fuse")(x), "se_block")
    return keras.Model(image, layers.Dense(logits, name="head-linear", dtype="float32")(x), name="poster")


def _block(x, rate: float, name: str):
    """Both streams of (B, 2 n, D) attend, each asked by the other; then a 1x1 convolution mixes the
    tokens.
    """
    width, streams = x.shape[-1], []
    for own, (attend, before, after, feed) in enumerate(
        (("attn_img", "norm1", "norm2", "mlp1"), ("attn_lm", "norm3", "norm4", "mlp2"))
    ):
        attend, feed = f"{name}-{attend}", f"{name}-{feed}"
        y = _norm(x, f"{name}-{before}")
        pairs = dense(_stream(y, own, f"{attend}-own"), 2 * width, f"{attend}-kv")
        y = dense(
            Attention(HEADS, name=f"{attend}-heads")(_stream(y, 1 - own, f"{attend}-other"), pairs),
            width,
            f"{attend}-proj",
        )
        kept = layers.Add(name=f"{attend}-add")(
            [_stream(x, own, f"{attend}-kept"), drop_path(y, rate, f"{attend}-drop")]
        )
        y = mlp(_norm(kept, f"{name}-{after}"), 2 * width, feed)
        streams.append(layers.Add(name=f"{feed}-add")([kept, drop_path(y, rate, f"{feed}-drop")]))
    return _along(layers.Concatenate(axis=1, name=f"{name}-both")(streams), layers.Conv1D, 1, f"{name}-conv")


def _stream(x, number: int, name: str):
    """The image's tokens (0) or the landmarks' (1)."""
    count = x.shape[1] // 2
    return Part(1, number * count, (number + 1) * count, name=name)(x)


def _along(x, kind: type, step: int, name: str):
    """A convolution along the embedding, of kernel and stride `step`, to which the tokens are the channels:
    (B, N, D) to (B, N, D').
    """
    y = layers.Permute((2, 1), name=f"{name}-turn")(x)
    return layers.Permute((2, 1), name=f"{name}-turn_back")(kind(x.shape[1], step, step, name=name)(y))


def _norm(x, name: str):
    return layers.LayerNormalization(epsilon=EPSILON, name=name)(x)
