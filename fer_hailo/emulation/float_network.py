"""A float TFLite in numpy, and what its tensors hold over a calibration set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from fer_hailo.common.preprocess import PreprocessSpec, normalise
from fer_hailo.common.progress import track
from fer_hailo.emulation import windows
from fer_hailo.emulation.steps import BATCH, NotEmulated, Step, Visit, in_batches, run
from fer_hailo.formats.tflite_graph import Constant, Dense, Graph, Joining, Operation, Sharpness, Sliding

Set = TypeVar("Set", Sliding, Dense, Joining, Sharpness)
Function = Callable[..., np.ndarray]  # of the arrays of an operator's inputs that are no constants

CURVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "RELU": lambda x: np.maximum(x, 0),
    "RELU6": lambda x: np.clip(x, 0, 6),
    "HARD_SWISH": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "LOGISTIC": lambda x: 1 / (1 + np.exp(-x)),
    "TANH": np.tanh,
}


@dataclass
class Measured:
    """low, high: smallest and largest value of a tensor; mean: float64 (C,), of each channel, over all images
    and places.
    """

    low: float = np.inf
    high: float = -np.inf
    count: int = 0
    total: np.ndarray = field(default_factory=lambda: np.zeros(1))

    @property
    def mean(self) -> np.ndarray:
        return self.total / self.count

    def span(self, low: float, high: float) -> None:
        """Widen the range so that it holds both."""
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))

    def add(self, values: np.ndarray) -> None:
        self.span(values.min(), values.max())
        self.count += values.size // values.shape[-1]
        self.total = self.total + values.reshape(-1, values.shape[-1]).sum(axis=0, dtype=np.float64)


class FloatNetwork:
    """The network of a float TFLite. Raises NotEmulated for an operator that is not known here."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.steps = [
            Step(operation.name, float_function(operation), operation.sources)
            for operation in graph.operations
        ]

    def run(self, values: np.ndarray, visit: Visit | None = None) -> np.ndarray:
        """float32 (N, I, I, 3), normalised, to float32 (N, C). visit: see `steps.run`."""
        return run(self.steps, self.graph.input.name, values, self.graph.output.name, visit)

    def logits(self, images: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
        """uint8 (N, I, I, 3) to float32 (N, C)."""
        return np.concatenate(list(in_batches(lambda batch: self.run(normalise(batch, spec)), images)))

    def measure(self, images: np.ndarray, spec: PreprocessSpec) -> dict[str, Measured]:
        """Range and channel means of each tensor, the input's too, over images uint8 (N, I, I, 3)."""

        def one(batch: np.ndarray) -> dict[str, Measured]:
            found: dict[str, Measured] = {}
            self.run(
                normalise(batch, spec), lambda name, values: found.setdefault(name, Measured()).add(values)
            )
            return found

        total: dict[str, Measured] = {}
        for found in track(in_batches(one, images), len(images), "measuring ranges", each=BATCH):
            for name, part in found.items():
                whole = total.setdefault(name, Measured())
                whole.span(part.low, part.high)
                whole.count, whole.total = whole.count + part.count, whole.total + part.total
        return total


def float_function(operation: Operation) -> Function:
    """What an operator computes, of float32 arrays."""
    if operation.kind in CURVES:
        return lambda x: CURVES[operation.kind](x).astype(np.float32)
    if operation.kind not in FLOAT:
        raise NotEmulated(operation)
    for value in operation.inputs:
        if isinstance(value, Constant) and value.data.dtype not in (np.float32, np.int32, np.int64):
            raise NotEmulated(operation, f"its constant {value.name} is {value.dtype}")
    activation = activation_of(operation)
    function = FLOAT[operation.kind](operation)
    return function if activation == "NONE" else lambda *inputs: CURVES[activation](function(*inputs))


def activation_of(operation: Operation) -> str:
    """The activation that is fused into an operator: NONE, RELU or RELU6."""
    if operation.activation not in ("NONE", "RELU", "RELU6"):
        raise NotEmulated(operation, f"with {operation.activation}")
    return operation.activation


def setting(operation: Operation, kind: type[Set]) -> Set:
    """An operator's settings, which are of this kind."""
    if not isinstance(operation.settings, kind):
        raise NotEmulated(operation, "with settings of another operator")
    return operation.settings


def window_of(operation: Operation) -> windows.Window:
    """The window of a convolution or of a pooling."""
    source, settings = operation.source, setting(operation, Sliding)
    if len(source.shape) != 4:
        raise NotEmulated(operation, f"of a tensor of shape {source.shape}")
    window = windows.Window.of(source.plane, settings.size or operation.kernel.plane, settings)
    if min(window.places) < 1 or window.places != operation.output.shape[1:3]:
        raise NotEmulated(operation, f"it states an output of shape {operation.output.shape}")
    return window


def axes_of(operation: Operation) -> tuple[int, ...]:
    """The axes of a MEAN: rows and columns, nothing else is known."""
    shape = operation.source.shape
    axes = tuple(sorted(int(axis) % len(shape) for axis in operation.kernel.data.ravel()))
    if axes != (1, 2) or len(shape) != 4:
        raise NotEmulated(operation, f"over the axes {axes} of {shape}")
    return axes


def pads_of(operation: Operation) -> np.ndarray:
    """The paddings of a PAD: int (axes, 2), none of the images' axis."""
    pads = operation.kernel.data
    if (
        pads.shape != (len(operation.source.shape), 2)
        or pads[0].any()
        or (pads < 0).any()
        or (pads > 1024).any()
    ):
        raise NotEmulated(operation, "with paddings that are not constant, or out of bounds")
    return pads


def aligned(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Arrays whose first axis are the images, with axes of 1 after it so that all have as many."""
    most = max(array.ndim for array in arrays)
    return [array.reshape(len(array), *(1,) * (most - array.ndim), *array.shape[1:]) for array in arrays]


def operands(operation: Operation) -> Callable[..., list[np.ndarray]]:
    """Puts an elementwise operator's constants between its other inputs."""
    constants = [value.data if isinstance(value, Constant) else None for value in operation.inputs]

    def joined(*inputs: np.ndarray) -> list[np.ndarray]:
        left = iter(aligned(list(inputs)))
        return [next(left) if constant is None else constant for constant in constants]

    return joined


def shaped(operation: Operation) -> Callable[[np.ndarray], np.ndarray]:
    """Gives results the shape that the file states, for any number of images."""
    if operation.output.shape[:1] != (1,):
        raise NotEmulated(operation, f"it makes {operation.output.shape}, not one result an image")
    return lambda values: values.reshape(-1, *operation.output.shape[1:])


def _convolution(operation: Operation) -> Function:
    kernel, window = operation.kernel.data, window_of(operation)
    bias = bias_of(operation)
    if operation.kind == "DEPTHWISE_CONV_2D":
        return lambda x: windows.depthwise(x, kernel[0], window) + bias
    rows = np.ascontiguousarray(kernel.reshape(len(kernel), -1).T)
    return lambda x: windows.convolve(x, rows, window) + bias


def bias_of(operation: Operation) -> np.ndarray:
    """The bias, or zeros: float32 (O,)."""
    bias = operation.bias
    return np.zeros(operation.output.shape[-1], np.float32) if bias is None else bias.data


def _fully_connected(operation: Operation) -> Function:
    if setting(operation, Dense).shuffled:
        raise NotEmulated(operation, "with shuffled weights")
    kernel, bias, shape = operation.kernel.data.T, bias_of(operation), shaped(operation)
    return lambda x: shape(x.reshape(len(x), -1) @ kernel + bias)


def _mean(operation: Operation) -> Function:
    axes, shape = axes_of(operation), shaped(operation)
    return lambda x: shape(x.mean(axis=axes, dtype=np.float32))


def _average_pool(operation: Operation) -> Function:
    window = window_of(operation)
    counts = window.counts(operation.source.plane).astype(np.float32)
    return lambda x: windows.summed(x, window) / counts


def _max_pool(operation: Operation) -> Function:
    window = window_of(operation)
    return lambda x: windows.largest(x, window, -np.inf)


def _elementwise(operation: Operation) -> Function:
    joined, function = operands(operation), {"ADD": np.add, "MUL": np.multiply}[operation.kind]
    return lambda *inputs: function(*joined(*inputs))


def _pad(operation: Operation) -> Function:
    pads = pads_of(operation)
    return lambda x: np.pad(x, pads)


def _concatenation(operation: Operation) -> Function:
    axis = setting(operation, Joining).axis % len(operation.output.shape)
    if axis == 0 or any(isinstance(value, Constant) for value in operation.inputs):
        raise NotEmulated(operation, "of constants, or along the images")
    return lambda *inputs: np.concatenate(inputs, axis=axis)


def _softmax(operation: Operation) -> Function:
    beta = np.float32(setting(operation, Sharpness).beta)

    def softmax(x: np.ndarray) -> np.ndarray:
        powers = np.exp(beta * (x - x.max(axis=-1, keepdims=True)))
        return powers / powers.sum(axis=-1, keepdims=True)

    return softmax


FLOAT: dict[str, Callable[[Operation], Function]] = {
    "ADD": _elementwise, "MUL": _elementwise, "CONV_2D": _convolution, "DEPTHWISE_CONV_2D": _convolution,
    "FULLY_CONNECTED": _fully_connected, "MEAN": _mean, "AVERAGE_POOL_2D": _average_pool,
    "MAX_POOL_2D": _max_pool, "PAD": _pad,
    "RESHAPE": shaped, "SQUEEZE": shaped, "CONCATENATION": _concatenation, "SOFTMAX": _softmax,
}  # fmt: skip
