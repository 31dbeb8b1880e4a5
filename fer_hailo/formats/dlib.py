"""A convolutional network out of a .dat file, as the C++ library dlib serialises it: with numpy alone, and
without running what the file says.

An integer is a control byte (how many bytes, and 128 where it is negative) and its bytes, lowest first; a
number is two integers, a mantissa and an exponent of 2; a text is its length and its bytes; a flag is the
character 0 or 1; a tensor is its version, four sizes and its float32 values. A network is the version of
its loss, the loss, the versions of all layers from the last to the first, the input, and then the layers
from the first to the last: the name of each, what it holds, and the state it was in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fer_hailo.common.errors import UserError

LARGEST = 2**26  # bytes of a file; the face ResNet has 22 million
EMPTY = b"\1\2" + 4 * b"\1\0"  # a tensor; a published layer's state is three flags and three of these
TAGS = ("tag", "skip")  # layers with no more than a version, which let others refer to a place
Plan = Sequence[tuple]
Held = tuple[list, dict[str, np.ndarray]]


def read_network(path: Path | str, plan: Plan) -> dict[str, np.ndarray]:
    """The arrays of a network whose layers are known, float32: conv0/kernel (H, W, in, out), conv0/bias,
    conv0/gamma and conv0/beta (of the affine layer that follows), conv1/kernel, ..., fc/kernel (in, out).

    plan: the loss, the input, then the layers from the first on, each as its name in the file and the
    numbers that describe it there (`_KINDS`), or as ("tag",) or ("skip",). Raises UserError where the file
    is of another network, cut, or none of dlib's.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no weights at {path}")
    if path.stat().st_size > LARGEST:
        raise UserError(f"{path} is too large for dlib's face ResNet: {path.stat().st_size:,} bytes")
    reader = _Reader(path.read_bytes())
    try:
        return _network(reader, plan)
    except ValueError as error:
        place = f"byte {reader.place:,}"
        raise UserError(f"{path} is not dlib's face ResNet, or damaged: {error} ({place})") from None


class _Reader:
    """Values in a row. Raises ValueError where the bytes are none; makes nothing that is larger than the
    file."""

    def __init__(self, data: bytes):
        self.data, self.place = data, 0

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.place:
            raise ValueError("the end is missing")
        self.place += count
        return self.data[self.place - count : self.place]

    def integer(self) -> int:
        (control,) = self.take(1)
        size, negative = control & 15, control & 128
        if control & 112 or not 1 <= size <= 8:
            raise ValueError("no integer stands here")
        digits = self.take(size)
        value = int.from_bytes(digits, "little")
        if (size > 1 and not digits[-1]) or (negative and not value):
            raise ValueError("an integer is longer than it need be")
        return -value if negative else value

    def integers(self, count: int) -> list[int]:
        return [self.integer() for _ in range(count)]

    def number(self) -> float:
        mantissa, exponent = self.integers(2)
        if abs(exponent) > 900:  # infinities and the like are written as exponents from 32000 on
            raise ValueError("no finite number stands here")
        return math.ldexp(mantissa, exponent)

    def numbers(self, count: int) -> list[float]:
        return [self.number() for _ in range(count)]

    def text(self) -> str:
        size = self.integer()
        if not 0 <= size <= 64:
            raise ValueError("no name stands here")
        return self.take(size).decode("ascii", "backslashreplace")

    def version(self, wanted: int) -> None:
        if (found := self.integer()) != wanted:
            raise ValueError(f"version {found} stands where {wanted} is expected")

    def shape(self) -> list[int]:
        sizes = self.integers(4)
        if min(sizes) < 0 or max(sizes) > len(self.data) or (not all(sizes) and any(sizes)):
            raise ValueError("no size stands here")
        return sizes

    def tensor(self) -> np.ndarray:
        """float32, of one axis."""
        self.version(2)
        return np.frombuffer(self.take(4 * math.prod(self.shape())), "<f4")

    def parts(self, values: np.ndarray, count: int) -> list[np.ndarray]:
        """`values` in as many arrays as shapes follow, of four axes each."""
        found, start = [], 0
        for _ in range(count):
            self.version(1)
            shape = self.shape()
            stop = start + math.prod(shape)
            if stop > len(values):
                raise ValueError("a shape does not fit its tensor")
            found.append(values[start:stop].reshape(shape))
            start = stop
        if start != len(values):
            raise ValueError("shapes do not fit their tensor")
        return found


def _network(reader: _Reader, plan: Plan) -> dict[str, np.ndarray]:
    loss, image, *layers = plan
    arrays: dict[str, np.ndarray] = {}
    convolutions = 0
    reader.version(1)
    _layer(reader, loss)
    for i, (name, *_) in reversed(list(enumerate(layers))):
        reader.version(3 if i == 0 else 1 if name in TAGS else 2)
    _layer(reader, image)
    for i, layer in enumerate(layers):
        if layer[0] in TAGS:
            continue
        held = _layer(reader, layer)
        convolutions += layer[0] == "con_4"
        prefix = "fc" if layer[0] == "fc_2" else f"conv{convolutions - 1}"
        arrays |= {f"{prefix}/{name}": value for name, value in held.items()}
        overwritten = layers[i + 1 : i + 2] == [("relu_",)]  # which computes in place
        state = b"11%d" % overwritten + 3 * EMPTY
        if reader.take(len(state)) != state:
            raise ValueError(f"the state of {layer[0]} is not that of a network as published")
        if i == 0:
            reader.version(1)  # how many outputs there are for each image
    if reader.place < len(reader.data):
        raise ValueError("it goes on after its last layer")
    return arrays


def _layer(reader: _Reader, planned: tuple) -> dict[str, np.ndarray]:
    """The arrays of one layer, which must be as planned."""
    name, *wanted = planned
    if (found := reader.text()) != name:
        raise ValueError(f"it has {found!r} where {name} is expected")
    numbers, arrays = _KINDS[name](reader)
    if numbers != wanted:
        raise ValueError(f"{name} has the numbers {numbers}, not {wanted}")
    return arrays


def _convolution(reader: _Reader) -> Held:
    values, numbers = reader.tensor(), reader.integers(7)
    kernel, bias = reader.parts(values, 2)
    return numbers + reader.numbers(4), {"kernel": kernel.transpose(2, 3, 1, 0), "bias": bias.ravel()}


def _affine(reader: _Reader) -> Held:
    gamma, beta = reader.parts(reader.tensor(), 2)
    return [reader.integer()], {"gamma": gamma.ravel(), "beta": beta.ravel()}


def _dense(reader: _Reader) -> Held:
    numbers, values = reader.integers(2), reader.tensor()
    kernel, _ = reader.parts(values, 2)
    return [*numbers, reader.integer(), *reader.numbers(4)], {"kernel": kernel[:, :, 0, 0]}


_KINDS: dict[str, Callable[[_Reader], Held]] = {
    "loss_metric_2": lambda reader: (reader.numbers(2), {}),  # margin, distance
    # the mean of red, green and blue, height, width
    "input_rgb_image_sized": lambda reader: ([*reader.numbers(3), *reader.integers(2)], {}),
    "con_4": _convolution,  # filters, height, width, strides, paddings, how fast it learns
    "affine_": _affine,  # 0 for one scale a channel
    "relu_": lambda reader: ([], {}),
    "add_prev_": lambda reader: ([], {}),
    "max_pool_2": lambda reader: (reader.integers(6), {}),  # height, width (0: all), strides, paddings
    "avg_pool_2": lambda reader: (reader.integers(6), {}),
    "fc_2": _dense,  # outputs, inputs, 1 for no bias, how fast it learns
}
