"""LNSU-Net (Zhang et al. 2023, "Leave No Stone Unturned: Mine Extra Knowledge for Imbalanced Facial
Expression Recognition").

Labels lend a part to the other classes, the rare ones most, and the network is to see each class at the same
places of a face and of its mirror image. It costs nothing once trained, and suits any network whose head is
one dense layer.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from fer_hailo.training.networks.head import POOL

LENT, WEIGHT = 0.3, 0.1


def answer(network: keras.Model, faces, targets, setting):
    """The logits of the faces, with their consistency with the mirrored faces added to the loss."""
    maps = network.get_layer(POOL).input
    both = keras.Model(network.input, [network.output, maps])
    logits, here = both(faces)
    _, there = both(ops.flip(faces, axis=2))
    head = {"norm": network.get_layer("head_norm"), "dense": network.get_layer("logits")}
    return Consistency(balance(setting.counts), **head, dtype="float32", name="consistency")(
        logits, here, there
    )


def balance(counts: np.ndarray) -> np.ndarray:
    """Weights of the classes, N / (10 n), float (C,): large for the rare ones. counts: int (C,)."""
    return np.sum(counts) / (10 * np.maximum(counts, 1))


def spread(counts: np.ndarray) -> np.ndarray:
    """Re-balanced smooth labels: row c is what an image of class c is told, .7 for c, .3 for the others in
    proportion to `balance`.
    """
    weights = balance(counts)
    rows = np.tile(weights, (len(weights), 1))
    np.fill_diagonal(rows, 0)
    return LENT * rows / rows.sum(axis=1, keepdims=True) + (1 - LENT) * np.eye(len(weights))


def disagreement(here, there, weights):
    """The mean squared difference of two views' class maps (B, H, W, C), the second mirrored back, weighted
    by class, summed over the classes and meant over images and places. weights: (C,).
    """
    difference = (here - ops.flip(there, axis=2)) ** 2
    return ops.mean(ops.sum(difference * weights, axis=-1))


class Consistency(keras.layers.Layer):
    """Passes logits on and adds .1 x the disagreement of two views' feature maps, seen through the weights of
    the head, which it does not teach.
    """

    def __init__(
        self, weights: np.ndarray, norm: keras.layers.BatchNormalization, dense: keras.layers.Dense, **options
    ):
        super().__init__(**options)
        self.weights_of_classes, self.norm, self.dense = np.asarray(weights, np.float32), norm, dense

    def call(self, logits, here, there):
        scale = self.norm.gamma / ops.sqrt(self.norm.moving_variance + self.norm.epsilon)
        seen = ops.stop_gradient(ops.cast(scale, "float32")[:, None] * ops.cast(self.dense.kernel, "float32"))
        here, there = (ops.matmul(ops.cast(x, "float32"), seen) for x in (here, there))
        self.add_loss(WEIGHT * disagreement(here, there, self.weights_of_classes))
        return logits

    def compute_output_shape(self, logits_shape, here_shape, there_shape):
        return logits_shape
