"""A TFLite file as an object whose constants can be read and changed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
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
    """An operator of the file. inputs: int (N,), numbers of tensors; -1 for one that is left out."""

    inputs: np.ndarray


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
