"""Operators on whole numbers. Sums are made by float matrix products only where a bound shows that every one
of them is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from fer_hailo.emulation import windows
from fer_hailo.emulation.fixed_point import (
    Factor,
    Rounding,
    divide,
    high_product,
    multiplier_of,
    round_away,
    shift_right,
)
from fer_hailo.emulation.float_network import (
    CURVES,
    Function,
    activation_of,
    aligned,
    axes_of,
    pads_of,
    setting,
    shaped,
    window_of,
)
from fer_hailo.emulation.scheme import DTYPES, Grid, Scheme
from fer_hailo.emulation.steps import NotEmulated
from fer_hailo.formats.tflite_graph import Constant, Dense, Joining, Operation, Sharpness

SOFTMAX_GRID = Grid(1 / 256, -128, 8)
# Their results have the scale of what they read
KEEP_GRID = {"MAX_POOL_2D", "AVERAGE_POOL_2D", "PAD", "RESHAPE", "SQUEEZE"}
ADD_SHIFT = {8: 20, 16: 15}  # bits that the terms of a sum gain before they are scaled, as in LiteRT


@dataclass(frozen=True)
class Site:
    """An operator in its place. sources: grids of its inputs that are no constants; target: of what it makes;
    scheme: for its constants.
    """

    operation: Operation
    sources: tuple[Grid, ...]
    target: Grid
    scheme: Scheme

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest whole number that the fused activation lets through."""
        activation, grid = activation_of(self.operation), self.target
        low = grid.low if activation == "NONE" else max(grid.low, grid.zero)
        six = grid.zero + int(round_away(np.float64(6 / grid.scale)))
        return low, min(grid.high, six) if activation == "RELU6" else grid.high

    def finish(self, steps: np.ndarray) -> np.ndarray:
        """int64 steps from the zero to whole numbers of the target, in place but for the last copy."""
        steps += self.target.zero
        return np.clip(steps, *self.limits, out=steps).astype(DTYPES[self.target.bits])


def integer_function(site: Site) -> Function:
    """What an operator computes, of arrays of whole numbers."""
    kind = site.operation.kind
    if kind in CURVES:
        return _curve(site)
    if kind not in INTEGER:
        raise NotEmulated(site.operation)
    return INTEGER[kind](site)


def exact_dtype(largest: int, operation: Operation) -> type[np.floating]:
    """The float type in which all sums up to `largest` are exact, whatever the order of adding."""
    if largest < 1 << 24:
        return np.float32
    if largest < 1 << 53:
        return np.float64
    raise NotEmulated(operation, "its sums leave 53 bits")


def rescale(source: Grid, target: Grid) -> Callable[[np.ndarray], np.ndarray]:
    """Whole numbers of one grid to those of another."""
    if source == target:
        return lambda x: x
    factor = Factor.of(source.scale / target.scale)

    def change(x: np.ndarray) -> np.ndarray:
        steps = factor(x.astype(np.int64) - source.zero)
        steps += target.zero
        return np.clip(steps, target.low, target.high, out=steps).astype(DTYPES[target.bits])

    return change


def _weighted(site: Site) -> Function:
    operation, (source,) = site.operation, site.sources
    weights = site.scheme.weights(operation, source)
    depthwise = operation.kind == "DEPTHWISE_CONV_2D"
    rows = (
        weights.kernel.reshape(-1, weights.kernel.shape[-1])
        if depthwise
        else weights.kernel.reshape(len(weights.kernel), -1).T
    )
    dtype = exact_dtype(int(np.abs(rows).sum(axis=0).max()) * source.farthest, operation)
    rounding: Rounding = (
        "wide" if site.target.bits == 16 else "once" if operation.kind == "FULLY_CONNECTED" else "twice"
    )
    factor = Factor.of(source.scale * weights.scales / site.target.scale, rounding)
    kernel = np.ascontiguousarray(rows.astype(dtype))
    if operation.kind == "FULLY_CONNECTED":
        if setting(operation, Dense).shuffled:
            raise NotEmulated(operation, "with shuffled weights")
        width, contract = 1, lambda x: x.reshape(len(x), -1) @ kernel
    else:
        window = window_of(operation)
        width = window.places[1]
        if depthwise:
            kernel = kernel.reshape(weights.kernel.shape[1:])
        function = windows.depthwise if depthwise else windows.convolve
        contract = lambda x: function(x, kernel, window)  # noqa: E731
    bias, factor, shape = np.tile(weights.bias, width), factor.tiled(width), shaped(operation)

    def compute(x: np.ndarray) -> np.ndarray:
        centred = x.astype(dtype)
        centred -= source.zero
        sums = contract(centred).astype(np.int64).reshape(-1, len(bias))
        sums += bias
        return shape(site.finish(factor(sums)))

    return compute


def _terms(site: Site) -> tuple[Callable[..., list[np.ndarray]], list[Grid]]:
    """For an elementwise operator: what gives its two inputs as int64 steps from their zeros, and their
    grids.
    """
    left = iter(site.sources)
    grids: list[Grid] = []
    constants: list[np.ndarray | None] = []
    for value in site.operation.inputs:
        if isinstance(value, Constant):
            whole, grid = site.scheme.constant(value, site.target.bits)
            constants.append(whole.astype(np.int64) - grid.zero)
            grids.append(grid)
        else:
            constants.append(None)
            grids.append(next(left))

    def steps(*inputs: np.ndarray) -> list[np.ndarray]:
        rest = iter(aligned(list(inputs)))
        both = zip(constants, grids, strict=True)
        return [
            next(rest).astype(np.int64) - grid.zero if constant is None else constant
            for constant, grid in both
        ]

    return steps, grids


def _add(site: Site) -> Function:
    steps, grids = _terms(site)
    shift, widest = ADD_SHIFT[site.target.bits], 2 * max(grid.scale for grid in grids)
    factors = [Factor.of(grid.scale / widest) for grid in grids]
    last = Factor.of(widest / ((1 << shift) * site.target.scale))

    def compute(*inputs: np.ndarray) -> np.ndarray:
        first, second = (factor(term << shift) for factor, term in zip(factors, steps(*inputs), strict=True))
        return site.finish(last(first + second))

    return compute


def _mul(site: Site) -> Function:
    steps, grids = _terms(site)
    factor = Factor.of(grids[0].scale * grids[1].scale / site.target.scale)

    def compute(*inputs: np.ndarray) -> np.ndarray:
        first, second = steps(*inputs)
        return site.finish(factor(first * second))

    return compute


def _mean(site: Site) -> Function:
    axes, shape, (source,) = axes_of(site.operation), shaped(site.operation), site.sources
    count = prod(site.operation.source.shape[axis] for axis in axes)
    factor = Factor.of(source.scale / site.target.scale).divided(count)

    def compute(x: np.ndarray) -> np.ndarray:
        return shape(site.finish(factor(x.sum(axis=axes, dtype=np.int64) - count * source.zero)))

    return compute


def _average_pool(site: Site) -> Function:
    window = window_of(site.operation)
    counts = window.counts(site.operation.source.plane)
    low, high = site.limits

    def compute(x: np.ndarray) -> np.ndarray:
        return np.clip(divide(windows.summed(x.astype(np.int64), window), counts), low, high).astype(x.dtype)

    return compute


def _max_pool(site: Site) -> Function:
    window, (low, high) = window_of(site.operation), site.limits
    return lambda x: np.clip(windows.largest(x, window, site.target.low), low, high)


def _pad(site: Site) -> Function:
    pads, zero = pads_of(site.operation), site.target.zero
    return lambda x: np.pad(x, pads, constant_values=zero)


def _concatenation(site: Site) -> Function:
    axis = setting(site.operation, Joining).axis % len(site.operation.output.shape)
    if activation_of(site.operation) != "NONE":
        raise NotEmulated(site.operation, "with an activation")
    changes = [rescale(grid, site.target) for grid in site.sources]
    return lambda *inputs: np.concatenate(
        [change(x) for change, x in zip(changes, inputs, strict=True)], axis=axis
    )


def _softmax(site: Site) -> Function:
    """Powers from a table of 23 bits, their sum, one division."""
    operation, (source,) = site.operation, site.sources
    if site.target != SOFTMAX_GRID or source.bits != 8:
        raise NotEmulated(operation, "but in 8 bits")
    differences = np.arange(256) * source.scale * setting(operation, Sharpness).beta
    powers = round_away(np.exp(-differences) * (1 << 23)).astype(np.int64)

    def compute(x: np.ndarray) -> np.ndarray:
        wide = x.astype(np.int64)
        found = powers[wide.max(axis=-1, keepdims=True) - wide]
        return site.finish(divide(found << 8, found.sum(axis=-1, keepdims=True)))

    return compute


def _curve(site: Site) -> Function:
    """An activation by itself: a table with one entry for each whole number."""
    (source,), target = site.sources, site.target
    inputs = np.arange(source.low, source.high + 1)
    if (
        site.operation.kind == "HARD_SWISH"
        and source.bits == target.bits == 8
        and source.scale < 64 * target.scale
    ):
        entries = hard_swish_8(inputs, source, target)
    else:
        entries = target.whole(CURVES[site.operation.kind](source.scale * (inputs - float(source.zero))))
    table = np.roll(entries, source.low)  # by the bits of a number read without its sign
    unsigned = np.dtype(f"uint{source.bits}")
    return lambda x: table[x.view(unsigned)]


def hard_swish_8(inputs: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
    """h-swish of whole numbers of 8 bits by LiteRT's arithmetic of 16 bits, int8."""
    high = (inputs.astype(np.int64) - source.zero) << 7
    hires = source.scale / 128
    (gain, gain_shift), (slope, slope_shift) = (
        multiplier_of(hires / scale) for scale in (target.scale, 3 / 32768)
    )
    short = [min((m + (1 << 15)) >> 16, 0x7FFF) for m in (gain, slope)]
    scaled = high_product(high, short[0])
    gate = high
    if slope_shift > 0:
        gate = np.clip(gate << (slope_shift - 1), -(1 << 15), (1 << 15) - 1)
    gate = high_product(gate, short[1])
    if slope_shift > 0:
        gate = np.clip(gate << 1, -(1 << 15), (1 << 15) - 1)
    gate = shift_right(gate, np.maximum(np.array([-slope_shift]), 0))
    gate = (gate + (1 << 15)) >> 1
    product = gate * scaled
    product = np.sign(product) * (np.abs(product) >> 15)  # towards zero
    steps = shift_right(product, np.array([-gain_shift])) + target.zero
    return np.clip(steps, target.low, target.high).astype(np.int8)


INTEGER: dict[str, Callable[[Site], Function]] = {
    "CONV_2D": _weighted, "DEPTHWISE_CONV_2D": _weighted, "FULLY_CONNECTED": _weighted, "ADD": _add,
    "MUL": _mul, "MEAN": _mean,
    "AVERAGE_POOL_2D": _average_pool, "MAX_POOL_2D": _max_pool, "PAD": _pad, "CONCATENATION": _concatenation,
    "SOFTMAX": _softmax,
    "RESHAPE": lambda site: shaped(site.operation), "SQUEEZE": lambda site: shaped(site.operation),
    "QUANTIZE": lambda site: rescale(site.sources[0], site.target),
}  # fmt: skip
