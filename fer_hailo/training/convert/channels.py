"""How wide each channel of a Keras network's tensors is, over calibration images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import keras
import numpy as np

from fer_hailo.common.preprocess import PreprocessSpec, normalise
from fer_hailo.common.progress import track

BATCH = 8  # the tensors of all layers are held at once
RARE = 1e-4  # the part of a channel's values that may lie beyond its peak


@dataclass(frozen=True)
class Channels:
    """float32 (C,) each: smallest and largest value of a channel; peak: the 99.99th percentile of its
    absolute values.
    """

    low: np.ndarray
    high: np.ndarray
    peak: np.ndarray


def measure(
    model: keras.Model, names: list[str], images: np.ndarray, spec: PreprocessSpec
) -> dict[str, Channels]:
    """Channels of the outputs of some operations of a Functional model, over prepared images uint8 (N, I, I,
    3).
    """
    if not names:
        return {}
    operations = {operation.name: operation for operation in model.operations}
    probe = keras.Model(model.inputs, [operations[name].output for name in names])
    lows: dict[str, list[np.ndarray]] = {name: [] for name in names}
    highs: dict[str, list[np.ndarray]] = {name: [] for name in names}
    tops: dict[str, list[np.ndarray]] = {name: [] for name in names}
    starts = range(0, len(images), BATCH)
    for start in track(starts, len(images), "measuring channels", each=BATCH):
        outputs = probe.predict_on_batch(normalise(images[start : start + BATCH], spec))
        for name, output in zip(names, outputs if isinstance(outputs, list) else [outputs], strict=True):
            values = np.asarray(output).reshape(-1, output.shape[-1])
            lows[name].append(values.min(axis=0))
            highs[name].append(values.max(axis=0))
            rare = math.ceil(RARE * len(values) / len(output) * len(images))
            tops[name] = [_largest(np.concatenate([*tops[name], np.abs(values)]), rare)]
    return {
        name: Channels(np.min(lows[name], axis=0), np.max(highs[name], axis=0), tops[name][0].min(axis=0))
        for name in names
    }


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """The `count` largest of each column of values (N, C); all where there are fewer."""
    columns = np.ascontiguousarray(values.T)
    return np.partition(columns, -count, axis=1)[:, -count:].T if count < len(values) else values
