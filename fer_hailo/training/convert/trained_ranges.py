"""ranges.json: the INT8 ranges that a network was trained for."""

from __future__ import annotations

import math
from pathlib import Path

from fer_hailo.common.files import write_json
from fer_hailo.common.reading import read_json, reading

RANGES = "ranges.json"


def write_ranges(folder: Path, limits: dict[str, tuple[float, float]]) -> None:
    """Write FOLDER/ranges.json: {LiteRT's name of a tensor: [low, high]}."""
    write_json(folder / RANGES, limits)


def read_ranges(folder: Path) -> dict[str, tuple[float, float]]:
    """{LiteRT's name of a tensor: (low, high)}. Raises UserError for a file that is missing or damaged."""
    path = folder / RANGES
    with reading(path, "does not tell the ranges that this network was trained for", "copy the run again"):
        values = {str(name): (float(low), float(high)) for name, (low, high) in read_json(path).items()}
        if not values or not all(
            math.isfinite(high - low) and low <= 0 <= high for low, high in values.values()
        ):
            raise ValueError("a range is low, high with 0 between")
    return values
