"""What flows from a source to the outputs: an image or frame (Shot), one face's prediction (Reading), all
predictions (Result).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from fer_hailo.explain.explainer import Explanation


@dataclass(frozen=True)
class Shot:
    """An image or one frame of a video or camera, or the reason why there is none.

    source: what the user named. image: uint8 (H, W, 3) RGB, C-contiguous; None where `problem` says why.
    frame, time_s, rate: of videos and cameras: the frame's number from 0 on, its time in seconds, frames a
    second (None where unknown); an image has no number, and the time 0. taken: when it was captured, by
    time.perf_counter(): latency counts from there.
    """

    source: str
    image: np.ndarray | None
    frame: int | None = None
    time_s: float = 0.0
    rate: float | None = None
    problem: str = ""
    taken: float = field(default_factory=time.perf_counter)

    def follows(self, other: Shot) -> bool:
        """Whether it is a later frame of the same video: not of another source, nor of the same file played
        once more.
        """
        return (
            self.source == other.source
            and self.frame is not None
            and other.frame is not None
            and self.frame > other.frame
        )


@dataclass(frozen=True)
class Reading:
    """A face and its prediction. box: x, y, width, height in pixels. probabilities: float (C,), of the names
    in `labels`.

    score: the detector's. track: the same number for the same face in all frames of a source; None for
    images. unsure_below: a prediction of a lower probability is unsure. detected: False where the face was
    not searched for in this frame, but followed from an earlier one. explanation: why, where that was asked.
    """

    box: tuple[int, int, int, int]
    score: float
    labels: tuple[str, ...]
    probabilities: np.ndarray
    track: int | None = None
    unsure_below: float = 0.0
    detected: bool = True
    explanation: Explanation | None = None

    @property
    def label(self) -> str:
        return self.labels[int(self.probabilities.argmax())]

    @property
    def probability(self) -> float:
        return float(self.probabilities.max())

    @property
    def sure(self) -> bool:
        return self.probability >= self.unsure_below

    @property
    def said(self) -> str:
        """The label for people, with a question mark where it is unsure."""
        return self.label if self.sure else f"{self.label}?"

    def to_dict(self) -> dict:
        """Plain JSON values."""
        return {
            "box": list(self.box),
            "score": round(self.score, 4),
            "detected": self.detected,
            "label": self.label,
            "sure": self.sure,
            "probabilities": {
                name: round(float(p), 4) for name, p in zip(self.labels, self.probabilities, strict=True)
            },
            "track": self.track,
        }


@dataclass(frozen=True)
class Result:
    """A shot with the faces in it, the largest first."""

    shot: Shot
    faces: tuple[Reading, ...] = ()

    def to_dict(self) -> dict:
        """The JSON of one image or frame; with "problem" in place of what is not known of one that could not
        be read.
        """
        shot = self.shot
        timing = {} if shot.frame is None else {"frame": shot.frame, "time_s": round(shot.time_s, 4)}
        if shot.image is None:
            return {"source": shot.source, **timing, "problem": shot.problem}
        height, width = shot.image.shape[:2]
        return {
            "source": shot.source,
            "width": width,
            "height": height,
            **timing,
            "faces": [face.to_dict() for face in self.faces],
        }
