"""The INT8 ranges with which the fine-tuning of a network begins."""

from __future__ import annotations

from dataclasses import asdict

import keras
import numpy as np

from fer_hailo.common.metrics import softmax
from fer_hailo.common.preprocess import PreprocessSpec, normalise
from fer_hailo.common.progress import track
from fer_hailo.training.convert.graph import graph_of
from fer_hailo.training.convert.quantise import Trial, judged
from fer_hailo.training.convert.ranges import PERCENTILES, SAMPLES, TensorRange
from fer_hailo.training.convert.scaling import is_swish
from fer_hailo.training.quantise.fake import FakeQuantised

BATCH = 8  # the tensors of all layers are held at once
ANSWERED = 64
SWISH_ZERO, STEPS = 3.0, 255
LEAST = 1e-6  # of a tensor that is 0 on every image


def choose_ranges(quantised: FakeQuantised, teacher: keras.Model, images: np.ndarray) -> list[dict]:
    """Set the ranges to those with which the rounded network diverges least from `teacher`: all end at one of
    some percentiles.

    images: the calibration set, uint8 (N, I, I, 3). Returns the trials, the chosen one first.
    """
    network, spec, names = quantised.network, quantised.spec, quantised.places.operations()
    found = dict(zip(names, tensor_values(network, names, images, spec), strict=True))
    image = keras.Input(teacher.input_shape[1:])
    rounded = keras.Model(image, quantised(image))
    expected = softmax(_logits(teacher, images, spec))
    trials: dict[Trial, np.ndarray] = {}
    for percentile in track(PERCENTILES, len(PERCENTILES), "choosing ranges"):
        limits = np.array([(0, 0), *ends_of(network, found, percentile)], np.float32)
        limits[:, 1] = np.maximum(limits[:, 1], limits[:, 0] + LEAST)
        quantised.ranges.assign(limits)
        answers = softmax(_logits(rounded, images, spec))
        trials[judged(f"{percentile:g}", expected, answers)] = limits
    ranked = sorted(trials, key=lambda trial: trial.divergence)
    quantised.ranges.assign(trials[ranked[0]])
    return [asdict(trial) for trial in ranked]


def ends_of(
    model: keras.Model, found: dict[str, TensorRange], percentile: float
) -> list[tuple[float, float]]:
    """(low, high) for the output of each operation in `found`.

    What only h-swishes read becomes 0 below -3: one step below is enough, unless ranges are whole (percentile
    100).
    """
    limits = []
    for name, tensor in found.items():
        low, high = tensor.ends[f"{percentile:g}"]
        if percentile < 100 and _only_swish_reads(model, name):
            low = max(low, -SWISH_ZERO - (high + SWISH_ZERO) / (STEPS - 1))
        limits.append((low, high))
    return limits


def _only_swish_reads(model: keras.Model, name: str) -> bool:
    operations = {operation.name: operation for operation in model.operations}
    readers = graph_of(model).consumers[name]
    return bool(readers) and all(is_swish(operations[reader]) for reader in readers)


def tensor_values(
    model: keras.Model, names: list[str], images: np.ndarray, spec: PreprocessSpec, seed: int = 0
) -> list[TensorRange]:
    """What the outputs of some operations of a Functional model are over prepared images uint8 (N, I, I,
    3).
    """
    operations, rng = (
        {operation.name: operation for operation in model.operations},
        np.random.default_rng(seed),
    )
    probe = keras.Model(model.inputs, [operations[name].output for name in names])
    lows: list[list[np.ndarray]] = [[] for _ in names]
    highs: list[list[np.ndarray]] = [[] for _ in names]
    sums: list[list[np.ndarray]] = [[] for _ in names]
    samples: list[list[np.ndarray]] = [[] for _ in names]
    starts = range(0, len(images), BATCH)
    for start in track(starts, len(images), "measuring ranges", each=BATCH):
        outputs = probe.predict_on_batch(normalise(images[start : start + BATCH], spec))
        for number, output in enumerate(outputs if isinstance(outputs, list) else [outputs]):
            output = np.asarray(output)
            channels, flat = output.reshape(-1, output.shape[-1]), output.reshape(len(output), -1)
            lows[number].append(channels.min(axis=0))
            highs[number].append(channels.max(axis=0))
            sums[number].append(channels.mean(axis=0, dtype=np.float64) * len(output))
            chosen = rng.integers(0, flat.shape[1], (len(flat), SAMPLES)) if flat.shape[1] > SAMPLES else None
            samples[number].append(
                (flat if chosen is None else np.take_along_axis(flat, chosen, axis=1)).ravel()
            )
    return [
        TensorRange(
            np.min(low, axis=0),
            np.max(high, axis=0),
            (np.sum(total, axis=0) / len(images)).astype(np.float32),
            np.concatenate(sample),
        )
        for low, high, total, sample in zip(lows, highs, sums, samples, strict=True)
    ]


def _logits(model: keras.Model, images: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
    starts = range(0, len(images), ANSWERED)
    return np.concatenate(
        [np.asarray(model.predict_on_batch(normalise(images[i : i + ANSWERED], spec))) for i in starts]
    )
