"""What values each tensor of a network takes: the ranges from which it is quantized, and which of them are badly used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_hailo.litert import LiteRT
from fer_hailo.preprocess import PreprocessSpec, normalise
from fer_hailo.progress import track

SAMPLES = 1024  # values of a tensor that are kept of each picture
INPUT = "image"


@dataclass
class TensorRange:
    """low, high: float32 (channels,), smallest and largest value of each channel. sample: float32, values drawn by chance."""

    low: np.ndarray
    high: np.ndarray
    sample: np.ndarray

    def clipped(self, percentile: float) -> tuple[float, float]:
        """(low, high): the percentile and its mirror, so that as much is cut off at each end; 0 lies within, as INT8 needs it."""
        if percentile >= 100:
            return min(0.0, float(self.low.min())), max(0.0, float(self.high.max()))
        low, high = np.percentile(self.sample, (100 - percentile, percentile))
        return min(0.0, float(low)), max(0.0, float(high))

    def to_dict(self) -> dict:
        """channels; of them constant ones, and dead ones (always 0); min and max; the part of the range that 99.9 % of the values use."""
        low, high = float(self.low.min()), float(self.high.max())
        inner = np.percentile(self.sample, (0.05, 99.95))
        still = self.high == self.low
        return {
            "channels": len(self.low),
            "constant": int(still.sum()),
            "dead": int((still & (self.low == 0)).sum()),
            "min": low,
            "max": high,
            "used": float((inner[1] - inner[0]) / (high - low)) if high > low else 0.0,
        }


def tensor_ranges(path: Path, images: np.ndarray, spec: PreprocessSpec, seed: int = 0) -> dict[str, TensorRange]:
    """Ranges of the input and of every tensor that an operator makes, over prepared pictures uint8 (N, I, I, 3)."""
    network, rng = LiteRT(path, keep_tensors=True), np.random.default_rng(seed)
    lows: dict[str, np.ndarray] = {}
    highs: dict[str, np.ndarray] = {}
    samples: dict[str, list[np.ndarray]] = {}
    for image in track(images, len(images), "measuring ranges"):
        for name, values in {INPUT: normalise(image[None], spec), **network.tensors(image, spec)}.items():
            channels = values.reshape(-1, values.shape[-1])
            low, high = channels.min(axis=0), channels.max(axis=0)
            lows[name] = np.minimum(low, lows[name]) if name in lows else low
            highs[name] = np.maximum(high, highs[name]) if name in highs else high
            flat = values.ravel()
            samples.setdefault(name, []).append(flat if len(flat) <= SAMPLES else flat[rng.integers(0, len(flat), SAMPLES)])
    return {name: TensorRange(lows[name], highs[name], np.concatenate(samples[name])) for name in lows}
