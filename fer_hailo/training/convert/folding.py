"""Constants of the float network that go into the weights of a neighbour: batch norms and multiplications by
a number.

What is left of the network is what a chip computes: convolutions with a bias, activations, sums, products of
two tensors. The hard sigmoid of squeeze-and-excite is relu6(x + 3) / 6; a multiplication by the constant 1/6
costs INT8 a rounding, and Hailo's parser may not take it. As it only scales what the next projection reads,
the projection's kernel can hold it.
"""

from __future__ import annotations

import keras
import numpy as np

from fer_hailo.training.convert.graph import Edit, Graph, graph_of, numbers_of, rebuild
from fer_hailo.training.convert.kernels import (
    LINEAR,
    is_weighted,
    kernel_and_bias,
    sum_over_places,
    times_inputs,
    times_outputs,
)

# Operations that give c * y for c * x, channel by channel (a maximum or mean over places is one for c > 0).
PASSING = (
    keras.layers.Dropout, keras.layers.ZeroPadding2D, keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.AveragePooling2D, keras.layers.MaxPooling2D,
)  # fmt: skip


def fold_constants(model: keras.Model) -> keras.Model:
    """A copy of a Functional classifier that computes the same with batch norms and constant factors inside
    of its kernels.

    A batch norm that no layer with weights stands beside, and a factor behind which something else than such
    layers reads, stay.
    """
    return _fold_factors(_fold_batch_norms(model))


def _fold_batch_norms(model: keras.Model) -> keras.Model:
    graph, operations = graph_of(model), {operation.name: operation for operation in model.operations}
    edit = Edit()

    def weights(name: str) -> list[np.ndarray]:
        edit.config[name] = {"use_bias": True}
        return edit.weights.setdefault(name, kernel_and_bias(operations[name]))

    norms = (layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization))
    for norm in (norm for norm in norms if norm.axis in (-1, len(norm.output.shape) - 1)):
        scale, shift = _affine(norm)
        (before,), after = graph.inputs[norm.name], _next_pointwise(graph, operations, norm.name)
        if (
            is_weighted(operations[before])
            and operations[before].activation is LINEAR
            and graph.only_consumer(before)
        ):
            kernel, bias = weights(before)
            edit.weights[before] = [times_outputs(operations[before], kernel, scale), bias * scale + shift]
        elif after:
            kernel, bias = weights(after)
            edit.weights[after] = [
                times_inputs(kernel, scale),
                bias + sum_over_places(operations[after], kernel, shift),
            ]
        else:
            continue
        edit.bypass[norm.name] = 0
    return rebuild(model, edit) if edit.bypass else model


def _affine(norm: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """(scale, shift), so that the batch norm gives scale * x + shift."""
    mean, variance = (np.asarray(value) for value in (norm.moving_mean, norm.moving_variance))
    scale = (np.asarray(norm.gamma) if norm.scale else 1) / np.sqrt(variance + norm.epsilon)
    return scale, (np.asarray(norm.beta) if norm.center else 0) - mean * scale


def _next_pointwise(graph: Graph, operations: dict, name: str) -> str | None:
    """The dense layer or 1 x 1 convolution that alone reads `name`.

    No padding then puts zeros where a shift should be.
    """
    after = graph.only_consumer(name)
    while after and isinstance(operations[after], keras.layers.Dropout):
        after = graph.only_consumer(after)
    layer = operations.get(after)
    dense = isinstance(layer, keras.layers.Dense)
    return (
        after
        if dense
        or (isinstance(layer, keras.layers.Conv2D) and is_weighted(layer) and layer.kernel_size == (1, 1))
        else None
    )


def _fold_factors(model: keras.Model) -> keras.Model:
    graph, operations = graph_of(model), {operation.name: operation for operation in model.operations}
    edit = Edit()
    for name, factor, place in _factors(model, graph):
        readers = weighted_readers(graph, operations, name)
        for reader in readers:
            kernel, *bias = edit.weights.get(reader) or operations[reader].get_weights()
            edit.weights[reader] = [times_inputs(kernel, factor), *bias]
        if readers:
            edit.bypass[name] = place
    return rebuild(model, edit) if edit.bypass else model


def _factors(model: keras.Model, graph: Graph) -> list[tuple[str, float, int]]:
    """(operation, number, place of the tensor among its inputs) for each positive number that a tensor is
    multiplied by.
    """
    found = []
    for operation in model.operations:
        name, kind = operation.name, type(operation).__name__
        if isinstance(operation, keras.layers.Rescaling):
            if np.ndim(operation.scale) == 0 and operation.offset == 0:
                found.append((name, float(operation.scale), 0))
        elif kind in ("Multiply", "TrueDivide", "Divide") and len(graph.inputs[name]) == 1:
            match kind, numbers_of(model, name):
                case ("Multiply", [None, float(factor)]):
                    found.append((name, factor, 0))
                case ("Multiply", [float(factor), None]):
                    found.append((name, factor, 1))
                case ("TrueDivide" | "Divide", [None, float(divisor)]) if divisor:
                    found.append((name, 1 / divisor, 0))
    return [(name, factor, place) for name, factor, place in found if factor > 0]


def weighted_readers(graph: Graph, operations: dict, name: str) -> list[str]:
    """The layers with weights that read `name`, through products with other tensors and what else passes a
    factor on; none where something else reads it.
    """
    found = []
    for reader in graph.consumers[name]:
        operation = operations[reader]
        product = type(operation).__name__ == "Multiply" and len(set(graph.inputs[reader])) > 1
        further = [reader] if is_weighted(operation) else []
        if isinstance(operation, PASSING) or product:
            further = weighted_readers(graph, operations, reader)
        if not further:
            return []
        found += further
    return found
