"""Ada-DF's loss (Liu et al. 2023): the second branch learns a mixture of what the first says and of what is
said of the class on the whole.

Different from the official code: the distributions of the classes are gathered while an epoch trains, not in
a pass of their own after it; where one falls back on the threshold, its numbers sum to 1 (there, to 1.1); and
the shared beginning trains unless `freeze` says otherwise.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from fer_hailo.training.networks.record import Objective

LOWEST_WEIGHT = 0.2
HIGH_SHARE, MARGIN = 0.7, 0.07


def answer(network: keras.Model, faces, targets, setting):
    """The second branch's logits, with the whole of the loss added."""
    loss = setting.config.loss
    fusion = Fusion(
        setting.steps,
        setting.own,
        loss.ada_df_threshold,
        loss.ada_df_ramp,
        dtype="float32",
        name="fusion",
    )
    return fusion(*network(faces), targets)


def ramp(epoch, length: float):
    """(weight of the second branch's loss, weight of the first's) in an epoch counted from 1: first the
    first, then, after `length` epochs, the second.
    """
    early, late = ops.exp(-((1 - epoch / length) ** 2)), ops.exp(-((1 - length / epoch) ** 2))
    begins = epoch <= length
    return ops.where(begins, early, 1.0), ops.where(begins, 1.0, late)


def fallback(classes: int, threshold: float) -> np.ndarray:
    """Class distributions of which nothing is known: the threshold for the class itself, the rest for the
    others, float (C, C).
    """
    rest = (1 - threshold) / (classes - 1)
    return np.full((classes, classes), rest) + (threshold - rest) * np.eye(classes)


def distributions(sums, counts, threshold: float):
    """The mean prediction for each class, float (C, C), from sums (C, C) over counts (C,) images; the
    fallback where the class itself has less than the threshold.
    """
    means = sums / ops.maximum(counts, 1e-6)[:, None]
    sure = ops.diagonal(means) >= threshold
    return ops.where(sure[:, None], means, ops.cast(fallback(sums.shape[0], threshold), sums.dtype))


def fused(first, gates, known, targets):
    """What the second branch is to say, (B, C): the first's probabilities, and, the larger an image's gate is
    within the batch, the more of the distribution of its class. first: logits (B, C); gates: (B, 1); known:
    (C, C); targets: (B, C).
    """
    low, high = ops.min(gates), ops.max(gates)
    share = LOWEST_WEIGHT + (1 - LOWEST_WEIGHT) * (gates - low) / ops.maximum(high - low, 1e-7)
    return (1 - share) * ops.softmax(first) + share * ops.matmul(targets, known)


def rank_hinge(gates):
    """By how much the mean of the highest 70 % of the gates (B, 1) is less than .07 above the mean of the
    others; 0 of a single one.
    """
    ordered = ops.sort(gates[:, 0])
    size = ops.shape(ordered)[0]
    count = ops.cast(size, "float32")
    top = ops.maximum(ops.floor(HIGH_SHARE * count + 1e-4), 1)  # 70 % of 10 are 7, and 6.9999995 in float32
    low = ops.cast(ops.cast(ops.arange(size), "float32") < count - top, ordered.dtype)
    mean_high = ops.sum(ordered * (1 - low)) / top
    mean_low = ops.sum(ordered * low) / ops.maximum(count - top, 1)
    return ops.where(count > top, ops.maximum(mean_low - mean_high + MARGIN, 0), 0.0)


class Fusion(keras.layers.Layer):
    """Passes the second branch's logits on and adds `own` times the losses of both.

    Counts the steps, `steps` an epoch. threshold, length: as of `fallback` and `ramp`.
    """

    def __init__(self, steps: int, own: float = 1.0, threshold: float = 0.7, length: float = 3.0, **options):
        super().__init__(**options)
        self.steps, self.own, self.threshold, self.length = steps, own, threshold, length

    def build(self, second_shape, first_shape, gates_shape, targets_shape):
        classes = targets_shape[-1]
        self.known = self.add_weight(
            shape=(classes, classes), initializer=self._nothing_known, trainable=False, name="known"
        )
        self.sums = self.add_weight(
            shape=(classes, classes), initializer="zeros", trainable=False, name="sums"
        )
        self.counts = self.add_weight(shape=(classes,), initializer="zeros", trainable=False, name="counts")
        self.step = self.add_weight(shape=(), initializer="zeros", trainable=False, name="step")

    def call(self, second, first, gates, targets, training=None):
        second_weight, first_weight = ramp(ops.floor(self.step / self.steps) + 1, self.length)
        wanted = ops.maximum(fused(first, gates, self.known, targets), 1e-12)
        divergence = ops.sum(wanted * (ops.log(wanted) - ops.log_softmax(second)), axis=-1)
        taught = -ops.sum(targets * ops.log_softmax(first), axis=-1)
        self.add_loss(
            self.own
            * (first_weight * ops.mean(taught) + second_weight * ops.mean(divergence) + rank_hinge(gates))
        )
        if training:
            self._gather(ops.stop_gradient(ops.softmax(first)), targets)
        return second

    def _nothing_known(self, shape, dtype=None):
        return ops.cast(fallback(shape[0], self.threshold), dtype)

    def _gather(self, answers, targets):
        sums = self.sums + ops.matmul(ops.transpose(targets), answers)
        counts, step = self.counts + ops.sum(targets, axis=0), self.step + 1
        over = ops.equal(ops.mod(step, self.steps), 0)
        renewed = distributions(sums, counts, self.threshold)
        self.known.assign(ops.where(over, renewed, ops.convert_to_tensor(self.known)))
        self.sums.assign(ops.where(over, ops.zeros_like(sums), sums))
        self.counts.assign(ops.where(over, ops.zeros_like(counts), counts))
        self.step.assign(step)

    def compute_output_shape(self, second_shape, first_shape, gates_shape, targets_shape):
        return second_shape


OBJECTIVE = Objective(answer, labelled=True, outside=0.0)
