"""FER+ (Barsoum et al. 2016): what ten people said of each image of FER2013."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from fer_hailo.common.errors import UserError, one_line
from fer_hailo.common.reading import DAMAGED, read_text

# Then: unknown, no face
FERPLUS = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")
VOTES = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "NF",
)


def majority(votes: Sequence[float] | np.ndarray) -> str | None:
    """The class for which more than half of the people voted, of ten counts: FERPlus' eight classes, unknown,
    no face.

    As its authors count (Barsoum et al. 2016), a single vote for a class is a slip. None where there is no
    majority, or where it says that there is nothing to see.
    """
    counts = np.where(np.asarray(votes, float) > 1, votes, 0)
    best = int(counts.argmax())
    return FERPLUS[best] if best < len(FERPLUS) and counts[best] > counts.sum() / 2 else None


def read_votes(path: Path | str) -> dict[str, np.ndarray]:
    """Votes by image, of those on which somebody voted: {name without its ending: float (10,), in the order
    of VOTES}.

    Reads a CSV with columns `split`, `class`, `file` (names like train/happy/a), or `file` alone (names like
    a), or Microsoft's fer2013new.csv, whose rows are those of fer2013.csv (Training_00000 ..., as
    data/sources.py names these).
    """
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path, "utf-8-sig"), newline="")))
    except DAMAGED as error:
        raise UserError(f"cannot read the votes {path}: {one_line(error, 80)}") from None
    missing = [name for name in VOTES if not rows or name not in rows[0]]
    if missing or not ({"file", "Usage"} & set(rows[0])):
        raise UserError(
            f"{path} holds no FER+ votes: it needs the columns {', '.join(VOTES)} and either file or Usage"
        )
    try:
        votes = {
            _name(row, i): np.array([float(row[vote] or 0) for vote in VOTES]) for i, row in enumerate(rows)
        }
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} holds votes that are no numbers ({one_line(error, 80)})") from None
    bad = [name for name, counts in votes.items() if not (np.isfinite(counts) & (counts >= 0)).all()]
    if bad:
        raise UserError(f"{path} holds votes that are no numbers of people ({bad[0]})")
    return {name: counts for name, counts in votes.items() if counts.any()}


def _name(row: dict, number: int) -> str:
    if "file" not in row:
        return f"{row['Usage']}_{number:05d}"
    place = [row["split"], row["class"]] if {"split", "class"} <= set(row) else []
    return "/".join([*place, PurePosixPath(row["file"]).stem])
