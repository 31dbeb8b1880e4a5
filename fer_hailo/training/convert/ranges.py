"""What values each tensor of a network takes: the ranges from which it is quantized, and which of them are
badly used.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from fer_hailo.common.preprocess import PreprocessSpec, normalise
from fer_hailo.common.progress import track
from fer_hailo.common.workers import cores, shared_out
from fer_hailo.formats.tflite import GATE, Tflite, single
from fer_hailo.predict.litert import LiteRT

SAMPLES = 1024  # values of a tensor that are kept of each image
INPUT = "image"
PERCENTILES = (100.0, 99.99, 99.97, 99.95, 99.9)  # where a range may end
WHOLE = "100"
STEPS = (
    254  # between the smallest and the largest of 8 bits, less the one that rounding the zero point may take
)
ZERO_BELOW = -3.0  # h-swish gives 0 for all that is no larger

_Draw = dict[str, np.ndarray | slice]
_Measured = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class TensorFacts:
    """channels; of them constant ones, and dead ones (always 0); min and max; used: the part of the range
    that 99.9 % of the values use; scale: of the INT8 network, 0 where it computes in float.
    """

    name: str
    channels: int
    constant: int
    dead: int
    min: float
    max: float
    used: float
    scale: float


@dataclass
class TensorRange:
    """low, high, mean: float32 (channels,), smallest, largest and mean value of each channel. sample:
    float32, values drawn by chance.
    """

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    sample: np.ndarray

    @functools.cached_property
    def ends(self) -> dict[str, tuple[float, float]]:
        """(low, high) for each percentile and its mirror, so that as much is cut off at each end; 0 lies
        within, as INT8 needs it.
        """
        values = np.percentile(self.sample, [end for p in PERCENTILES for end in (100 - p, p)]).reshape(-1, 2)
        found = {f"{p:g}": pair for p, pair in zip(PERCENTILES, values, strict=True)} | {
            "100": (self.low.min(), self.high.max())
        }
        return {name: (min(0.0, float(low)), max(0.0, float(high))) for name, (low, high) in found.items()}

    def facts(self, name: str, scale: float) -> TensorFacts:
        low, high = float(self.low.min()), float(self.high.max())
        inner = np.percentile(self.sample, (0.05, 99.95))
        still = self.high == self.low
        return TensorFacts(
            name=name,
            channels=len(self.low),
            constant=int(still.sum()),
            dead=int((still & (self.low == 0)).sum()),
            min=low,
            max=high,
            used=float((inner[1] - inner[0]) / (high - low)) if high > low else 0.0,
            scale=scale,
        )


def limits_of(ranges: dict[str, TensorRange], network: Tflite, ends: str) -> dict[str, tuple[float, float]]:
    """(low, high) of the 8-bit range of each tensor, for a percentile of PERCENTILES.

    What only an h-swish reads need not reach below -3, as it becomes 0: one step below is enough. Whole
    ranges stay whole: cutting these made the predictions worse. So do those of relu6(x + 3), which ends at 6
    for many values of x.
    """
    limits = {name: tensor.ends[ends] for name, tensor in ranges.items()}
    if ends != WHOLE:
        limits |= {name: tensor.ends[WHOLE] for name, tensor in ranges.items() if _is_gate(name)}
        for name in _before_swish(network):
            low, high = limits[name]
            limits[name] = max(low, ZERO_BELOW - (high - ZERO_BELOW) / STEPS), high
    return limits


def _before_swish(network: Tflite) -> list[str]:
    """Tensors that only an h-swish reads: one operator, or written out, the gate and the product with it."""
    readers: dict[str, list[bool]] = {}
    for layer in network.layers:
        swish = layer.operator == "HARD_SWISH" or any(map(_is_gate, (layer.name, *layer.inputs)))
        for name in layer.inputs:
            readers.setdefault(name, []).append(swish)
    others = {network.output.name, *filter(_is_gate, readers)}
    return [name for name, swish in readers.items() if all(swish) and name not in others]


def _is_gate(name: str) -> bool:
    return name.endswith(GATE)


def undone(ranges: dict[str, TensorRange]) -> dict[str, TensorRange]:
    """With the ranges of the float network's tensors, of which those of the network with written-out
    h-swishes are multiples.
    """
    found = {}
    for name, tensor in ranges.items():
        plain, factor = single(name)
        found[plain] = TensorRange(*(getattr(tensor, part.name) / factor for part in fields(tensor)))
    return found | ranges


def tensor_ranges(
    path: Path, images: np.ndarray, spec: PreprocessSpec, seed: int = 0
) -> dict[str, TensorRange]:
    """Ranges of the input and of every tensor that an operator makes, over prepared images uint8 (N, I, I,
    3).
    """
    networks, rng = [LiteRT(path, keep_tensors=True) for _ in range(cores())], np.random.default_rng(seed)
    workers = [functools.partial(_measure, network, spec) for network in networks]
    sizes = {name: values.size for name, values in networks[0].views(images[0], spec)}
    jobs = ((image, _draw(rng, {INPUT: image.size} | sizes)) for image in images)
    found: dict[str, list[_Measured]] = {}
    for tensors in track(shared_out(workers, jobs), len(images), "measuring ranges"):
        for name, measured in tensors.items():
            found.setdefault(name, []).append(measured)
    return {
        name: TensorRange(
            np.min([low for low, _, _, _ in parts], axis=0),
            np.max([high for _, high, _, _ in parts], axis=0),
            np.mean([mean for _, _, mean, _ in parts], axis=0).astype(np.float32),
            np.concatenate([sample for _, _, _, sample in parts]),
        )
        for name, parts in found.items()
    }


def _draw(rng: np.random.Generator, sizes: dict[str, int]) -> _Draw:
    """The places of the values that are kept of each tensor of one image."""
    return {
        name: slice(None) if size <= SAMPLES else rng.integers(0, size, SAMPLES)
        for name, size in sizes.items()
    }


def _measure(network: LiteRT, spec: PreprocessSpec, job: tuple[np.ndarray, _Draw]) -> dict[str, _Measured]:
    """(low, high, mean, sample) of each tensor of one image."""
    image, drawn = job
    found = {}
    for name, values in itertools.chain([(INPUT, normalise(image[None], spec))], network.views(image, spec)):
        found[name] = (
            _folded(np.min, values),
            _folded(np.max, values),
            _folded(_sum, values) * (values.shape[-1] / values.size),
            _taken(values.reshape(-1), drawn[name]),
        )
    return found


def _taken(values: np.ndarray, places: np.ndarray | slice) -> np.ndarray:
    return values[places].copy() if isinstance(places, slice) else values.take(places)


def _folded(fold: Callable[..., np.ndarray], values: np.ndarray) -> np.ndarray:
    """fold (np.min, say) of each channel of a tensor (..., C): (C,). Whole rows of a map first, since folding
    channel by channel takes three times as long.
    """
    rows = values.reshape(-1, math.prod(values.shape[-2:]))
    return fold(fold(rows, axis=0).reshape(-1, values.shape[-1]), axis=0)


_sum = functools.partial(np.sum, dtype=np.float64)
