"""Float32 TFLite to full INT8, with ai-edge-quantizer: weights per channel, activations per tensor, input and output int8.

Both ai-edge-quantizer and TensorFlow's converter take an activation's whole range. These networks have rare values of ten times
the usual size, for which a whole-range scale is too coarse; so several ranges are tried, and the network's own float
answers on the calibration pictures (no labels) decide.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_hailo.convert.ranges import INPUT, TensorRange
from fer_hailo.litert import LiteRT
from fer_hailo.metrics import softmax
from fer_hailo.preprocess import PreprocessSpec, normalise
from fer_hailo.progress import track

PERCENTILES = (100.0, 99.99, 99.97, 99.95, 99.9, 99.7)


@dataclass(frozen=True)
class Trial:
    """A setting that was tried: percentile of the ranges; divergence: mean KL from the float network's softmax, nats; agreement:
    part of the pictures with the same answer."""

    percentile: float
    divergence: float
    agreement: float


def quantise(
    source: Path, target: Path, ranges: dict[str, TensorRange], images: np.ndarray, spec: PreprocessSpec, folder: Path
) -> list[Trial]:
    """Write the INT8 network of `source` to `target`, with the best of PERCENTILES. Returns the trials, best first.

    images: the calibration set, uint8 (N, I, I, 3). folder: where the candidates are written while they are tried.
    """
    expected = softmax(LiteRT(source).logits(images, spec))
    trials = {}
    for percentile in track(PERCENTILES, len(PERCENTILES), "quantizing"):
        limits = {name: tensor.clipped(percentile) for name, tensor in ranges.items()}
        limits[INPUT] = tuple(float(value) for value in normalise(np.array([0, 255], np.uint8), spec))
        candidate = folder / f"int8_{percentile}.tflite"
        candidate.write_bytes(_quantise(source, limits))
        answers = softmax(LiteRT(candidate).logits(images, spec))
        divergence = float((expected * np.log((expected + 1e-9) / (answers + 1e-9))).sum(axis=1).mean())
        agreement = float((answers.argmax(axis=1) == expected.argmax(axis=1)).mean())
        trials[candidate] = Trial(percentile, divergence, agreement)
    best = min(trials, key=lambda path: trials[path].divergence)
    target.write_bytes(best.read_bytes())
    return sorted(trials.values(), key=lambda trial: trial.divergence)


def _quantise(source: Path, limits: dict[str, Sequence[float]]) -> bytes:
    from ai_edge_quantizer import quantizer, recipe

    calibration = {name: {"min": np.float32([low]), "max": np.float32([high])} for name, (low, high) in limits.items()}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        worker = quantizer.Quantizer(str(source))
        worker.load_quantization_recipe(recipe.static_wi8_ai8())
        return bytes(worker.quantize(calibration).quantized_model)
