"""What SCRFD's outputs mean (Guo et al. 2021): which output of a HEF is which, and the faces in them.

At each place of three maps, for strides of 8, 16 and 32 pixels, two anchors give a score, the distances to
the left, upper, right and lower side of the box, and the offsets of five points, both in strides from the
place. Sources: InsightFace's public code, and the scripts and post-processing of Hailo's Model Zoo.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.formats.hef import Hef, Stream
from fer_hailo.predict.device import RUNNABLE

STRIDES, ANCHORS = (8, 16, 32), 2  # places are the upper left corners of the strides
SCORE, BOX, POINTS = 1, 4, 10  # numbers of an anchor
ZOO = "Hailo's Model Zoo"
LARGEST = {"UINT8": 0xFF, "UINT16": 0xFFFF}  # stored values
SLACK = 0.1  # by which probabilities may lie beyond 0 and 1
DOUBTFUL = -1.0  # a logit that says "no face" lies below; so high a one still means 27 %


@dataclass(frozen=True)
class Level:
    """The outputs of one stride, by their names. logits: whether scores are still to go through a sigmoid."""

    stride: int
    score: str
    box: str
    points: str
    logits: bool


@dataclass(frozen=True)
class Scrfd:
    """A network of this kind. shape: height and width of the image that it takes."""

    shape: tuple[int, int]
    levels: tuple[Level, ...]


def recognise(hef: Hef, path: Path | str) -> Scrfd:
    """Which output of a HEF is which, by their shapes.

    Raises UserError for a HEF that is no SCRFD, or that neither Hailo-8 nor Hailo-8L runs.
    """
    if hef.architecture not in RUNNABLE:
        raise UserError(
            f"{path} is for {hef.architecture}, none of {', '.join(RUNNABLE)}: {file_for('your chip')}"
        )
    inputs, outputs = hef.groups[0].inputs, hef.groups[0].outputs
    source = inputs[0]
    if len(hef.groups) > 1 or len(inputs) > 1 or source.order != "NHWC" or source.shape[2:] != (3,):
        raise _other(path, "it does not take one RGB image")
    if source.type != "UINT8" or not source.takes_bytes:
        raise _other(path, "it does not take the bytes 0 to 255")
    by_shape = {stream.shape: stream for stream in outputs if stream.order in ("NHWC", "FCR")}
    high, wide = source.shape[:2]
    wanted = {
        stride: [(high // stride, wide // stride, ANCHORS * part) for part in (SCORE, BOX, POINTS)]
        for stride in STRIDES
    }
    shapes = {shape for level in wanted.values() for shape in level}
    if len(outputs) != len(shapes) or set(by_shape) != shapes:
        there = ", ".join("x".join(map(str, stream.shape)) for stream in outputs[: len(shapes)])
        raise _other(path, f"its outputs are {there}")
    levels = []
    for stride, level in wanted.items():
        score, box, points = (by_shape[shape] for shape in level)
        levels.append(Level(stride, score.name, box.name, points.name, _are_logits(score, path)))
    return Scrfd((high, wide), tuple(levels))


def file_for(chip: str) -> str:
    """What to do with a detector that is for another chip than this one."""
    return f"take the file that {ZOO} has for {chip}"


def decode(
    outputs: Mapping[str, np.ndarray], levels: tuple[Level, ...], least: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The anchors with a score of at least `least`, all that overlap among them, the surest first.

    outputs: each output's float32 (h, w, numbers) by its name, dequantized. least: between 0 and 1. Returns
    boxes (N, 4) as x, y, width and height, scores (N,) from 0 to 1, points (N, 5, 2) as x, y: the right eye,
    the left one, the nose, the right and the left corner of the mouth, right being the person's own. All
    float32, in pixels of the network's input, and may reach beyond it.
    """
    boxes, scores, points = [], [], []
    for level in levels:
        values = outputs[level.score]
        rows, columns, anchors = np.nonzero(values >= (_logit(least) if level.logits else least))
        found = values[rows, columns, anchors]
        place = np.stack([columns, rows], axis=1).astype(np.float32)
        sides = _of_anchors(outputs[level.box], BOX)[rows, columns, anchors]
        offsets = _of_anchors(outputs[level.points], POINTS)[rows, columns, anchors]
        corner, far = place - sides[:, :2], place + sides[:, 2:]
        boxes.append(level.stride * np.hstack([corner, far - corner]))
        points.append(level.stride * (place[:, None] + offsets.reshape(-1, 5, 2)))
        scores.append(1 / (1 + np.exp(-found)) if level.logits else found)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return np.concatenate(boxes)[order], np.concatenate(scores)[order], np.concatenate(points)[order]


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def _of_anchors(values: np.ndarray, part: int) -> np.ndarray:
    """(h, w, anchors * part) to (h, w, anchors, part): an anchor's numbers lie side by side."""
    return values.reshape(*values.shape[:2], ANCHORS, part)


def _are_logits(score: Stream, path: Path | str) -> bool:
    """Whether a score map holds logits, by the values that its quantisation can express.

    Probabilities need 0 to 1 and no more: the chip's sigmoid has scale 1/255 and zero point 0. Logits that
    reject anything reach far below 0, since most places show no face. What lies in between is neither.
    """
    scale, zero = score.qp_scale, score.qp_zp
    if scale and zero is not None and not score.damaged:
        low, high = scale * (0 - zero), scale * (LARGEST[score.type] - zero)
        if low < DOUBTFUL < high:
            return True
        if -SLACK <= low < high <= 1 + SLACK:
            return False
    raise _other(
        path,
        f"its scores ({score.name}, scale {scale}, zero point {zero}) are neither probabilities nor logits",
    )


def _other(path: Path | str, why: str) -> UserError:
    names = "scrfd_500m.hef, scrfd_2.5g.hef or scrfd_10g.hef"
    return UserError(f"{path} is no SCRFD face detector, {why}: take {names} of {ZOO}")
