"""Where a network that LiteRT computes in INT8 rounds its values, told from the Keras graph, and what LiteRT
calls those tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import keras

from fer_hailo.common.errors import UserError
from fer_hailo.training.convert.graph import Graph, graph_of, numbers_of
from fer_hailo.training.convert.kernels import LINEAR, RELU, is_weighted
from fer_hailo.training.convert.ranges import INPUT
from fer_hailo.training.convert.scaling import is_swish

# Operations whose outputs have the scale of their inputs.
CARRYING = (
    keras.layers.Dropout, keras.layers.ZeroPadding2D, keras.layers.Flatten, keras.layers.Reshape,
    keras.layers.MaxPooling2D,
    keras.layers.AveragePooling2D,
)  # fmt: skip


@dataclass
class Places:
    """Rows number the ranges; row 0 is the input's.

    rounded: the operations whose outputs are rounded, with the row of their range. tensors: LiteRT's tensors,
    with theirs. read: the layers with weights, with the row of what they read.
    """

    rounded: dict[str, int] = field(default_factory=dict)
    tensors: dict[str, int] = field(default_factory=lambda: {INPUT: 0})
    read: dict[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return 1 + max(self.tensors.values())

    def operations(self) -> list[str]:
        """The operation whose output is the tensor of row 1, 2, ..."""
        # An average has the row of what it averages
        made = {row: name for name, row in reversed(self.rounded.items())}
        return [made[row] for row in range(1, self.count)]


def places_of(model: keras.Model) -> Places:
    """Of a Functional model with its constants folded.

    Raises UserError where LiteRT's rounding of a layer is not known here.
    """
    graph, operations = graph_of(model), {operation.name: operation for operation in model.operations}
    places = Places()
    tensor_of: dict[str, str] = {}
    ends: dict[str, str] = {}
    for name, operation in operations.items():
        sources = graph.inputs[name]
        if not sources:
            tensor_of[name] = INPUT
        elif name in ends:  # computed together with what stands before it
            tensor_of[name] = ends[name]
        elif isinstance(operation, CARRYING):
            _carry(places, operation, tensor_of[sources[0]], tensor_of)
            continue
        else:
            tensor_of[name] = _tensor_name(model, operation, [tensor_of[source] for source in sources])
        if is_weighted(operation):
            places.read[name] = places.tensors[tensor_of[sources[0]]]
        following = _fused_reader(model, graph, operations, name)
        if following:
            ends[following] = tensor_of[name]
        elif sources:
            places.tensors[tensor_of[name]] = places.rounded[name] = places.count
    return places


def _carry(places: Places, operation, source: str, tensor_of: dict[str, str]) -> None:
    row = places.tensors[source]
    if not isinstance(operation, keras.layers.Dropout):
        places.tensors[operation.name] = row
    if isinstance(operation, keras.layers.AveragePooling2D):
        places.rounded[operation.name] = row
    tensor_of[operation.name] = source if isinstance(operation, keras.layers.Dropout) else operation.name


def _tensor_name(model: keras.Model, operation, sources: list[str]) -> str:
    """As fer_hailo.training.convert.tflite names the tensor that the operation makes."""
    kind = type(operation).__name__
    if is_weighted(operation) and operation.activation in (LINEAR, RELU):
        return operation.name
    if isinstance(operation, keras.layers.Add | keras.layers.Multiply | keras.layers.GlobalAveragePooling2D):
        return operation.name
    if is_swish(operation):
        return f"{sources[0]}_hard_swish"
    if is_relu(operation):
        return f"{sources[0]}_relu{'6' if getattr(operation, 'max_value', None) else ''}"
    if _adds_number(model, operation):
        return f"{sources[0]}_add"
    raise UserError(
        f"{model.name} cannot be fine-tuned for 8 bits: its layer {operation.name} is a {kind}, whose "
        "rounding in INT8 is not known here; "
        "networks of convolutions, dense layers, ReLU, h-swish, sums and products can"
    )


def _fused_reader(model: keras.Model, graph: Graph, operations: dict, name: str) -> str | None:
    """The operation that LiteRT computes together with `name`, so that only its outputs are rounded."""
    after, operation = graph.only_consumer(name), operations[name]
    if not after or not graph.inputs[name]:
        return None
    if is_weighted(operation) and operation.activation is LINEAR and _adds_number(model, operations[after]):
        return after  # the number goes into the bias
    sums = is_weighted(operation) or type(operation).__name__ in ("Add", "Multiply")
    return after if sums and is_relu(operations[after]) else None


def is_relu(operation: keras.Operation) -> bool:
    """Whether it is ReLU or ReLU6."""
    if isinstance(operation, keras.layers.ReLU):
        return operation.max_value in (None, 6) and operation.threshold == 0 and operation.negative_slope == 0
    return isinstance(operation, keras.layers.Activation) and operation.activation in (
        RELU,
        keras.activations.relu6,
    )


def _adds_number(model: keras.Model, operation) -> bool:
    return (
        type(operation).__name__ == "Add"
        and not isinstance(operation, keras.layers.Layer)
        and _one_number(model, operation.name)
    )


def _one_number(model: keras.Model, name: str) -> bool:
    numbers = numbers_of(model, name)
    return len(numbers) == 2 and sum(number is not None for number in numbers) == 1
