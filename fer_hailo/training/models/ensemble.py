"""Several classifiers as one network: soft voting, the weighted mean of their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.training.models.inputs import resized

STEPS = 500


@keras.saving.register_keras_serializable("fer_hailo")
class Enlarge(keras.layers.Layer):
    """float (B, S, S, 3) in [-1, 1] to (B, side, side, 3): what `prepare` makes of the same small image, in
    whole grey levels.
    """

    def __init__(self, side: int, mean: float, scale: float, **options):
        super().__init__(**options)
        self.side, self.mean, self.scale = side, mean, scale

    def call(self, faces: Any) -> Any:
        levels = ops.round(ops.cast(faces, "float32") * self.scale + self.mean)
        return (ops.clip(ops.round(resized(levels, self.side)), 0, 255) - self.mean) / self.scale

    def compute_output_shape(self, shape: tuple) -> tuple:
        return (shape[0], self.side, self.side, shape[3])

    def get_config(self) -> dict:
        return super().get_config() | {"side": self.side, "mean": self.mean, "scale": self.scale}


@keras.saving.register_keras_serializable("fer_hailo")
class SoftVote(keras.layers.Layer):
    """Logits of K classifiers, each (B, C), to log(sum of share x probability) (B, C), of which the softmax
    is the weighted mean.
    """

    def __init__(self, shares: Sequence[float] | np.ndarray, **options: Any):
        super().__init__(**options)
        self.shares = [float(share) for share in shares]

    def call(self, answers: Any) -> Any:
        mean = sum(share * ops.softmax(logits) for share, logits in zip(self.shares, answers, strict=True))
        return ops.log(ops.maximum(mean, 1e-12))

    def compute_output_shape(self, shapes: list[tuple]) -> tuple:
        return shapes[0]

    def get_config(self) -> dict:
        return super().get_config() | {"shares": self.shares}


def build_ensemble(
    members: Sequence[keras.Model], shares: Sequence[float] | np.ndarray, spec: PreprocessSpec
) -> keras.Model:
    """One network from the small images, (S, S, 3) floats in [-1, 1], to logits (C,): each member sees them
    at its own size.

    members: classifiers from (I, I, 3), of any I, to logits (C,). They are renamed, since names in a network
    must differ.
    """
    size, source = (spec.source_size, spec.source_size, 3), spec.source_size
    faces, answers = keras.Input(size, name="faces"), []
    for number, member in enumerate(members, 1):
        member.name = f"member{number}"
        side = member.input_shape[1]
        seen = (
            faces if side == source else Enlarge(side, spec.mean, spec.scale, name=f"enlarge{number}")(faces)
        )
        answers.append(member(seen, training=False))
    return keras.Model(faces, SoftVote(shares, name="logits")(answers), name="ensemble")


def fit_shares(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The shares of a vote under which the labels are likeliest: float64 (K,), 0 or more, sum 1.

    probabilities: (K, N, C); labels: int (N,). Expectation maximisation of a mixture with fixed components,
    whose likelihood has one maximum (Dempster et al. 1977).
    """
    right = np.maximum(probabilities[:, np.arange(len(labels)), labels], 1e-12)
    shares = np.full(len(right), 1 / len(right))
    for _ in range(STEPS):
        owed = shares[:, None] * right
        shares = (owed / owed.sum(axis=0)).mean(axis=1)
    return shares
