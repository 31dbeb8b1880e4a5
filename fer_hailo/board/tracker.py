"""The same face from frame to frame: a number that stays, and probabilities smoothed over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fer_hailo.board.frames import Reading

OVERLAP = 0.3  # least intersection over union of a face's boxes in two frames
PATIENCE_S = 1.0  # a face that was not seen for longer is another one when it comes back


@dataclass
class _Track:
    number: int
    box: tuple[int, int, int, int]
    seen_s: float
    probabilities: np.ndarray


class Tracker:
    """Follows the faces of one video or camera by the overlap of their boxes, best pairs first (Bochinski et
    al. 2017).

    smooth_s: time constant of the smoothing in seconds: after it, 63 % of a change have come through, at any
    frame rate. 0: none.
    """

    def __init__(self, smooth_s: float = 0.5):
        self.smooth_s = smooth_s
        self._tracks: list[_Track] = []
        self._count = 0

    def update(self, readings: Sequence[Reading], time_s: float) -> tuple[Reading, ...]:
        """The readings of the next frame with track numbers and smoothed probabilities. time_s: seconds,
        never falling.
        """
        self._tracks = [track for track in self._tracks if time_s - track.seen_s <= PATIENCE_S]
        pairs = sorted(
            (
                (overlap(track.box, reading.box), t, r)
                for t, track in enumerate(self._tracks)
                for r, reading in enumerate(readings)
            ),
            reverse=True,
        )
        found, taken = {}, set()
        for share, t, r in pairs:
            if share >= OVERLAP and r not in found and t not in taken:
                found[r] = self._tracks[t]
                taken.add(t)
        return tuple(self._follow(reading, found.get(r), time_s) for r, reading in enumerate(readings))

    def _follow(self, reading: Reading, track: _Track | None, time_s: float) -> Reading:
        if track is None:
            self._count += 1
            track = _Track(self._count, reading.box, time_s, reading.probabilities)
            self._tracks.append(track)
        else:
            share = 1 - math.exp(-(time_s - track.seen_s) / self.smooth_s) if self.smooth_s else 1.0
            track.probabilities = track.probabilities + share * (reading.probabilities - track.probabilities)
            track.box, track.seen_s = reading.box, time_s
        return replace(reading, track=track.number, probabilities=track.probabilities)


def overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """Intersection over union of two boxes (x, y, width, height)."""
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    high = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(0, wide) * max(0, high)
    return shared / max(1, one[2] * one[3] + other[2] * other[3] - shared)
