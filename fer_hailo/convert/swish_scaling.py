"""Widen the nearly constant channels of an h-swish, by letting them use the part of it that is the identity.

h-swish cannot be scaled like a ReLU. But on a channel where h(x) = x relu6(x + 3) / 6 is as good as a straight line al + be x over
the values that occur, the channel may become x' = g h(x) with g h(x) >= 3, where h-swish is the identity: the convolution before is
multiplied by g be, its bias becomes g (al + be b), and the kernel that reads the channel is divided by g. Zero padding stays right,
since what stands after the h-swish is the old channel times g. g makes the channel as wide as the widest of the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from fer_hailo.convert.channels import Channels, measure
from fer_hailo.convert.graph import Edit, graph_of, rebuild
from fer_hailo.convert.kernels import LINEAR, is_weighted, kernel_and_bias, times_inputs, times_outputs
from fer_hailo.convert.scaling import MOST, Group, channel_groups
from fer_hailo.evaluate.score import Scorer
from fer_hailo.preprocess import PreprocessSpec

TOLERANCES = (0.05, 0.02, 0.01)  # largest difference of h-swish and the straight line, over the values that a channel takes
SAME = 0.999
LEAST = 0.05  # h-swish must stay above it on the whole channel
IDENTITY = 3.0  # from here on h-swish gives what it takes
POINTS = 257


@dataclass(frozen=True)
class Straight:
    """What becomes of one channel: h(x) = offset + slope x; x' = gain h(x)."""

    number: int
    offset: float
    slope: float
    gain: float


@dataclass(frozen=True)
class Outcome:
    """What was done: channels that were widened, by the h-swish's name; the tolerance, 0 where none was; part of the validation
    answers that stayed; largest move of a validation logit."""

    channels: dict[str, list[Straight]]
    tolerance: float
    same: float
    moved: float


def widen_swishes(model: keras.Model, images: np.ndarray, val: np.ndarray, spec: PreprocessSpec) -> tuple[keras.Model, Outcome]:
    """Widen with the largest tolerance that leaves 999 of 1000 validation answers as they are.

    model: Functional, constants folded. images: calibration pictures, uint8 (N, I, I, 3). val: uint8 (M, S, S[, 3]) cached pictures.
    """
    places = _places(model)
    found = measure(model, sorted(before for before, _ in places.values()), images, spec)
    expected = None
    for tolerance in TOLERANCES:
        channels = {name: straight_channels(found[before], tolerance) for name, (before, _) in places.items()}
        channels = {name: straight for name, straight in channels.items() if straight}
        if not channels:
            break
        candidate = rebuild(model, straightened(model, places, channels))
        expected = Scorer(model, spec).logits(val) if expected is None else expected
        answers = Scorer(candidate, spec).logits(val)
        same = float((answers.argmax(axis=1) == expected.argmax(axis=1)).mean())
        if same >= SAME:
            return candidate, Outcome(channels, tolerance, same, float(np.abs(answers - expected).max()))
    return model, Outcome({}, 0.0, 1.0, 0.0)


def straightened(model: keras.Model, places: dict[str, tuple[str, Group]], channels: dict[str, list[Straight]]) -> Edit:
    """The change that widens some channels of h-swishes. places: of each, the layer before it and its group."""
    edit, layers = Edit(), {layer.name: layer for layer in model.layers}
    for name, straight in channels.items():
        before, group = places[name]
        gains, slopes, offsets = (np.full(layers[before].output.shape[-1], value, np.float32) for value in (1, 1, 0))
        for channel in straight:
            gains[channel.number], slopes[channel.number], offsets[channel.number] = channel.gain, channel.slope, channel.offset
        _widen(edit, layers, before, group, gains, slopes, offsets)
    return edit


def _widen(edit: Edit, layers: dict, before: str, group: Group, gains: np.ndarray, slopes: np.ndarray, offsets: np.ndarray) -> None:
    kernel, bias = edit.weights.get(before) or kernel_and_bias(layers[before])
    edit.weights[before] = [times_outputs(layers[before], kernel, gains * slopes), gains * (offsets + slopes * bias)]
    edit.config[before] = {"use_bias": True}
    for name in group.readers:
        kernel, *bias = edit.weights.get(name) or layers[name].get_weights()
        edit.weights[name] = [times_inputs(kernel, 1 / gains), *bias]


def straight_channels(channels: Channels, tolerance: float) -> list[Straight]:
    """The channels of an h-swish's input that can be widened, and how."""
    lines = [_line(low, high) for low, high in zip(channels.low, channels.high, strict=True)]
    least, most = hard_swish(channels.low), hard_swish(channels.high)
    fit = np.array([error <= tolerance for _, _, error in lines]) & (least >= LEAST)
    if fit.all() or not fit.any():
        return []
    widest, found = most[~fit].max(), []
    for channel in np.flatnonzero(fit):
        gain, (offset, slope, _) = float(widest / most[channel]), lines[channel]
        if gain <= MOST and gain * (least[channel] - tolerance) >= IDENTITY:
            found.append(Straight(int(channel), offset, slope, gain))
    return found


def hard_swish(values: np.ndarray) -> np.ndarray:
    return values * np.clip(values + 3, 0, 6) / 6


def _line(low: float, high: float) -> tuple[float, float, float]:
    """(offset, slope, error) of a straight line close to h-swish from low to high; error: its largest difference."""
    points = np.linspace(low, high, POINTS, dtype=np.float64)
    values = hard_swish(points)
    slope = (values[-1] - values[0]) / (high - low) if high > low else 1.0
    rest = values - slope * points
    return float(rest.max() + rest.min()) / 2, float(slope), float(rest.max() - rest.min()) / 2


def _places(model: keras.Model) -> dict[str, tuple[str, Group]]:
    """Each h-swish of a layer that reads the image, which is read by layers with weights only: (that layer, its group).

    Later h-swishes have such channels too, but widening them made INT8 worse: what seldom varies over the calibration pictures
    takes far larger values on others.
    """
    graph, operations = graph_of(model), {operation.name: operation for operation in model.operations}
    found = {}
    for group in channel_groups(model):
        if group.free and group.readers and not group.makers and len(group.swishes) == 1:
            (before,) = graph.inputs[group.swishes[0]]
            layer = operations[before]
            if (
                is_weighted(layer)
                and layer.activation is LINEAR
                and graph.only_consumer(before)
                and not graph.inputs[graph.inputs[before][0]]
            ):
                found[group.swishes[0]] = before, group
    return found
