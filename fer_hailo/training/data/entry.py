"""One image of a data set, and what every source of images offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

SIDES = ("train", "val", "test")
FOLDERS = {
    "training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test",
} | {side: side for side in SIDES}  # fmt: skip


def side_of(name: str) -> str:
    """The side that a folder, or a value in a list, means: train, val or test; empty where it means none."""
    return FOLDERS.get(name.strip().lower(), "")


@dataclass(frozen=True)
class Entry:
    """One image of a source. label: as the source calls it, in lower case. split is one of SIDES, or empty
    where the layout has none. votes: how many people chose each class of
    fer_hailo.training.data.ferplus.FERPLUS, empty where nobody was asked.
    """

    id: str
    label: str
    split: str
    votes: tuple[float, ...] = ()


class Source(Protocol):
    """A place that holds images. `entries` are sorted by id, so that folder and zip give one order."""

    name: str
    entries: list[Entry]

    def read(self, entry: Entry) -> bytes | np.ndarray:
        """The encoded file, or uint8 (H, W). Raises ValueError for a damaged image."""

    def digest(self) -> str:
        """SHA-256 of all that the source holds."""
