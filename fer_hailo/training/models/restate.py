"""Give batch norms the statistics of what they see, without a change of what they compute."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import keras
import numpy as np
from keras import ops

from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.training.data.rows import Images
from fer_hailo.training.models.inputs import FaceInput

IMAGES, BATCH = 640, 32


def restate(model: keras.Model, batches: Iterable) -> None:
    """Restate the batch norms of a Functional model: their moving mean and variance become those of their
    inputs over all batches, their scale and shift what keeps inference as it is.

    model: its batch norms have a scale and a shift and stand over the last axis. batches: one or more, each
    (B, ...) as the model takes them. In training a batch norm uses the statistics of its batch, whatever it
    has stored; with stored ones that are far from these, as in weights whose norms were made affine layers,
    training would begin with another network. One pass serves all norms, as no output moves.
    """
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    probe = keras.Model(model.input, [layer.input for layer in norms])
    count = 0
    means, squares = [np.zeros(1) for _ in norms], [np.zeros(1) for _ in norms]
    for batch in batches:
        count += len(batch)
        for i, seen in enumerate(probe(batch, training=False)):
            values = _numbers(seen).reshape(-1, seen.shape[-1])
            mean = values.mean(0, dtype=np.float64)
            means[i] = means[i] + len(batch) * mean
            squares[i] = squares[i] + len(batch) * (values.var(0, dtype=np.float64) + mean**2)
    for layer, mean, square in zip(norms, means, squares, strict=True):
        mean = mean / count
        _restate(layer, mean, np.maximum(square / count - mean**2, 0))


def face_batches(images: Images, spec: PreprocessSpec, seed: int) -> Iterator:
    """Up to 640 of the cached images, uint8 (N, S, S[, 3]), chosen by the seed, as a network sees them:
    float32 (B, I, I, 3)."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(images))[:IMAGES])
    prepare = FaceInput(spec, dtype="float32")
    for start in range(0, len(chosen), BATCH):
        yield prepare(images[chosen[start : start + BATCH]])


def _restate(layer: keras.layers.BatchNormalization, mean: np.ndarray, variance: np.ndarray) -> None:
    """float64 (C,): the statistics of the input."""
    gamma, beta, old_mean, old_variance = (value.astype(np.float64) for value in layer.get_weights())
    slope = gamma / np.sqrt(old_variance + layer.epsilon)
    gamma, beta = slope * np.sqrt(variance + layer.epsilon), beta + slope * (mean - old_mean)
    layer.set_weights([gamma, beta, mean, variance])


def _numbers(values) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(values), np.float32)
