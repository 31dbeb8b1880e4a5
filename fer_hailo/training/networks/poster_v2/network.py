"""POSTER V2, or POSTER++ (Mao et al. 2025): landmarks ask the image at three scales; a small transformer
joins them.
"""

from __future__ import annotations

import keras
from keras import layers

from fer_hailo.training.networks.attention import (
    Attention,
    LayerScale,
    Positions,
    WindowAttention,
    dense,
    drop_path,
    gated,
    mlp,
)
from fer_hailo.training.networks.blocks import Part, conv, picture
from fer_hailo.training.networks.face_backbones import UNITS, WIDTHS, ir50, mobile_face_net, renamed

WIDTH, DEPTH, VIT_HEADS = 768, 2, 8
HEADS, DROP = (2, 4, 8), (0.0, 0.125, 0.25)  # of the three scales
# Strides and names of the convolutions that bring each scale to the same number of tokens.
EMBED = (((2, "embed_q-0"), (2, "embed_q-1")), ((2, "embed_k-0"),), ((1, "embed_v-proj"),))

_STAGES = [(stage, i) for stage, units in enumerate(UNITS) for i in range(units)]
# IR-50's own checkpoint counts its units through; the official code has the stages apart.
RENAMED = renamed(
    {f"body.{number}.": f"ir_back.body{stage + 1}.{i}." for number, (stage, i) in enumerate(_STAGES)}
    | {f"body{stage}.": f"ir_back.body{stage}." for stage in range(1, len(UNITS) + 1)}
)


def poster_v2(input_size: int, logits: int) -> keras.Model:
    """From (I, I, 3) in [-1, 1] to logits; I is a multiple of 32. Both backbones see every second pixel, as
    the official code does.

    Layers are called as the official code calls its modules. Windows are as large as the maps: weights fit
    one input size, officially 224.
    """
    image, shifted = picture(input_size)
    half = layers.MaxPooling2D(1, 2, name="half")(shifted)
    maps = ir50(half, lambda stage, i: f"body{stage + 1}-{i}")
    landmarks = mobile_face_net(half)
    landmarks[-1] = conv(landmarks[-1], WIDTHS[-1], 3, bias=True, name="last_face_conv")
    scales = [
        _scale(conv(x, x.shape[-1], 3, 2, bias=True, name=f"conv{level}"), asked, level)
        for level, (x, asked) in enumerate(zip(maps, landmarks, strict=True), 1)
    ]
    x = Positions(class_token=True, name="VIT-positions")(layers.Concatenate(axis=1, name="scales")(scales))
    for i in range(DEPTH):
        x = _block(x, f"VIT-blocks-{i}")
    x = layers.Flatten(name="VIT-first")(Part(1, 0, 1, name="VIT-class_token")(_norm(x, 1e-6, "VIT-norm")))
    return keras.Model(
        image,
        layers.Dense(logits, name="VIT-head-linear", dtype="float32")(gated(x, "VIT-se_block")),
        name="poster_v2",
    )


def _scale(x, landmarks, level: int):
    """One scale: landmark pixels ask the image's within the whole map, then a feed-forward part, then tokens
    of width 768.
    """
    side, width, heads, rate = x.shape[1], x.shape[-1], HEADS[level - 1], DROP[level - 1]
    x = _norm(x, 1e-5, f"window{level}-norm")
    pixels = layers.Reshape((side * side, width), name=f"window{level}")(x)
    asked = layers.Reshape((side * side, width), name=f"landmarks{level}")(landmarks)
    y = WindowAttention(heads, name=f"attn{level}-heads")(asked, dense(pixels, 2 * width, f"attn{level}-qkv"))
    y = layers.Reshape((side, side, width), name=f"attn{level}-map")(dense(y, width, f"attn{level}-proj"))
    x = _branch(x, y, "gamma1", rate, f"ffn{level}")
    x = _branch(
        x,
        mlp(_norm(x, 1e-5, f"ffn{level}-norm"), 4 * width, f"ffn{level}-mlp"),
        "gamma2",
        rate,
        f"ffn{level}",
    )
    for stride, name in EMBED[level - 1]:
        x = conv(x, WIDTH, 1 if name == "embed_v-proj" else 3, stride, bias=True, name=name)
    return layers.Reshape((-1, WIDTH), name=f"tokens{level}")(x)


def _branch(x, y, factors: str, rate: float, name: str):
    y = LayerScale(factors, name=f"{name}-{factors}")(y)
    return layers.Add(name=f"{name}-{factors}-add")([x, drop_path(y, rate, f"{name}-{factors}-drop")])


def _block(x, name: str):
    """A block of a vision transformer (Dosovitskiy et al. 2021)."""
    joint = dense(_norm(x, 1e-6, f"{name}-norm1"), 3 * WIDTH, f"{name}-attn-qkv")
    queries, pairs = (
        Part(-1, 0, WIDTH, name=f"{name}-attn-q")(joint),
        Part(-1, WIDTH, 3 * WIDTH, name=f"{name}-attn-kv")(joint),
    )
    y = Attention(VIT_HEADS, name=f"{name}-attn-heads")(queries, pairs)
    x = layers.Add(name=f"{name}-attended")([x, dense(y, WIDTH, f"{name}-attn-proj")])
    return layers.Add(name=name)([x, mlp(_norm(x, 1e-6, f"{name}-norm2"), 4 * WIDTH, f"{name}-mlp")])


def _norm(x, epsilon: float, name: str):
    return layers.LayerNormalization(epsilon=epsilon, name=name)(x)
