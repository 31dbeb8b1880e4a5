"""The INT8 ranges with which the fine-tuning of a network begins."""

from __future__ import annotations

from dataclasses import asdict

import keras
import numpy as np

from fer_hailo.convert.quantise import WAYS, Trial, judged
from fer_hailo.convert.ranges import SAMPLES, TensorRange
from fer_hailo.metrics import softmax
from fer_hailo.preprocess import PreprocessSpec, normalise
from fer_hailo.progress import track
from fer_hailo.quantise.fake import FakeQuantised

BATCH = 32
LEAST = 1e-6  # of a tensor that is 0 on every image


def choose_ranges(quantised: FakeQuantised, teacher: keras.Model, images: np.ndarray) -> list[dict]:
    """Set the ranges to those, of the ways of fer_hailo.convert.quantise, with which the rounded network diverges least from `teacher`.

    images: the calibration set, uint8 (N, I, I, 3). Returns the trials, the chosen one first.
    """
    found, spec = tensor_values(quantised.network, quantised.places.operations(), images, quantised.spec), quantised.spec
    image = keras.Input(teacher.input_shape[1:])
    rounded = keras.Model(image, quantised(image))
    expected = softmax(_logits(teacher, images, spec))
    trials: dict[Trial, np.ndarray] = {}
    for way in track(WAYS, len(WAYS), "choosing ranges"):
        limits = np.float32([(0, 0), *(tensor.limits(way) for tensor in found)])
        limits[:, 1] = np.maximum(limits[:, 1], limits[:, 0] + LEAST)
        quantised.ranges.assign(limits)
        answers = softmax(_logits(rounded, images, spec))
        trials[judged(way, expected, answers)] = limits
    ranked = sorted(trials, key=lambda trial: trial.divergence)
    quantised.ranges.assign(trials[ranked[0]])
    return [asdict(trial) for trial in ranked]


def tensor_values(model: keras.Model, names: list[str], images: np.ndarray, spec: PreprocessSpec, seed: int = 0) -> list[TensorRange]:
    """What the outputs of some operations of a Functional model are over prepared images uint8 (N, I, I, 3)."""
    operations, rng = {operation.name: operation for operation in model.operations}, np.random.default_rng(seed)
    probe = keras.Model(model.inputs, [operations[name].output for name in names])
    lows, highs, sums, samples = ([[] for _ in names] for _ in range(4))
    starts = range(0, len(images), BATCH)
    for start in track(starts, len(starts), "measuring ranges"):
        outputs = probe.predict_on_batch(normalise(images[start : start + BATCH], spec))
        for number, output in enumerate(outputs if isinstance(outputs, list) else [outputs]):
            output = np.asarray(output)
            channels, flat = output.reshape(-1, output.shape[-1]), output.reshape(len(output), -1)
            lows[number].append(channels.min(axis=0))
            highs[number].append(channels.max(axis=0))
            sums[number].append(channels.mean(axis=0, dtype=np.float64) * len(output))
            chosen = rng.integers(0, flat.shape[1], (len(flat), SAMPLES)) if flat.shape[1] > SAMPLES else None
            samples[number].append((flat if chosen is None else np.take_along_axis(flat, chosen, axis=1)).ravel())
    return [
        TensorRange(
            np.min(low, axis=0), np.max(high, axis=0), (np.sum(total, axis=0) / len(images)).astype(np.float32), np.concatenate(sample)
        )
        for low, high, total, sample in zip(lows, highs, sums, samples, strict=True)
    ]


def _logits(model: keras.Model, images: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
    starts = range(0, len(images), BATCH)
    return np.concatenate([np.asarray(model.predict_on_batch(normalise(images[i : i + BATCH], spec))) for i in starts])
