"""How values become whole numbers: of tensors by their range, of kernels channel by channel, or as an INT8
TFLite states it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.emulation.fixed_point import round_away
from fer_hailo.emulation.float_network import CURVES, Measured, bias_of
from fer_hailo.emulation.steps import NotEmulated
from fer_hailo.formats.tflite import WEIGHTED
from fer_hailo.formats.tflite_graph import Constant, Graph, Operation, Value

DTYPES = {8: np.int8, 16: np.int16}
LARGEST_BIAS = {8: 1 << 30, 16: 1 << 45}  # leaves room for the sum: 32 bits in all, and 48


@dataclass(frozen=True)
class Precision:
    """Bits of a layer's activations and of its weights."""

    activations: int = 8
    weights: int = 8


MODES = {"a8_w8": Precision(8, 8), "a16_w8": Precision(16, 8), "a16_w16": Precision(16, 16)}


@dataclass(frozen=True)
class Grid:
    """The real value of a whole number q is scale (q - zero); q has `bits` bits, with a sign."""

    scale: float
    zero: int
    bits: int

    @classmethod
    def of_range(cls, low: float, high: float, bits: int) -> Grid:
        """8 bits span low to high and 0; 16 bits lie around 0 evenly. A tensor that is always 0 gets a scale
        of 1.
        """
        low, high = min(low, 0.0), max(high, 0.0)
        if bits == 16:
            return cls(float(np.float32(max(-low, high) / 32767)) or 1.0, 0, bits)
        scale = float(np.float32((high - low) / 255)) or 1.0
        return cls(scale, int(np.clip(round_away(np.float64(-128 - low / scale)), -128, 127)), bits)

    @property
    def low(self) -> int:
        return -(1 << (self.bits - 1))

    @property
    def high(self) -> int:
        return -self.low - 1

    @property
    def farthest(self) -> int:
        """The largest |q - zero|."""
        return max(self.high - self.zero, self.zero - self.low)

    def whole(self, values: np.ndarray) -> np.ndarray:
        """Real values to the nearest whole numbers, int8 or int16."""
        steps = round_away(np.asarray(values, np.float64) / self.scale) + self.zero
        return np.clip(steps, self.low, self.high).astype(DTYPES[self.bits])

    def real(self, values: np.ndarray) -> np.ndarray:
        """Whole numbers to real values, float32."""
        return (values.astype(np.float32) - self.zero) * np.float32(self.scale)


@dataclass(frozen=True)
class Weights:
    """kernel: whole numbers, int64, of the file's shape. scales: float64 (O,). bias: int64 (O,), of scale
    input times `scales`.
    """

    kernel: np.ndarray
    scales: np.ndarray
    bias: np.ndarray


class Scheme(Protocol):
    """How the tensors of a network become whole numbers."""

    def precision(self, operation: Operation) -> Precision:
        """Bits of an operator's activations and weights."""

    def grid(self, value: Value, bits: int) -> Grid:
        """The grid of a tensor for a layer that computes in so many bits."""

    def constant(self, value: Constant, bits: int) -> tuple[np.ndarray, Grid]:
        """Whole numbers of a constant that an elementwise operator reads, and their grid."""

    def weights(self, operation: Operation, source: Grid) -> Weights:
        """Kernel and bias of a layer whose input has the grid `source`. Raises NotEmulated."""


class MeasuredScheme:
    """Grids from measured ranges, weights from float kernels.

    ranges: of each tensor, the input's too. precisions: by name of the operators that are not 8 bit. correct:
    take from each bias what the rounding of the kernel adds on average: sum over the kernel of (rounded -
    exact) times the input's channel means (Nagel et al. 2019).
    """

    def __init__(
        self,
        ranges: Mapping[str, Measured],
        precisions: Mapping[str, Precision] | None = None,
        correct: bool = False,
    ):
        self.ranges, self.precisions, self.correct = ranges, precisions or {}, correct

    def precision(self, operation: Operation) -> Precision:
        return self.precisions.get(operation.name, Precision())

    def grid(self, value: Value, bits: int) -> Grid:
        return Grid.of_range(self.ranges[value.name].low, self.ranges[value.name].high, bits)

    def constant(self, value: Constant, bits: int) -> tuple[np.ndarray, Grid]:
        grid = Grid.of_range(float(value.data.min()), float(value.data.max()), bits)
        return grid.whole(value.data), grid

    def weights(self, operation: Operation, source: Grid) -> Weights:
        bits, kernel = self.precision(operation), operation.kernel.data.astype(np.float64)
        bias, axis = (
            bias_of(operation).astype(np.float64),
            kernel.ndim - 1 if operation.kind == "DEPTHWISE_CONV_2D" else 0,
        )
        others = tuple(number for number in range(kernel.ndim) if number != axis)
        most = (1 << (bits.weights - 1)) - 1
        # A small kernel with a large bias takes a scale that the bias fits; a channel without weights has its
        # bias only.
        least = np.abs(bias) / (source.scale * LARGEST_BIAS[bits.activations])
        scales = (
            np.maximum(np.abs(kernel).max(axis=others) / most, least).astype(np.float32).astype(np.float64)
        )
        scales[scales == 0] = 1
        along = scales.reshape([-1 if number == axis else 1 for number in range(kernel.ndim)])
        rounded = np.clip(round_away(kernel / along), -most, most)
        if self.correct:
            bias = bias - _shift(operation, rounded * along - kernel, self.ranges[operation.source.name].mean)
        whole = round_away(bias / (source.scale * scales))
        return Weights(rounded.astype(np.int64), scales, whole.astype(np.int64))


class FileScheme:
    """Grids, weights and biases as they stand in an INT8 TFLite."""

    def precision(self, operation: Operation) -> Precision:
        return Precision(self.grid(operation.output).bits, 8)

    def grid(self, value: Value, bits: int = 8) -> Grid:
        """As stated, with the bits of the tensor's type, whatever the layer that reads it asks for."""
        if value.dtype not in ("int8", "int16") or len(value.scales) != 1:
            raise UserError(
                f"{value.name} is {value.dtype} with {len(value.scales)} scales: no tensor of an INT8 network"
            )
        return Grid(float(value.scales[0]), int(value.zeros[0]), 8 if value.dtype == "int8" else 16)

    def constant(self, value: Constant, bits: int) -> tuple[np.ndarray, Grid]:
        return value.data, self.grid(value, bits)

    def weights(self, operation: Operation, source: Grid) -> Weights:
        kernel, bias = operation.kernel, operation.bias
        count = operation.output.shape[-1]
        if kernel.data.dtype != np.int8 or kernel.zeros.any() or not len(kernel.scales):
            raise NotEmulated(operation, f"its kernel is {kernel.dtype}")
        scales = np.broadcast_to(kernel.scales.astype(np.float64), count)
        return Weights(
            kernel.data.astype(np.int64),
            scales,
            np.zeros(count, np.int64) if bias is None else bias.data.astype(np.int64),
        )


def _shift(operation: Operation, error: np.ndarray, means: np.ndarray) -> np.ndarray:
    """How far the errors of a kernel move each output on average, (O,). means: of the input's channels,
    (C,).
    """
    if operation.kind == "DEPTHWISE_CONV_2D":
        return error[0].sum(axis=(0, 1)) * np.repeat(means, error.shape[-1] // len(means))
    if operation.kind == "CONV_2D":
        return error.sum(axis=(1, 2)) @ means
    return error @ np.tile(means, error.shape[1] // len(means))


def with_activations(graph: Graph, precisions: Mapping[str, Precision]) -> dict[str, Precision]:
    """The same, where a layer and the activation that alone reads it have one precision: the compiler makes
    one layer of them.

    Whichever of the two is named, names both; where both are, the activation's own counts for itself.
    """
    found = dict(precisions)
    readers: dict[str, list[Operation]] = {}
    for operation in graph.operations:
        for name in operation.sources:
            readers.setdefault(name, []).append(operation)
    for operation in graph.operations:
        alone = readers.get(operation.name, [])
        if operation.kind in {*WEIGHTED, "ADD"} and len(alone) == 1 and alone[0].kind in CURVES:
            pair = operation.name, alone[0].name
            named = [precisions[name] for name in pair if name in precisions]
            for name in pair:
                if named:
                    found.setdefault(name, named[0])
    return found
