"""Scores of a converted network on the bundle's images: the same metrics as on the training machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.common.metrics import Splits, compute_metrics, softmax
from fer_hailo.common.progress import track
from fer_hailo.common.workers import shared_out
from fer_hailo.deploy.bundle import EvalSet

CHUNK = 256
SPLITS = ("val", "test")
CAUSES = "look for dead channels in conversion.html and for extreme settings in the model script"


class Images(Protocol):
    """An array of images, or what reads them from disk as they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> np.ndarray: ...


Infer = Callable[[np.ndarray], np.ndarray]


def logits_of(infer: Infer | Sequence[Infer], images: Images, classes: int, label: str) -> np.ndarray:
    """Logits float64 (N, C) of a network, chunk by chunk. images: uint8 (N, I, I, 3).

    infer: such images to (N, C), (N, 1, 1, C) or the like; several, which are the same network, share the
    images. Raises UserError where it does not give `classes` numbers an image.
    """
    workers = [infer] if callable(infer) else infer
    starts = range(0, len(images), CHUNK)
    answers = shared_out(workers, (images[start : start + CHUNK] for start in starts))
    parts = [
        _rows(answer, classes, min(CHUNK, len(images) - start))
        for start, answer in zip(starts, track(answers, len(images), label, each=CHUNK), strict=True)
    ]
    return np.concatenate(parts)


def score(
    logits: np.ndarray,
    pictures: EvalSet,
    names: Sequence[str],
    *,
    data: str,
    digests: dict[str, str],
    stage: str,
) -> Splits:
    """Metrics for each split that `pictures` holds: {"val": metrics, "test": metrics}.

    logits: (N, C). digests: the SHA-256 that names the images of a split. Raises UserError for values that
    are not finite.
    """
    found: Splits = {}
    for split in SPLITS:
        side = pictures.split == split
        if side.any():
            try:
                found[split] = compute_metrics(
                    softmax(logits[side]),
                    pictures.labels[side],
                    names,
                    data=data,
                    split=split,
                    sha256=digests[split],
                )
            except ValueError as error:
                raise UserError(f"{stage}: {error}; no accuracy can be stated: {CAUSES}") from None
    return found


def agreement(logits: np.ndarray, expected: np.ndarray) -> float:
    """Part of the images with the same prediction."""
    return float((logits.argmax(axis=1) == expected.argmax(axis=1)).mean())


def _rows(answers: np.ndarray, classes: int, count: int) -> np.ndarray:
    answers = np.asarray(answers, np.float64)
    if answers.size != count * classes:
        raise UserError(
            f"the network gives an output of shape {answers.shape} for {count} images and {classes} classes"
        )
    return answers.reshape(count, classes)
