"""Make the channels of a tensor equally wide, so that one INT8 scale suits them all, without changing what
the network computes.

Where channel c of a layer's outputs is multiplied by s_c > 0, and the kernels that read it are divided by
s_c, the predictions stay: ReLU, sums, means, maxima and zero padding all pass a positive factor on. Source:
Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction, section 4.1, which
balances weights; here the widths of the activations are made equal, s_c = median(r) / r_c, r_c the 99.99th
percentile of |channel c| over calibration images, as weights have a scale a channel anyway. Tensors that are
added share their factors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import keras
import numpy as np

from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.training.convert.channels import Channels, measure
from fer_hailo.training.convert.folding import PASSING
from fer_hailo.training.convert.graph import Edit, graph_of, rebuild
from fer_hailo.training.convert.kernels import (
    LINEAR,
    RELU,
    is_weighted,
    kernel_and_bias,
    times_inputs,
    times_outputs,
)

MOST = 64.0
DEAD = 1e-6  # channels that stay narrower are left as they are


@dataclass
class Group:
    """Tensors whose channels must share their factors, by the names of the operations that make them.

    makers: layers with weights that make some of them; swishes: h-swishes that do; readers: layers with
    weights that read some; free: nothing else makes or reads any, so that only the makers, or the h-swishes,
    decide about factors.
    """

    tensors: list[str] = field(default_factory=list)
    makers: list[str] = field(default_factory=list)
    swishes: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    free: bool = True

    def joined(self, other: Group) -> Group:
        lists = {
            name: getattr(self, name) + getattr(other, name)
            for name in ("tensors", "makers", "swishes", "readers")
        }
        return Group(**lists, free=self.free and other.free)


def scale_channels(model: keras.Model, images: np.ndarray, spec: PreprocessSpec) -> tuple[keras.Model, int]:
    """(a network that computes the same with equally wide channels, how many channels were scaled).

    model: Functional, constants folded. images: calibration images, uint8 (N, I, I, 3).
    """
    groups = [
        group
        for group in channel_groups(model)
        if group.free and group.makers and group.readers and not group.swishes
    ]
    seen = [_seen(model, group) for group in groups]
    found = measure(model, sorted({name for names in seen for name in names}), images, spec)
    factors = [factors_of([found[name] for name in names]) for names in seen]
    scaled = sum(int((value != 1).sum()) for value in factors)
    return rebuild(model, rescaled(model, zip(groups, factors, strict=True))), scaled


def factors_of(channels: list[Channels]) -> np.ndarray:
    """s (C,) of a group's tensors, limited to 1/64 .. 64: for each tensor median(r) / r_c, of several the
    geometric mean.
    """
    wanted = []
    for tensor in channels:
        live = tensor.peak > DEAD
        middle = np.median(tensor.peak[live]) if live.any() else 1.0
        wanted.append(np.log(np.where(live, middle / np.where(live, tensor.peak, 1), 1)))
    return np.exp(np.clip(np.mean(wanted, axis=0), -np.log(MOST), np.log(MOST))).astype(np.float32)


def rescaled(model: keras.Model, scales: Iterable[tuple[Group, np.ndarray]]) -> Edit:
    """The change that multiplies what each group's makers give by factors, and divides what its readers
    expect.

    scales: pairs of (Group, factors (C,)).
    """
    edit, layers = Edit(), {operation.name: operation for operation in model.operations}

    def weights(name: str) -> list[np.ndarray]:
        edit.config[name] = {"use_bias": True}
        return edit.weights.setdefault(name, kernel_and_bias(layers[name]))

    for group, factors in scales:
        for name in group.makers:
            kernel, bias = weights(name)
            edit.weights[name] = [times_outputs(layers[name], kernel, factors), bias * factors]
        for name in group.readers:
            kernel, bias = weights(name)
            edit.weights[name] = [times_inputs(kernel, 1 / factors), bias]
    return edit


def channel_groups(model: keras.Model) -> list[Group]:
    """All groups of a Functional model, also those that are not free."""
    graph, operations = graph_of(model), {operation.name: operation for operation in model.operations}
    groups: dict[str, Group] = {}
    for name, operation in operations.items():
        sources = graph.inputs[name]
        if is_weighted(operation):
            groups[sources[0]].readers.append(name)
            groups[name] = Group([name], makers=[name], free=operation.activation in (LINEAR, RELU))
            continue
        tied = _tied(operation, [operations[source] for source in sources])
        for source in set(sources) - set(tied):
            groups[source].free = False
        swish = is_swish(operation)
        merged = Group([name], swishes=[name] * swish, free=bool(tied) or swish)
        for group in {id(groups[source]): groups[source] for source in tied}.values():
            merged = merged.joined(group)
        groups |= dict.fromkeys(merged.tensors, merged)
    for name, readers in graph.consumers.items():
        groups[name].free &= bool(readers)  # the predictions stay as they are
    return list({id(group): group for group in groups.values()}.values())


def _tied(operation, sources: list) -> list[str]:
    """Names of the inputs whose channels, times factors, give the operation's output times the same
    factors.
    """
    kind, names = type(operation).__name__, [source.name for source in sources]
    if isinstance(operation, PASSING) or _is_relu(operation):
        # Padding may add channels
        return names if sources[0].output.shape[-1] == operation.output.shape[-1] else []
    if kind == "Add" and len(names) > 1 and all(_shape(source) == _shape(operation) for source in sources):
        return names
    if kind == "Multiply" and len(set(names)) == 2:  # a gate, as it is, times the channels that it gates
        return [source.name for source in sources if _shape(source) == _shape(operation)][:1]
    return []


def _shape(operation) -> tuple | None:
    """None of an operation with several outputs."""
    return getattr(operation.output, "shape", None)


def is_swish(operation: keras.Operation) -> bool:
    return (
        isinstance(operation, keras.layers.Activation)
        and operation.activation is keras.activations.hard_swish
    )


def _is_relu(operation) -> bool:
    if isinstance(operation, keras.layers.ReLU):
        return operation.max_value is None and operation.threshold == 0
    return isinstance(operation, keras.layers.Activation) and operation.activation in (LINEAR, RELU)


def _seen(model: keras.Model, group: Group) -> list[str]:
    """Tensors of a group that a chip stores: not what a ReLU alone reads, with which it is fused, nor what is
    only padded.
    """
    graph, operations = graph_of(model), {operation.name: operation for operation in model.operations}
    return [
        name for name in group.tensors
        if not isinstance(operations[name], keras.layers.ZeroPadding2D | keras.layers.Dropout)
        and not all(_is_relu(operations[reader]) for reader in graph.consumers[name])
    ]  # fmt: skip
