"""Read what a TFLite file holds, without TensorFlow: operators, tensors, parameters, multiply-adds.

Source of the format: the FlatBuffers encoding and TensorFlow Lite's schema (version 3). Only the tables
needed here are read.
"""

from __future__ import annotations

import functools
import re
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeVar

from fer_hailo.common.errors import UserError, one_line
from fer_hailo.common.reading import read_whole

Found = TypeVar("Found")
IDENTIFIER = b"TFL3"
MOST_BYTES = 1 << 30  # of a file; FlatBuffers themselves end at 2 GiB
TYPES = {
    0: "float32",
    1: "float16",
    2: "int32",
    3: "uint8",
    4: "int64",
    6: "bool",
    7: "int16",
    9: "int8",
    17: "int4",
}
# Numbers of the schema's BuiltinOperator that networks for images use.
OPERATORS = {
    0: "ADD", 1: "AVERAGE_POOL_2D", 2: "CONCATENATION", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 6: "DEQUANTIZE",
    9: "FULLY_CONNECTED",
    14: "LOGISTIC", 17: "MAX_POOL_2D", 18: "MUL", 19: "RELU", 21: "RELU6", 22: "RESHAPE",
    23: "RESIZE_BILINEAR", 25: "SOFTMAX",
    28: "TANH", 34: "PAD", 36: "GATHER", 39: "TRANSPOSE", 40: "MEAN", 41: "SUB", 42: "DIV", 43: "SQUEEZE",
    45: "STRIDED_SLICE",
    47: "EXP", 49: "SPLIT", 53: "CAST", 54: "PRELU", 55: "MAXIMUM", 57: "MINIMUM", 59: "NEG", 65: "SLICE",
    67: "TRANSPOSE_CONV",
    70: "EXPAND_DIMS", 74: "SUM", 75: "SQRT", 76: "RSQRT", 77: "SHAPE", 78: "POW", 83: "PACK",
    97: "RESIZE_NEAREST_NEIGHBOR",
    98: "LEAKY_RELU", 114: "QUANTIZE", 117: "HARD_SWISH", 126: "BATCH_MATMUL", 150: "GELU",
}  # fmt: skip
# What this project's networks consist of in float, and what networks of Hailo's model zoo have beside it.
EXPECTED = {
    "ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "HARD_SWISH", "MEAN", "MUL",
    "AVERAGE_POOL_2D", "CONCATENATION", "LEAKY_RELU", "LOGISTIC", "MAX_POOL_2D", "PAD", "PRELU", "RELU",
    "RELU6",
    "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "SOFTMAX", "TRANSPOSE_CONV",
}  # fmt: skip
WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
# End the names of relu6(x + 3), and of a sixth of it, in an h-swish of x that is written out
GATE, SIXTH = "_hard_swish_gate", "_hard_swish_sixth"


@dataclass(frozen=True)
class Tensor:
    """name, shape, dtype; scales: per channel or one, empty where not quantized; constant: it holds
    weights.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    constant: bool


@dataclass(frozen=True)
class Layer:
    """One operator, named by the tensor that it makes. dtype: of that tensor; parameters: numbers in its
    constants; multiply_adds: for one image.
    """

    name: str
    operator: str
    dtype: str
    inputs: tuple[str, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int

    @property
    def doubt(self) -> str:
        """What the Dataflow Compiler's parser may make of an operator that this project's networks do not
        have.
        """
        if self.operator == "MUL" and len(self.inputs) < 2:
            return (
                f"{self.name} (MUL by a constant): the Dataflow Compiler's parser makes a normalization "
                "layer of it, "
                "or stops with 'ew_mult expects 2 inputs but found 1'"
            )
        return f"{self.name} ({self.operator}): the Dataflow Compiler's parser may not take it"

    def to_dict(self) -> dict:
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Layer:
        """Raises TypeError where `values` are none."""
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return Layer(**plain)


@dataclass(frozen=True)
class Tflite:
    """A network: its input and output tensor, and its layers in order."""

    input: Tensor
    output: Tensor
    layers: tuple[Layer, ...]

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        return sum(layer.multiply_adds for layer in self.layers)

    def float_layers(self) -> list[Layer]:
        """Layers of a quantized network that compute in float all the same; none of a float network."""
        if self.input.dtype == "float32":
            return []
        return [
            layer
            for layer in self.layers
            if layer.dtype.startswith("float") and layer.operator != "DEQUANTIZE"
        ]

    def unexpected(self) -> list[Layer]:
        """Layers whose operators this project's networks do not have, and the parser may refuse; a MUL by a
        constant is one.
        """
        return [
            layer
            for layer in self.layers
            if layer.operator not in EXPECTED or (layer.operator == "MUL" and len(layer.inputs) < 2)
        ]


def read_tflite(path: Path | str) -> Tflite:
    """Read a TFLite file of one subgraph with one input and one output.

    Raises UserError for anything else.
    """
    return open_tables(path, _network)


def open_tables(path: Path | str, read: Callable[[Table], Found]) -> Found:
    """What `read` makes of the root table of a TFLite file.

    Raises UserError for a file that is missing, none, or damaged.
    """
    path = Path(path)
    try:
        data = read_whole(path, MOST_BYTES)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    if data[4:8] != IDENTIFIER:
        raise UserError(f"{path} is not a TFLite file")
    try:
        return read(Table.root(data))
    except (struct.error, IndexError, KeyError, UnicodeDecodeError, ValueError) as error:
        raise UserError(
            f"{path} is damaged: its TFLite tables cannot be read ({one_line(error, 120)})"
        ) from None


def multiple(name: str, factor: int) -> str:
    """The name of a tensor that holds `factor` times what the float network's tensor `name` holds."""
    return f"{name}_x{factor}"


def single(name: str) -> tuple[str, int]:
    """(name, factor) of a name that `multiple` may have made; factor 1 of any other."""
    found = re.fullmatch(r"(.+)_x(\d+)", name)
    return (found[1], int(found[2])) if found else (name, 1)


def warn_of_float_layers(path: Path, network: Tflite) -> None:
    """Say once that a quantized file computes some layers in float, as those made before INT8 throughout
    do.
    """
    layers = network.float_layers()
    if layers:
        _warn(
            f"{path} computes {len(layers)} layer{'s' if len(layers) > 1 else ''} in float "
            f"({layers[0].name}, ...): no 8-bit chip does, "
            f"and would be less accurate; convert the model again"
        )


@functools.cache  # a file is opened several times in one command
def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)


class Table:
    """A FlatBuffers table: fields by number, absent ones give the default."""

    def __init__(self, data: bytes, at: int):
        if not 0 < at < len(data):
            raise ValueError("an offset leads out of the file")
        self._data, self._at = data, at
        self._fields = at - self._number("<i", at)
        self._size = self._number("<H", self._fields)

    @classmethod
    def root(cls, data: bytes) -> Table:
        return cls(data, struct.unpack_from("<I", data)[0])

    def number(self, field: int, form: str, default: Any = 0) -> Any:
        """A whole number or a float, as `form` (of struct) says."""
        at = self._place(field)
        return self._number(form, at) if at else default

    def text(self, field: int) -> str:
        at, count = self._vector(field)
        return self._data[at : at + count].decode()

    def numbers(self, field: int, form: str) -> tuple:
        at, count = self._vector(field)
        return struct.unpack_from(f"<{count}{form}", self._data, at)

    def raw(self, field: int) -> bytes:
        at, count = self._vector(field)
        return self._data[at : at + count]

    def content(self) -> bytes:
        """Of a table of the schema's Buffer: its numbers, which may also lie behind all tables, at a place
        that it names.
        """
        start, size = self.number(1, "<Q"), self.number(2, "<Q")
        if start <= 1:
            return self.raw(0)
        if start + size > len(self._data):
            raise ValueError("a constant leads out of the file")
        return self._data[start : start + size]

    def count(self, field: int) -> int:
        return self._vector(field)[1]

    def tables(self, field: int) -> list[Table]:
        at, count = self._vector(field)
        return [
            Table(self._data, place + self._number("<I", place)) for place in range(at, at + 4 * count, 4)
        ]

    def table(self, field: int) -> Table | None:
        at = self._place(field)
        return Table(self._data, at + self._number("<I", at)) if at else None

    def _vector(self, field: int) -> tuple[int, int]:
        at = self._place(field)
        if not at:
            return 0, 0
        at += self._number("<I", at)
        count = self._number("<I", at)
        if count > len(self._data):
            raise ValueError("a list is longer than the file")
        return at + 4, count

    def _place(self, field: int) -> int:
        slot = 4 + 2 * field
        offset = self._number("<H", self._fields + slot) if slot < self._size else 0
        return self._at + offset if offset else 0

    def _number(self, form: str, at: int):
        if at < 0:
            raise ValueError("an offset leads out of the file")
        return struct.unpack_from(form, self._data, at)[0]


def _network(model: Table) -> Tflite:
    codes = [max(code.number(0, "<b"), code.number(3, "<i")) for code in model.tables(1)]
    filled = [buffer.count(0) > 0 or buffer.number(1, "<Q") > 1 for buffer in model.tables(4)]
    graphs = model.tables(2)
    if len(graphs) != 1:
        raise ValueError(f"{len(graphs)} subgraphs instead of one")
    tensors = [_tensor(table, filled) for table in graphs[0].tables(0)]
    inputs, outputs = graphs[0].numbers(1, "i"), graphs[0].numbers(2, "i")
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(f"{len(inputs)} inputs and {len(outputs)} outputs instead of one each")
    layers = tuple(_layers(graphs[0].tables(3), codes, tensors))
    return Tflite(tensors[inputs[0]], tensors[outputs[0]], layers)


def _tensor(table: Table, filled: list[bool]) -> Tensor:
    quantization = table.table(4)
    return Tensor(
        name=table.text(3),
        shape=table.numbers(7, "i") or table.numbers(0, "i"),  # the signature holds -1 where a size is open
        dtype=TYPES.get(table.number(1, "<b"), "unknown"),
        scales=quantization.numbers(2, "f") if quantization else (),
        constant=filled[table.number(2, "<I")],
    )


def _layers(operators: list[Table], codes: list[int], tensors: list[Tensor]) -> Iterator[Layer]:
    for operator in operators:
        code = codes[operator.number(0, "<I")]
        kind = OPERATORS.get(code, f"OPERATOR_{code}")
        inputs = [tensors[index] for index in operator.numbers(1, "i") if index >= 0]
        output = tensors[operator.numbers(2, "i")[0]]
        yield Layer(
            name=output.name,
            operator=kind,
            dtype=output.dtype,
            inputs=tuple(tensor.name for tensor in inputs if not tensor.constant),
            input_shape=inputs[0].shape if inputs else (),
            output_shape=output.shape,
            parameters=sum(prod(tensor.shape) for tensor in inputs[1:] if tensor.constant)
            if kind in WEIGHTED
            else 0,
            multiply_adds=_multiply_adds(kind, inputs, output),
        )


def _multiply_adds(kind: str, inputs: list[Tensor], output: Tensor) -> int:
    """Of the layers with weights; the others' are counted as none, as the chip's makers do."""
    if kind == "CONV_2D":  # kernel (C_out, k, k, C_in)
        return prod(output.shape[1:]) * prod(inputs[1].shape[1:])
    if kind == "DEPTHWISE_CONV_2D":  # kernel (1, k, k, C)
        return prod(output.shape[1:]) * prod(inputs[1].shape[1:3])
    return prod(inputs[1].shape) if kind == "FULLY_CONNECTED" else 0
