"""The official networks as numbers: weights by a formula, and what the authors' own code computed with them (tests/models/parity)."""

import json
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "parity"


def specification(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def tensors(spec: dict) -> dict[str, np.ndarray]:
    """All tensors of the official state dict, float32 in PyTorch's layout."""
    return {name: _tensor(i, shape, rule, spec["fan_in_scale"]) for i, (name, shape, rule) in enumerate(spec["keys"])}


def _tensor(i: int, shape: list[int], rule: str, scale: float) -> np.ndarray:
    numbers = np.arange(1, np.prod(shape) + 1, dtype=np.float64) * 12.9898
    numbers += (i + 1) * 78.233  # both products are rounded before the sum
    np.sin(numbers, out=numbers)
    numbers *= 43758.5453
    numbers -= np.floor(numbers)
    fan_in = np.prod(shape[1:]) if len(shape) > 1 else 1
    slope, start = {
        "var": (1, 0.5), "mean": (0.2, -0.1), "scale": (0.4, 0.8), "prelu": (0.25, 0), "small": (0.2, -0.1),
        "fan_in": (2 * np.sqrt(3 / fan_in) * scale, -np.sqrt(3 / fan_in) * scale),
    }[rule]  # fmt: skip
    return (numbers * slope + start).astype(np.float32).reshape(shape)


def pictures(spec: dict) -> np.ndarray:
    """The input, float32 (2, I, I, 3)."""
    n, c, h, w = np.ogrid[tuple(slice(size) for size in spec["input_shape"])]
    return np.sin(0.05 * h + 0.07 * w + 1.3 * c + 0.9 * n).astype(np.float32).transpose(0, 2, 3, 1)
