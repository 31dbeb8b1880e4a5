"""Layers of the transformers in POSTER and POSTER V2.

Weights of their own are called as the official code calls them.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

UNSUITED = "no: attention between tokens, layer norms, exact GELU"  # for Hailo-8


@keras.saving.register_keras_serializable("fer_hailo")
class Attention(layers.Layer):
    """Scaled dot-product attention (Vaswani et al. 2017) without weights: queries (B, N, D), keys and values
    (B, M, 2 D) to (B, N, D).

    Keys come first in the last axis; each D holds the heads one after another.
    """

    def __init__(self, heads: int, **options):
        super().__init__(**options)
        self.heads = heads

    def call(self, queries, pairs):
        width = queries.shape[-1]
        mixed = ops.matmul(self.shares(queries, pairs[..., :width]), self._split(pairs[..., width:]))
        return ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (-1, queries.shape[1], width))

    def shares(self, queries, keys):
        """How much each query takes of each value: (B, heads, N, M), sums of 1."""
        scale = (queries.shape[-1] // self.heads) ** -0.5
        return ops.softmax(
            self.biased(ops.matmul(self._split(queries) * scale, ops.swapaxes(self._split(keys), -1, -2)))
        )

    def biased(self, scores):
        """(B, heads, N, M) before the softmax."""
        return scores

    def compute_output_shape(self, queries_shape, pairs_shape):
        return queries_shape

    def get_config(self) -> dict:
        return super().get_config() | {"heads": self.heads}

    def _split(self, x):
        """(B, N, D) to (B, heads, N, D / heads)."""
        return ops.transpose(
            ops.reshape(x, (-1, x.shape[1], self.heads, x.shape[-1] // self.heads)), (0, 2, 1, 3)
        )


@keras.saving.register_keras_serializable("fer_hailo")
class WindowAttention(Attention):
    """Attention within one window of side W, N = M = W x W, with a learned bias for each relative position
    (Liu et al. 2021).
    """

    def build(self, queries_shape, pairs_shape):
        side = round(queries_shape[1] ** 0.5)
        y, x = np.divmod(np.arange(side * side), side)
        down, right = y[:, None] - y[None] + side - 1, x[:, None] - x[None] + side - 1
        self._row = (down * (2 * side - 1) + right).ravel()
        shape = ((2 * side - 1) ** 2, self.heads)
        self.table = self.add_weight(shape=shape, initializer=_small(), name="relative_position_bias_table")

    def biased(self, scores):
        side = scores.shape[-1]
        bias = ops.reshape(ops.take(self.table, self._row, axis=0), (side, side, self.heads))
        return scores + ops.transpose(bias, (2, 0, 1))[None]


@keras.saving.register_keras_serializable("fer_hailo")
class Positions(layers.Layer):
    """A learned vector for each token, added: (B, N, D). class_token: with a learned first token, to (B, N +
    1, D).
    """

    def __init__(self, class_token: bool = False, **options):
        super().__init__(**options)
        self.class_token = class_token

    def build(self, shape):
        width = shape[-1]
        if self.class_token:
            self.first = self.add_weight(shape=(1, 1, width), initializer=_small(), name="cls_token")
        self.at = self.add_weight(
            shape=(1, shape[1] + self.class_token, width), initializer=_small(), name="pos_embed"
        )

    def call(self, x):
        if self.class_token:
            first = ops.broadcast_to(self.first, (ops.shape(x)[0], 1, x.shape[-1]))
            x = ops.concatenate([ops.cast(first, x.dtype), x], axis=1)
        return x + self.at

    def compute_output_shape(self, shape):
        return (shape[0], shape[1] + self.class_token, shape[2])

    def get_config(self) -> dict:
        return super().get_config() | {"class_token": self.class_token}


@keras.saving.register_keras_serializable("fer_hailo")
class MeanFirst(layers.Layer):
    """The mean token before the tokens, (B, N, D) to (B, N + 1, D)."""

    def call(self, x):
        return ops.concatenate([ops.mean(x, axis=1, keepdims=True), x], axis=1)


@keras.saving.register_keras_serializable("fer_hailo")
class LayerScale(layers.Layer):
    """Channels times learned factors that are small at first (Touvron et al. 2021). variable: their name."""

    def __init__(self, variable: str, initial: float = 1e-5, **options):
        super().__init__(**options)
        self.variable, self.initial = variable, initial

    def build(self, shape):
        start = keras.initializers.Constant(self.initial)
        self.factors = self.add_weight(shape=(shape[-1],), initializer=start, name=self.variable)

    def call(self, x):
        return x * self.factors

    def get_config(self) -> dict:
        return super().get_config() | {"variable": self.variable, "initial": self.initial}


def dense(x, units: int, name: str):
    """A dense layer with a transformer's small initial weights."""
    return layers.Dense(units, kernel_initializer=_small(), name=name)(x)


def mlp(x, inside: int, name: str):
    """Two dense layers with the exact GELU between them."""
    y = layers.Activation("gelu", name=f"{name}-act")(dense(x, inside, f"{name}-fc1"))
    return dense(y, x.shape[-1], f"{name}-fc2")


def drop_path(x, rate: float, name: str):
    """Stochastic depth (Huang et al. 2016): in training, the whole branch of some images is 0."""
    shape = (None, *[1] * (len(x.shape) - 1))
    return layers.Dropout(rate, noise_shape=shape, name=name)(x) if rate else x


def gated(x, name: str):
    """(B, D) times sigmoid(linear(relu(linear)))."""
    y = layers.ReLU(name=f"{name}-relu")(dense(x, x.shape[-1], f"{name}-linear1"))
    return layers.Multiply(name=name)(
        [x, layers.Activation("sigmoid", name=f"{name}-gate")(dense(y, x.shape[-1], f"{name}-linear2"))]
    )


def _small():
    return keras.initializers.TruncatedNormal(stddev=0.02)
