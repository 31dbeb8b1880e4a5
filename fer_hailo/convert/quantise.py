"""Float32 TFLite to INT8, with ai-edge-quantizer: weights per channel, activations per tensor, input and output int8.

Both ai-edge-quantizer and TensorFlow's converter take an activation's whole range. These networks have rare values of ten times
the usual size, for which a whole-range scale is too coarse; so several ranges are tried. And most of the noise is made in the first
block, whose large constant outputs cancel in the next layer: kept in float32 (the file's input stays int8), it costs no time and
saves most of the loss. The network's own float answers on the calibration pictures (no labels) decide.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_hailo.convert.ranges import INPUT, TensorRange
from fer_hailo.errors import UserError
from fer_hailo.hailo.tflite import WEIGHTED, Tflite, read_tflite
from fer_hailo.litert import LiteRT
from fer_hailo.metrics import softmax
from fer_hailo.preprocess import PreprocessSpec, normalise
from fer_hailo.progress import track

PERCENTILES = (100.0, 99.99, 99.97, 99.95, 99.9, 99.7)
STEMS = (0, 3)
SHARE = 4  # a float stem may hold at most this part (1/4) of the layers with weights
WORTH = 0.8  # a float stem must lower the divergence to this part, or the network stays INT8 throughout


@dataclass(frozen=True)
class Trial:
    """A setting that was tried.

    percentile: where the ranges end; their other end is its mirror. stem: how many layers with weights, from the first, stayed
    float32. divergence: mean KL from the float network's softmax, nats. agreement: part of equal answers.
    """

    percentile: float
    stem: int
    divergence: float
    agreement: float


def quantise(
    source: Path, target: Path, ranges: dict[str, TensorRange], images: np.ndarray, spec: PreprocessSpec, folder: Path
) -> list[Trial]:
    """Write the INT8 network of `source` to `target`, with the best of the settings. Returns the trials, the chosen one first.

    images: the calibration set, uint8 (N, I, I, 3). folder: where the candidates are written while they are tried.
    """
    expected, network = softmax(LiteRT(source).logits(images, spec)), read_tflite(source)
    trials: dict[Trial, bytes] = {}
    stems = STEMS if SHARE * max(STEMS) <= sum(layer.operator in WEIGHTED for layer in network.layers) else (0,)
    settings, refused = list(itertools.product(stems, PERCENTILES)), ""
    for stem, percentile in track(settings, len(settings), "quantizing"):
        content = quantise_with(source, ranges, percentile, _first_layers(network, stem), spec)
        (folder / "candidate.tflite").write_bytes(content)
        try:
            answers = softmax(LiteRT(folder / "candidate.tflite").logits(images, spec))
        except UserError as error:
            refused = str(error)
            continue
        divergence = float((expected * np.log((expected + 1e-9) / (answers + 1e-9))).sum(axis=1).mean())
        agreement = float((answers.argmax(axis=1) == expected.argmax(axis=1)).mean())
        trials[Trial(percentile, stem, divergence, agreement)] = content
    if not trials:
        still = [name for name, tensor in ranges.items() if (tensor.high == tensor.low).all()]
        blame = f"; {len(still)} tensors never change, the first is {still[0]}: look at that layer" if still else ""
        raise UserError(f"no INT8 version of this network runs ({refused.split(': ', 1)[-1]}){blame}; nothing was written")
    best = min(trials, key=lambda trial: trial.divergence / (WORTH if trial.stem else 1))
    target.write_bytes(trials[best])
    return [best, *sorted((trial for trial in trials if trial != best), key=lambda trial: trial.divergence)]


def _first_layers(network: Tflite, count: int) -> list[str]:
    """Names of the layers up to the `count`-th that has weights; those of squeeze-and-excite, on a single pixel, are not counted."""
    names, seen = [], 0
    for layer in network.layers:
        if seen == count:
            break
        names.append(layer.name)
        seen += layer.operator in WEIGHTED and layer.output_shape[1:3] != (1, 1)
    return names


def quantise_with(
    source: Path, ranges: dict[str, TensorRange], percentile: float, float_layers: Sequence[str], spec: PreprocessSpec
) -> bytes:
    """The INT8 network with ranges that end at a percentile, the layers named in `float_layers` left in float32."""
    from ai_edge_quantizer import quantizer, recipe

    limits = {name: tensor.clipped(percentile) for name, tensor in ranges.items()}
    limits[INPUT] = tuple(float(value) for value in normalise(np.array([0, 255], np.uint8), spec))
    rules = recipe.static_wi8_ai8() + [
        {"regex": f"^{re.escape(name)};?$", "operation": "*", "algorithm_key": "no_quantize", "op_config": {}} for name in float_layers
    ]
    calibration = {name: {"min": np.float32([low]), "max": np.float32([high])} for name, (low, high) in limits.items()}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        worker = quantizer.Quantizer(str(source))
        worker.load_quantization_recipe(rules)
        return bytes(worker.quantize(calibration).quantized_model)
