"""int8_answers.npz: what the SDK's INT8 emulation answered, image by image, so that a board can be held
against it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from fer_hailo.common.errors import UserError, one_line
from fer_hailo.common.files import written
from fer_hailo.deploy.bundle import file_sha256

ANSWERS = "int8_answers.npz"


@dataclass(frozen=True)
class Answers:
    """logits: float32 (N, C). index: int64 (N,), the images' places in the bundle's evaluation set.
    evaluation: SHA-256 of its file.
    """

    logits: np.ndarray
    index: np.ndarray
    evaluation: str


def write_answers(path: Path, answers: Answers) -> str:
    """Write the file atomically. Returns its SHA-256."""
    with written(path) as beside:
        np.savez_compressed(beside, **vars(answers))
    return file_sha256(path)


def read_answers(path: Path) -> Answers:
    """Read the file. Raises UserError where it is none."""
    try:
        with np.load(path) as file:
            logits, index, evaluation = (file[field.name] for field in fields(Answers))
        if logits.ndim != 2 or index.shape != logits.shape[:1] or index.dtype.kind != "i":
            raise ValueError(
                f"logits of shape {logits.shape} for {index.dtype} images of shape {index.shape}"
            )
    except Exception as error:  # NumPy raises whatever a damaged file leads it to
        raise UserError(
            f"{path} does not hold the SDK's predictions ({one_line(error, 80)}): copy it again"
        ) from None
    return Answers(logits, index, str(evaluation))
