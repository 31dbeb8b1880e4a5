"""A TFLite file as an object whose constants can be read and changed."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


def object_of(content: bytes) -> Any:
    """The file as TensorFlow's flatbuffer_utils lays it out."""
    from tensorflow.lite.tools import flatbuffer_utils

    file = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for buffer in file.buffers:  # ai-edge-quantizer writes them behind the tables: bring all into one form
        if buffer.data is not None:
            buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)
    return file


def bytes_of(file: Any) -> bytes:
    from tensorflow.lite.tools import flatbuffer_utils

    return bytes(flatbuffer_utils.convert_object_to_bytearray(file))


class Operator(Protocol):
    """An operator of the file. inputs: int (N,), numbers of tensors; -1 for one that is left out. outputs:
    likewise. builtinOptions: its settings, an object of the schema.
    """

    inputs: np.ndarray
    outputs: np.ndarray
    builtinOptions: Any


def operators(file: Any) -> Iterator[tuple[str, Operator]]:
    """(kind, such as CONV_2D; operator) of a file's one subgraph, in order."""
    from tensorflow.lite.tools import flatbuffer_utils

    (graph,) = file.subgraphs
    return (
        (flatbuffer_utils.opcode_to_name(file, operator.opcodeIndex), operator)
        for operator in graph.operators
    )


def constant(file: Any, tensor: Any, dtype: npt.DTypeLike) -> np.ndarray:
    """The values of a tensor that holds weights, as a copy that can be written to."""
    return file.buffers[tensor.buffer].data.copy().view(dtype).reshape(tensor.shape)


def replace_constant(file: Any, operator: Operator, place: int, values: np.ndarray) -> None:
    """Give the input `place` of an operator new values.

    Other operators that share its tensor or buffer (equal zeros) keep theirs.
    """
    (graph,) = file.subgraphs
    index = operator.inputs[place]
    if sum(list(other.inputs).count(index) for other in graph.operators) > 1:
        graph.tensors.append(copy.copy(graph.tensors[index]))
        operator.inputs[place] = index = len(graph.tensors) - 1
    tensor, data = graph.tensors[index], np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    if sum(other.buffer == tensor.buffer for other in graph.tensors) > 1:
        file.buffers.append(copy.copy(file.buffers[tensor.buffer]))
        tensor.buffer = len(file.buffers) - 1
    file.buffers[tensor.buffer].data = data


def add_tensor(file: Any, name: str, shape: Sequence[int], values: np.ndarray | None = None) -> int:
    """Add a float32 tensor to a file, with values a constant. Returns its number.

    Where its name is taken it gets a number behind it.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    (graph,) = file.subgraphs
    taken, tensor = {other.name.decode() for other in graph.tensors}, schema.TensorT()
    names = itertools.chain([name], (f"{name}#{number}" for number in itertools.count(2)))
    tensor.name = next(free for free in names if free not in taken).encode()
    tensor.shape, tensor.type = np.array(shape, np.int32), schema.TensorType.FLOAT32
    tensor.buffer = 0  # empty by definition
    if values is not None:
        buffer, tensor.buffer = schema.BufferT(), len(file.buffers)
        buffer.data = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint8)
        file.buffers.append(buffer)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def set_kind(file: Any, operator: Any, kind: str, options: Any) -> None:
    """Make an operator one of another kind, such as MUL. options: an object of the schema, such as
    MulOptionsT.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
    code.version = 1
    known = [max(other.builtinCode, other.deprecatedBuiltinCode) for other in file.operatorCodes]
    if code.builtinCode not in known:
        file.operatorCodes.append(code)
    operator.opcodeIndex = [*known, code.builtinCode].index(code.builtinCode)
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
    operator.builtinOptions = options


def drop_unused_kinds(file: Any) -> None:
    """Leave out of a file's list of kinds those that no operator has: a parser may judge by the list."""
    (graph,) = file.subgraphs
    used = sorted({operator.opcodeIndex for operator in graph.operators})
    file.operatorCodes = [file.operatorCodes[index] for index in used]
    for operator in graph.operators:
        operator.opcodeIndex = used.index(operator.opcodeIndex)
