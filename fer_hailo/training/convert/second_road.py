"""A float TFLite in fewer kinds of operators: a second road through Hailo's parser, for where it stops on
the first at a HARD_SWISH, or at a number that something is multiplied by.

h-swish becomes x g with the gate g = relu6(x + 3) / 6: a 1 x 1 depthwise convolution with weights of 1, a
bias of 3 and a ReLU6, one with weights of 1/6, and a product of two tensors. No kernel of the network
changes, each tensor of the first file is there under its name with its value, and an h-swish is exact where
it is 0 or the identity. 1/6 could go into a kernel before or behind, which saves a layer, but a kernel that
is rounded anew moves logits by 2.4e-5 (released model, 1,024 calibration images); so they move by 7.4e-6. A
sum with a number, or one a channel, and a product by it become depthwise convolutions as well.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.formats.tflite import GATE, SIXTH, WEIGHTED
from fer_hailo.predict.litert import LiteRT
from fer_hailo.training.convert.flatbuffer import (
    add_tensor,
    bytes_of,
    constant,
    drop_unused_kinds,
    object_of,
    operators,
    set_kind,
)

# Seen to parse from a TFLite, by the Dataflow Compiler 3.33; of the untried no public trace was found
SEEN = ("CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED", "SOFTMAX", "MAX_POOL_2D")
UNTRIED = ("MUL", "RELU6")
NONE, RELU6 = 0, 3  # of the schema's ActivationFunctionType
NOTHING = "nothing is to be written plainly: no h-swish, and no number that something is multiplied by"


# Largest difference of a logit, and that as a part of the largest logit, where logits are large: LiteRT's two
# sets of float kernels give, for one file, logits that differ by 4e-6 of it (2.3e-5, the released model)
MOST, RELATIVE = 1e-5, 1e-5


class NoSecondRoad(Exception):
    """Why there is no such file."""


@dataclass(frozen=True)
class SecondRoad:
    """Compared with the first road on `count` images: largest difference of a logit. operators: how many of
    each kind.
    """

    count: int
    difference: float
    operators: dict[str, int]


def make_second_road(first: Path, second: Path, images: np.ndarray, spec: PreprocessSpec) -> SecondRoad:
    """Write the plain form of a float TFLite. images: uint8 (N, I, I, 3), which both must answer alike.

    Raises NoSecondRoad, and writes nothing, where there is none, or it gives other logits.
    """
    content = write_plainly(first.read_bytes())
    second.write_bytes(content)
    expected, found = (LiteRT(path).logits(images, spec) for path in (first, second))
    difference = float(np.abs(expected - found).max())
    if not difference <= max(MOST, RELATIVE * float(np.abs(expected).max())):
        second.unlink()
        raise NoSecondRoad(f"its logits differ from those of {first.name} by up to {difference:.2g}")
    return SecondRoad(len(images), difference, dict(kinds_of(content)))


def write_plainly(content: bytes) -> bytes:
    """A float TFLite that computes the same in SEEN and UNTRIED operators, of which only layers with weights
    have constants.

    Raises NoSecondRoad where the file is so already, or something in it has no such form.
    """
    file = object_of(content)
    found = [(kind, operator) for kind, operator in operators(file) if _is_called_for(file, kind, operator)]
    if not found:
        raise NoSecondRoad(NOTHING)
    for kind, operator in found:
        if len(_shape(file, operator.outputs[0])) == 4:  # depthwise convolutions are of maps
            (_write_swish if kind == "HARD_SWISH" else _write_number)(file, kind, operator)
    for kind, operator in operators(file):
        if kind not in (*SEEN, *UNTRIED) or _numbers(file, kind, operator):
            raise NoSecondRoad(f"{_name(file, operator.outputs[0])} ({kind}) has no plain form")
    drop_unused_kinds(file)
    return bytes_of(file)


def kinds_of(content: bytes) -> Counter[str]:
    """How many operators of each kind a float TFLite has; a RELU6 counts where it is fused, too."""
    found: Counter[str] = Counter()
    for kind, operator in operators(object_of(content)):
        fused = getattr(operator.builtinOptions, "fusedActivationFunction", NONE)
        found.update([kind, *["RELU6"] * (fused == RELU6)])
    return found


def _is_called_for(file: Any, kind: str, operator: Any) -> bool:
    """Whether an operator stands in the parser's way."""
    return kind == "HARD_SWISH" or (kind in ("ADD", "SUB", "MUL") and bool(_numbers(file, kind, operator)))


def _write_swish(file: Any, kind: str, operator: Any) -> None:
    from tensorflow.lite.python.schema_py_generated import MulOptionsT

    (x,) = operator.inputs
    gate = _insert(file, operator, x, _name(file, x) + GATE, 1, 3, RELU6)
    sixth = _insert(file, operator, gate, _name(file, x) + SIXTH, 1 / 6, 0, NONE)
    operator.inputs = np.array([x, sixth], np.int32)
    set_kind(file, operator, "MUL", MulOptionsT())


def _write_number(file: Any, kind: str, operator: Any) -> None:
    """Make a sum with a number (or one a channel), or a product by it, a depthwise convolution."""
    (place, *_), shape = _numbers(file, kind, operator), _shape(file, operator.outputs[0])
    x, tensor = operator.inputs[1 - place], file.subgraphs[0].tensors[operator.inputs[place]]
    number = constant(file, tensor, np.float32)
    if number.size not in (1, shape[-1]) or _shape(file, x) != shape:
        return
    number, ones = np.broadcast_to(number.reshape(-1), shape[-1:]), np.ones(shape[-1])
    kernel, bias = {
        "ADD": (ones, number),
        "SUB": (ones, -number) if place else (-ones, number),
        "MUL": (number, 0 * ones),
    }[kind]
    _as_depthwise(file, operator, x, kernel, bias, operator.builtinOptions.fusedActivationFunction)


def _insert(file: Any, before: Any, x: int, name: str, kernel: float, bias: float, activation: int) -> int:
    """Put a depthwise convolution of x, alike for all channels, before an operator. Returns what it makes."""
    from tensorflow.lite.python.schema_py_generated import OperatorT

    (graph,), shape, operator = file.subgraphs, _shape(file, x), OperatorT()
    operator.outputs = np.array([add_tensor(file, name, shape)], np.int32)
    _as_depthwise(file, operator, x, np.full(shape[-1], kernel), np.full(shape[-1], bias), activation)
    graph.operators.insert([other is before for other in graph.operators].index(True), operator)
    return int(operator.outputs[0])


def _as_depthwise(
    file: Any, operator: Any, x: int, kernel: np.ndarray, bias: np.ndarray, activation: int
) -> None:
    """Make an operator a 1 x 1 depthwise convolution of x. kernel, bias: (C,)."""
    from tensorflow.lite.python.schema_py_generated import DepthwiseConv2DOptionsT, Padding

    name, options = _name(file, operator.outputs[0]), DepthwiseConv2DOptionsT()
    constants = [
        add_tensor(file, f"{name}/kernel", (1, 1, 1, len(kernel)), kernel),
        add_tensor(file, f"{name}/bias", (len(bias),), bias),
    ]
    options.padding, options.fusedActivationFunction = Padding.VALID, activation
    options.strideW = options.strideH = options.depthMultiplier = 1
    operator.inputs = np.array([x, *constants], np.int32)
    set_kind(file, operator, "DEPTHWISE_CONV_2D", options)


def _numbers(file: Any, kind: str, operator: Any) -> list[int]:
    """Places of an operator's inputs that are float constants; none of a layer with weights."""
    (graph,) = file.subgraphs
    found = []
    for place, index in enumerate(() if kind in WEIGHTED else operator.inputs):
        if index < 0:  # left out
            continue
        tensor = graph.tensors[index]
        if tensor.type == 0 and file.buffers[tensor.buffer].data is not None:  # float32; axes are whole
            found.append(place)
    return found


def _shape(file: Any, index: int) -> tuple[int, ...]:
    return tuple(map(int, file.subgraphs[0].tensors[index].shape))


def _name(file: Any, index: int) -> str:
    return file.subgraphs[0].tensors[index].name.decode()
