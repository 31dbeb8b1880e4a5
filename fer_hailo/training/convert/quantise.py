"""Float32 TFLite to INT8, with ai-edge-quantizer: weights per channel, activations per tensor, everything
from the input to the output int8, biases int32.

Both ai-edge-quantizer and TensorFlow's converter take an activation's whole range. These networks have rare
values of ten times the usual size, for which a whole-range scale is too coarse; so several ends of the ranges
are tried. The network's own float predictions on the calibration images (no labels) decide. The biases are
corrected last, for the rounded weights that they belong to.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.common.metrics import softmax
from fer_hailo.common.preprocess import PreprocessSpec, normalise
from fer_hailo.common.progress import track
from fer_hailo.common.workers import shared_out
from fer_hailo.formats.tflite import read_tflite
from fer_hailo.predict.litert import on_all_cores
from fer_hailo.training.convert.bias_correction import correct_biases
from fer_hailo.training.convert.ranges import INPUT, PERCENTILES, TensorRange, limits_of

WAYS = tuple(f"{percentile:g}" for percentile in PERCENTILES)


class NoInt8Kernel(Exception):
    """Some layers of a network cannot compute in INT8. Its text names them and their operators."""


@dataclass(frozen=True)
class Trial:
    """Ranges that were tried.

    ends: the percentile at which each tensor's range ends; the other end is its mirror. divergence: mean KL
    from the float network's softmax, nats. agreement: part of equal predictions.
    """

    ends: str
    divergence: float
    agreement: float


def quantise(
    source: Path,
    target: Path,
    ranges: dict[str, TensorRange],
    images: np.ndarray,
    spec: PreprocessSpec,
    folder: Path,
) -> list[Trial]:
    """Write the INT8 network of `source` to `target`, with the best ranges. Returns the trials, the chosen
    one first.

    images: the calibration set, uint8 (N, I, I, 3). folder: where the candidates are written while they are
    tried. Raises NoInt8Kernel where a layer stays float, UserError where LiteRT runs none of the candidates.
    """
    expected, original = _probabilities(source, images, spec), source.read_bytes()
    network = read_tflite(source)
    means = {name: tensor.mean for name, tensor in ranges.items()}
    trials: dict[Trial, bytes] = {}
    candidate, refused = folder / "candidate.tflite", ""
    for ends in track(WAYS, len(WAYS), "quantizing"):
        candidate.write_bytes(quantise_with(source, limits_of(ranges, network, ends), spec))
        _check_int8(candidate)
        candidate.write_bytes(correct_biases(candidate.read_bytes(), original, means))
        try:
            answers = _probabilities(candidate, images, spec)
        except UserError as error:
            refused = str(error)
            continue
        trials[judged(ends, expected, answers)] = candidate.read_bytes()
    if not trials:
        still = [name for name, tensor in ranges.items() if (tensor.high == tensor.low).all()]
        blame = (
            f"; {len(still)} tensors never change, the first is {still[0]}: look at that layer"
            if still
            else ""
        )
        raise UserError(
            f"no INT8 version of this network runs ({refused.split(': ', 1)[-1]}){blame}; nothing was written"
        )
    ranked = sorted(trials, key=lambda trial: trial.divergence)
    target.write_bytes(trials[ranked[0]])
    return ranked


def quantise_trained(
    source: Path,
    target: Path,
    limits: dict[str, tuple[float, float]],
    images: np.ndarray,
    spec: PreprocessSpec,
) -> Trial:
    """Write the INT8 network of one that was fine-tuned for the ranges `limits`. Its biases are left: they
    were trained for the rounding.

    Returns a Trial whose ends are "trained for". Raises as `quantise` does, and UserError where the ranges
    are those of another network.
    """
    if missing := [layer.name for layer in read_tflite(source).layers if layer.name not in limits]:
        raise UserError(
            f"{len(missing)} tensors have no range, the first is {missing[0]}: the ranges were written for "
            "another network"
        )
    target.write_bytes(quantise_with(source, limits, spec))
    _check_int8(target)
    return judged(
        "trained for",
        _probabilities(source, images, spec),
        _probabilities(target, images, spec),
    )


def judged(ends: str, expected: np.ndarray, answers: np.ndarray) -> Trial:
    """Compare probabilities (N, C) with those of the float network."""
    divergence = float((expected * np.log((expected + 1e-9) / (answers + 1e-9))).sum(axis=1).mean())
    return Trial(ends, divergence, float((answers.argmax(axis=1) == expected.argmax(axis=1)).mean()))


def _probabilities(path: Path, images: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
    workers = on_all_cores(path, spec)
    return softmax(np.concatenate(list(shared_out(workers, np.array_split(images, len(workers))))))


def _check_int8(path: Path) -> None:
    network = read_tflite(path)
    if floats := network.float_layers() + [
        layer for layer in network.layers if layer.operator == "DEQUANTIZE"
    ]:
        named = [layer for layer in floats if layer.operator != "DEQUANTIZE"] or floats
        names = ", ".join(f"{layer.name} ({layer.operator})" for layer in named[:3]) + (
            ", ..." if len(named) > 3 else ""
        )
        raise NoInt8Kernel(f"no INT8 kernel for {names}")


def quantise_with(
    source: Path,
    limits: dict[str, tuple[float, float]],
    spec: PreprocessSpec,
    float_layers: Sequence[str] = (),
) -> bytes:
    """The INT8 network with ranges (low, high) of its tensors, biases not corrected; the layers in
    `float_layers` stay float32.
    """
    from ai_edge_quantizer import quantizer, recipe

    darkest, brightest = (float(value) for value in normalise(np.array([0, 255], np.uint8), spec))
    limits = limits | {INPUT: (darkest, brightest)}
    rules = recipe.static_wi8_ai8() + [
        {"regex": f"^{re.escape(name)};?$", "operation": "*", "algorithm_key": "no_quantize", "op_config": {}}
        for name in float_layers
    ]
    calibration = {
        name: {"min": np.array([low], np.float32), "max": np.array([high], np.float32)}
        for name, (low, high) in limits.items()
    }
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        worker = quantizer.Quantizer(str(source))
        worker.load_quantization_recipe(rules)
        return bytes(worker.quantize(calibration).quantized_model)
