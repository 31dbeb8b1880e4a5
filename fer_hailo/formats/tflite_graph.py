"""A TFLite file as something that can be computed: operators with their settings, tensors with their scales,
constants as arrays.

`tflite.read_tflite` tells what a file holds; this reads the numbers as well. numpy alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from fer_hailo.formats.tflite import OPERATORS, TYPES, WEIGHTED, Table, open_tables

WHOLE = (np.int32, np.int64)
MAX_ELEMENTS = 1 << 26  # of one tensor; the largest of this project's networks has 0.8 million
PADDINGS = {0: "SAME", 1: "VALID"}
ACTIVATIONS = {0: "NONE", 1: "RELU", 3: "RELU6"}
# Where each operator's table of settings holds what: setting, field, form, default.
STRIDES = (("padding", 0, "<b", 0), ("stride_x", 1, "<i", 0), ("stride_y", 2, "<i", 0))
SETTINGS = {
    "CONV_2D": (*STRIDES, ("activation", 3, "<b", 0), ("dilation_x", 4, "<i", 1), ("dilation_y", 5, "<i", 1)),
    "DEPTHWISE_CONV_2D": (
        *STRIDES,
        ("activation", 4, "<b", 0),
        ("dilation_x", 5, "<i", 1),
        ("dilation_y", 6, "<i", 1),
    ),
    "AVERAGE_POOL_2D": (*STRIDES, ("width", 3, "<i", 0), ("height", 4, "<i", 0), ("activation", 5, "<b", 0)),
    "MAX_POOL_2D": (*STRIDES, ("width", 3, "<i", 0), ("height", 4, "<i", 0), ("activation", 5, "<b", 0)),
    "FULLY_CONNECTED": (("activation", 0, "<b", 0), ("layout", 1, "<b", 0)),
    "ADD": (("activation", 0, "<b", 0),),
    "MUL": (("activation", 0, "<b", 0),),
    "CONCATENATION": (("axis", 0, "<i", 0), ("activation", 1, "<b", 0)),
    "SOFTMAX": (("beta", 0, "<f", 0.0),),
}


@dataclass(frozen=True)
class Value:
    """A tensor that the network computes. scales, zeros: float32 and int64, one or one for each place of
    `axis`, empty where not quantized.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: np.ndarray
    zeros: np.ndarray
    axis: int

    @property
    def plane(self) -> tuple[int, int]:
        """(rows, columns) of images or of a kernel. Raises ValueError where it has not 4 axes."""
        _, rows, columns, _ = self.shape
        return rows, columns


@dataclass(frozen=True)
class Constant(Value):
    """A tensor that stands in the file. data: an array of `shape`."""

    data: np.ndarray


@dataclass(frozen=True)
class Sliding:
    """Of convolutions and poolings. same: SAME padding, else VALID. stride, dilation, size: (rows, columns);
    size: of a pooling's window, None where the kernel tells it.
    """

    same: bool
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Dense:
    """Of a fully connected layer. shuffled: its weights lie in an order of their own."""

    shuffled: bool = False


@dataclass(frozen=True)
class Joining:
    """Of a concatenation. axis: along which, from the last where below 0."""

    axis: int


@dataclass(frozen=True)
class Sharpness:
    """Of a softmax. beta: what its inputs are multiplied by."""

    beta: float


Settings = Sliding | Dense | Joining | Sharpness | None  # None: an operator without any


@dataclass(frozen=True)
class Operation:
    """An operator, called as the tensor that it makes. inputs: None stands for one that is left out (a bias).

    activation: the one that is fused into it, NONE, RELU, RELU6 or what is not known here.
    """

    name: str
    kind: str
    inputs: tuple[Value | None, ...]
    output: Value
    activation: str = "NONE"
    settings: Settings = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the inputs that are no constants."""
        return tuple(
            value.name for value in self.inputs if value is not None and not isinstance(value, Constant)
        )

    @property
    def source(self) -> Value:
        """What it reads first. Raises ValueError where that is left out."""
        if not self.inputs or self.inputs[0] is None:
            raise ValueError(f"{self.name[:60]} lacks an input")
        return self.inputs[0]

    @property
    def kernel(self) -> Constant:
        """What it reads second: a kernel, axes or paddings. Raises ValueError where that is no constant."""
        kernel = self.inputs[1] if len(self.inputs) > 1 else None
        if not isinstance(kernel, Constant):
            raise ValueError(f"{self.name[:60]} has no constant as its second input")
        return kernel

    @property
    def bias(self) -> Constant | None:
        """What a layer with weights reads third. Raises ValueError where that is no constant."""
        bias = self.inputs[2] if len(self.inputs) > 2 else None
        if bias is None or isinstance(bias, Constant):
            return bias
        raise ValueError(f"{self.name[:60]} has a bias that is computed")


@dataclass(frozen=True)
class Graph:
    """A network: its input and output, its operators in the order in which they run."""

    input: Value
    output: Value
    operations: tuple[Operation, ...]


def read_graph(path: Path | str) -> Graph:
    """Read a TFLite file with its constants. Raises UserError where it is damaged, or no network of one input
    and one output.
    """
    return open_tables(path, _graph)


def _graph(model: Table) -> Graph:
    codes = [max(code.number(0, "<b"), code.number(3, "<i")) for code in model.tables(1)]
    graphs, buffers = model.tables(2), model.tables(4)
    if len(graphs) != 1:
        raise ValueError(f"{len(graphs)} subgraphs instead of one")
    values = [_value(table, buffers) for table in graphs[0].tables(0)]
    inputs, outputs = graphs[0].numbers(1, "i"), graphs[0].numbers(2, "i")
    if len(inputs) != 1 or len(outputs) != 1 or min(inputs + outputs) < 0:
        raise ValueError(f"{len(inputs)} inputs and {len(outputs)} outputs instead of one each")
    operations = tuple(_operation(table, codes, values) for table in graphs[0].tables(3))
    _check_order(values[inputs[0]], values[outputs[0]], operations)
    return Graph(values[inputs[0]], values[outputs[0]], operations)


def _value(table: Table, buffers: list[Table]) -> Value:
    name, shape = table.text(3), table.numbers(0, "i")
    dtype = TYPES.get(table.number(1, "<b"), "unknown")
    if any(size < 0 for size in shape) or prod(shape) > MAX_ELEMENTS:
        raise ValueError(f"{name[:60]} has the shape {shape}")
    number = table.number(2, "<I")
    raw = buffers[number].content() if number else b""
    data: np.ndarray | None = None
    if raw:
        if dtype not in ("float32", "int8", "int16", "int32", "int64", "uint8"):
            raise ValueError(f"{name[:60]} is a constant of type {dtype}, which is not read")
        data = np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).astype(dtype).reshape(shape)
    quantization = table.table(4)
    scales = np.array(quantization.numbers(2, "f") if quantization else (), np.float32)
    zeros = np.array(quantization.numbers(3, "q") if quantization else (), np.int64)
    if len(zeros) != len(scales) and len(scales):
        zeros = np.zeros(len(scales), np.int64)
    axis = quantization.number(6, "<i") if quantization else 0
    if len(scales) > 1 and not (0 <= axis < len(shape) and shape[axis] == len(scales)):
        raise ValueError(f"{name[:60]} has {len(scales)} scales for the shape {shape}")
    if data is None:
        return Value(name, shape, dtype, scales, zeros, axis)
    return Constant(name, shape, dtype, scales, zeros, axis, data)


def _operation(table: Table, codes: list[int], values: list[Value]) -> Operation:
    code = codes[table.number(0, "<I")]
    kind, options = OPERATORS.get(code, f"OPERATOR_{code}"), table.table(4)
    inputs = tuple(values[index] if index >= 0 else None for index in table.numbers(1, "i"))
    output = values[table.numbers(2, "i")[0]]
    numbers: dict[str, Any] = {}
    for name, field, form, default in SETTINGS.get(kind, ()):
        numbers[name] = options.number(field, form, default) if options else default
    sizes = [
        numbers[name]
        for name in numbers.keys() & {"stride_x", "stride_y", "dilation_x", "dilation_y", "width", "height"}
    ]
    if any(not 1 <= size <= 1024 for size in sizes):
        raise ValueError(f"{output.name[:60]} has the settings {numbers}")
    activation = numbers.get("activation", 0)
    _check_inputs(kind, inputs, output)
    _check_weights(kind, inputs, output)
    return Operation(
        output.name,
        kind,
        inputs,
        output,
        ACTIVATIONS.get(activation, f"activation {activation}"),
        _settings(numbers),
    )


def _settings(numbers: dict[str, Any]) -> Settings:
    """What the numbers of an operator's table of settings say."""
    if "padding" in numbers:
        return Sliding(
            PADDINGS[numbers["padding"]] == "SAME",
            (numbers["stride_y"], numbers["stride_x"]),
            (numbers.get("dilation_y", 1), numbers.get("dilation_x", 1)),
            (numbers["height"], numbers["width"]) if "height" in numbers else None,
        )
    if "layout" in numbers:
        return Dense(bool(numbers["layout"]))
    if "axis" in numbers:
        return Joining(numbers["axis"])
    return Sharpness(numbers["beta"]) if "beta" in numbers else None


def _check_inputs(kind: str, inputs: tuple[Value | None, ...], output: Value) -> None:
    """Raise ValueError where an operator lacks inputs that it needs, or one that must be constant is not."""
    pair = {*WEIGHTED, "ADD", "MUL", "MEAN", "PAD"}
    count = 2 if kind in pair else 1
    lacking = len(inputs) < count or None in (inputs[:count] if kind in WEIGHTED else inputs)
    if lacking and (kind in SETTINGS or kind in pair):
        raise ValueError(f"{output.name[:60]} lacks an input")
    if kind in ("MEAN", "PAD") and not (isinstance(axes := inputs[1], Constant) and axes.data.dtype in WHOLE):
        raise ValueError(f"{output.name[:60]} has no whole numbers for its axes")


def _check_weights(kind: str, inputs: tuple[Value | None, ...], output: Value) -> None:
    """Raise ValueError where kernel and bias are not such as the operator takes, so that computing needs no
    checks.
    """
    if kind not in WEIGHTED:
        return
    rank = 2 if kind == "FULLY_CONNECTED" else 4
    source, kernel, bias = inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None
    if (
        source is None
        or not isinstance(kernel, Constant)
        or kernel.data.ndim != rank
        or len(output.shape) < 2
    ):
        raise ValueError(f"{output.name[:60]} has no constant kernel of {rank} dimensions")
    count = kernel.shape[-1 if kind == "DEPTHWISE_CONV_2D" else 0]
    if count != output.shape[-1] or (
        bias is not None and not (isinstance(bias, Constant) and bias.data.shape == (count,))
    ):
        raise ValueError(
            f"{output.name[:60]} has a kernel for {count} channels, {output.shape[-1]} outputs, or a bias "
            "that does not fit"
        )
    channels = source.shape[-1] if source.shape else 0
    fits = {"CONV_2D": kernel.shape[-1] == channels, "DEPTHWISE_CONV_2D": channels and count % channels == 0}
    if not fits.get(kind, True) or (kind == "FULLY_CONNECTED" and prod(source.shape[1:]) != kernel.shape[1]):
        raise ValueError(f"{output.name[:60]} has a kernel of {kernel.shape} for an input of {source.shape}")


def _check_order(source: Value, target: Value, operations: tuple[Operation, ...]) -> None:
    """Raise ValueError where an operator reads what no earlier one made, or two tensors have one name."""
    made = {source.name}
    for operation in operations:
        missing = [name for name in operation.sources if name not in made]
        if missing or operation.name in made:
            raise ValueError(
                f"{operation.name[:60]} "
                f"{'is made twice' if not missing else f'reads {missing[0][:60]} before it is made'}"
            )
        made.add(operation.name)
    if target.name not in made:
        raise ValueError(f"nothing makes the output {target.name[:60]}")
