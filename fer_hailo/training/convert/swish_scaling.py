"""Widen the nearly constant channels of an h-swish, by letting them use the part of it that is the identity.

h-swish cannot be scaled like a ReLU. But on a channel where h(x) = x relu6(x + 3) / 6 is as good as a
straight line al + be x over the values that occur, the channel may become x' = g h(x) with g h(x) >= 3, where
h-swish is the identity: the convolution before is multiplied by g be, its bias becomes g (al + be b), and the
kernel that reads the channel is divided by g. Zero padding stays right, since what stands after the h-swish
is the old channel times g. g makes the channel as wide as the widest of the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from fer_hailo.common.preprocess import PreprocessSpec, normalise
from fer_hailo.training.convert.graph import Edit, graph_of, rebuild
from fer_hailo.training.convert.kernels import (
    LINEAR,
    is_weighted,
    kernel_and_bias,
    times_inputs,
    times_outputs,
)
from fer_hailo.training.convert.scaling import MOST, Group, channel_groups
from fer_hailo.training.data.rows import Images
from fer_hailo.training.evaluate.score import Scorer

# Largest difference of h-swish and the straight line, over the values that a channel takes
TOLERANCES = (0.1, 0.05, 0.02, 0.01)
SAME = 0.995
LEAST = 0.05  # h-swish must stay above it on the whole channel
IDENTITY = 3.0  # from here on h-swish gives what it takes
RARE = 0.01  # percent of the values that may lie beyond what is called the smallest, the largest, the error
BATCH, PLACES = 64, 256


@dataclass(frozen=True)
class Straight:
    """What becomes of one channel: h(x) = offset + slope x; x' = gain h(x)."""

    number: int
    offset: float
    slope: float
    gain: float


@dataclass(frozen=True)
class Outcome:
    """What was done: channels that were widened, by the h-swish's name; the tolerance, 0 where none was; part
    of the validation predictions that stayed; largest move of a validation logit.
    """

    channels: dict[str, list[Straight]]
    tolerance: float
    same: float
    moved: float


def widen_swishes(
    model: keras.Model,
    images: np.ndarray,
    val: Images,
    spec: PreprocessSpec,
    expected: np.ndarray | None = None,
) -> tuple[keras.Model, Outcome]:
    """Widen with the largest tolerance that leaves 995 of 1000 validation predictions as they are.

    model: Functional, constants folded. images: calibration images, uint8 (N, I, I, 3). val: uint8 (M, S, S[,
    3]) cached images. expected: the Scorer's logits (M, C) for them, where they are known.
    """
    places = _places(model)
    values = {name: _values(model, before, images, spec) for name, (before, _) in places.items()}
    tried: dict[str, list[Straight]] = {}
    for tolerance in TOLERANCES if places else ():
        channels = {name: straight_channels(values[name], tolerance) for name in places}
        channels = {name: straight for name, straight in channels.items() if straight}
        if not channels:
            break
        if channels == tried:
            continue
        tried = channels
        candidate = rebuild(model, straightened(model, places, channels))
        expected = Scorer(model, spec).logits(val) if expected is None else expected
        answers = Scorer(candidate, spec).logits(val)
        same = float((answers.argmax(axis=1) == expected.argmax(axis=1)).mean())
        if same >= SAME:
            return candidate, Outcome(channels, tolerance, same, float(np.abs(answers - expected).max()))
    return model, Outcome({}, 0.0, 1.0, 0.0)


def straightened(
    model: keras.Model, places: dict[str, tuple[str, Group]], channels: dict[str, list[Straight]]
) -> Edit:
    """The change that widens some channels of h-swishes. places: of each, the layer before it and its
    group.
    """
    edit, layers = Edit(), {layer.name: layer for layer in model.layers}
    for name, straight in channels.items():
        before, group = places[name]
        gains, slopes, offsets = (
            np.full(layers[before].output.shape[-1], value, np.float32) for value in (1, 1, 0)
        )
        for channel in straight:
            gains[channel.number], slopes[channel.number], offsets[channel.number] = (
                channel.gain,
                channel.slope,
                channel.offset,
            )
        _widen(edit, layers, before, group, gains, slopes, offsets)
    return edit


def _widen(
    edit: Edit,
    layers: dict,
    before: str,
    group: Group,
    gains: np.ndarray,
    slopes: np.ndarray,
    offsets: np.ndarray,
) -> None:
    kernel, bias = edit.weights.get(before) or kernel_and_bias(layers[before])
    edit.weights[before] = [
        times_outputs(layers[before], kernel, gains * slopes),
        gains * (offsets + slopes * bias),
    ]
    edit.config[before] = {"use_bias": True}
    for name in group.readers:
        kernel, *rest = edit.weights.get(name) or layers[name].get_weights()
        edit.weights[name] = [times_inputs(kernel, 1 / gains), *rest]


def straight_channels(values: np.ndarray, tolerance: float) -> list[Straight]:
    """The channels of an h-swish's input that can be widened, and how. values: float (N, C), those that
    occur.
    """
    wanted = hard_swish(values)
    least, most = np.percentile(wanted, (RARE, 100 - RARE), axis=0)
    lines = [_line(x, h) for x, h in zip(values.T, wanted.T, strict=True)]
    fit = np.array([error <= tolerance for _, _, error in lines]) & (least >= LEAST)
    if fit.all() or not fit.any():
        return []
    widest, found = most[~fit].max(), []
    for channel in np.flatnonzero(fit):
        gain, (offset, slope, error) = float(widest / most[channel]), lines[channel]
        if gain <= MOST and gain * (least[channel] - error) >= IDENTITY:
            found.append(Straight(int(channel), offset, slope, gain))
    return found


def hard_swish(values: np.ndarray) -> np.ndarray:
    return values * np.clip(values + 3, 0, 6) / 6


def _line(x: np.ndarray, h: np.ndarray) -> tuple[float, float, float]:
    """(offset, slope, error) of the straight line through h(x) by least squares; error: its difference, but
    for rare values.
    """
    middle, spread = x.mean(dtype=np.float64), x.std(dtype=np.float64)
    slope = (
        float(((x - middle) * (h - h.mean(dtype=np.float64))).mean(dtype=np.float64) / spread**2)
        if spread > 0
        else 1.0
    )
    offset = float(h.mean(dtype=np.float64) - slope * middle)
    return offset, slope, float(np.percentile(np.abs(h - offset - slope * x), 100 - RARE))


def _values(model: keras.Model, name: str, images: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
    """float32 (N, C): values of a layer's outputs over the images, at places drawn by chance."""
    probe, rng, found = keras.Model(model.input, model.get_layer(name).output), np.random.default_rng(0), []
    for start in range(0, len(images), BATCH):
        output = np.asarray(probe.predict_on_batch(normalise(images[start : start + BATCH], spec)))
        values = output.reshape(-1, output.shape[-1])
        found.append(values[rng.integers(0, len(values), PLACES * len(output))])
    return np.concatenate(found)


def _places(model: keras.Model) -> dict[str, tuple[str, Group]]:
    """Each h-swish of a layer that reads the image, which is read by layers with weights only: (that layer,
    its group).

    Later h-swishes have such channels too, but widening them made INT8 worse: what seldom varies over the
    calibration images takes far larger values on others.
    """
    graph, operations = graph_of(model), {operation.name: operation for operation in model.operations}
    found = {}
    for group in channel_groups(model):
        if group.free and group.readers and not group.makers and len(group.swishes) == 1:
            (before,) = graph.inputs[group.swishes[0]]
            layer = operations[before]
            exact = is_weighted(layer) and layer.activation is LINEAR and graph.only_consumer(before)
            if exact and isinstance(operations[graph.inputs[before][0]], keras.layers.InputLayer):
                found[group.swishes[0]] = before, group
    return found
