"""Scores of a converted network on the bundle's pictures: the same metrics as on the training machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fer_hailo.errors import UserError
from fer_hailo.hailo.bundle import EvalSet
from fer_hailo.metrics import compute_metrics, softmax
from fer_hailo.progress import track

CHUNK = 256
SPLITS = ("val", "test")


def score(
    infer: Callable[[np.ndarray], np.ndarray], pictures: EvalSet, names: Sequence[str], *, data: str, digests: dict[str, str], label: str
) -> dict[str, dict]:
    """Metrics of a network for each split that `pictures` holds: {"val": metrics, "test": metrics}.

    infer: uint8 (N, I, I, 3) to logits (N, C), (N, 1, 1, C) or the like. digests: the SHA-256 that names the pictures of a split.
    Raises UserError where the answers are not one row of numbers for a picture.
    """
    starts = range(0, len(pictures.labels), CHUNK)
    parts = [infer(pictures.images[i : i + CHUNK]) for i in track(starts, len(starts), label)]
    logits = np.concatenate([_rows(part, len(names), min(CHUNK, len(pictures.labels) - i)) for part, i in zip(parts, starts, strict=True)])
    found = {}
    for split in SPLITS:
        side = pictures.split == split
        if side.any():
            try:
                found[split] = compute_metrics(
                    softmax(logits[side]), pictures.labels[side], names, data=data, split=split, sha256=digests[split]
                )
            except ValueError as error:
                raise UserError(f"{label}: {error}") from None
    return found


def _rows(answers: np.ndarray, classes: int, count: int) -> np.ndarray:
    answers = np.asarray(answers, np.float64)
    if answers.size != count * classes:
        raise UserError(f"the network gives an output of shape {answers.shape} for {count} pictures and {classes} classes")
    return answers.reshape(count, classes)
