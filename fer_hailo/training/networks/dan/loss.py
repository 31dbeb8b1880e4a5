"""DAN's two losses (Wen et al. 2023): features near the centre of their class, heads that differ."""

from __future__ import annotations

import keras
from keras import ops

from fer_hailo.training.networks.dan.network import COMPARED, FEATURES
from fer_hailo.training.networks.taps import tapped


def answer(network: keras.Model, faces, targets, setting):
    """The logits, with affinity and partition added to the loss."""
    logits, features, heads = tapped(network, FEATURES, COMPARED)(faces)
    loss = setting.config.loss
    differences = Differences(
        loss.affinity_weight, loss.partition_weight, dtype="float32", name="differences"
    )
    return differences(logits, features, heads, targets)


def affinity(features, centres, targets):
    """The squared distance of the pooled features (B, D) to the centre of their class, centres (C, D), over
    the summed variance of the centres, which is taken over C - 1. Soft targets (B, C) weigh the centres. A
    mean over the batch.
    """
    squares = (
        ops.sum(features**2, axis=1)[:, None]
        + ops.sum(centres**2, axis=1)
        - 2 * ops.matmul(features, ops.transpose(centres))
    )
    spread = ops.sum(ops.var(centres, axis=0)) * centres.shape[0] / (centres.shape[0] - 1)
    return ops.mean(ops.sum(targets * ops.maximum(squares, 0), axis=1)) / spread


def partition(heads):
    """log(1 + K / variance) of K heads (B, K, D): the variance between the heads, over K - 1, meant over
    images and channels.
    """
    count = heads.shape[1]
    variance = ops.mean(ops.var(heads, axis=1)) * count / (count - 1)
    return ops.log(1 + count / ops.maximum(variance, 1e-12))


class Differences(keras.layers.Layer):
    """Passes logits (B, C) on and adds both losses, times their weights.

    Keeps the centres, which are learnt and not part of the saved network.
    """

    def __init__(self, near: float = 1.0, apart: float = 1.0, **options):
        super().__init__(**options)
        self.near, self.apart = near, apart

    def build(self, logits_shape, features_shape, heads_shape, targets_shape):
        shape = (targets_shape[-1], features_shape[-1])
        self.centres = self.add_weight(
            shape=shape, initializer=keras.initializers.RandomNormal(stddev=1.0), name="centres"
        )

    def call(self, logits, features, heads, targets):
        pooled = ops.mean(features, axis=(1, 2))
        self.add_loss(self.near * affinity(pooled, self.centres, targets) + self.apart * partition(heads))
        return logits

    def compute_output_shape(self, logits_shape, features_shape, heads_shape, targets_shape):
        return logits_shape
