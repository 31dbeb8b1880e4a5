"""What a model answers on clean and corrupted faces, kept corruption by corruption: what is there is not
asked for again.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_hailo.common.files import written
from fer_hailo.common.progress import track
from fer_hailo.robustness.corruptions import corrupt_all
from fer_hailo.robustness.faces import BLOCK, Faces
from fer_hailo.robustness.models import Contender, Session
from fer_hailo.robustness.table import SEED, TABLE, Corruption

VERSION = 1  # of fer_hailo.robustness.corruptions: answers to faces of another are asked for again
CLEAN = "clean"
UNITS: dict[str, Corruption | None] = {CLEAN: None} | {row.name: row for row in TABLE}


@dataclass(frozen=True)
class Answers:
    """probabilities: float32 (strengths, N, C), by the corruption's name; one strength of "clean"."""

    contender: Contender
    stage: str
    probabilities: dict[str, np.ndarray]


def measure(contender: Contender, faces: Faces, digest: str) -> Answers:
    """Ask a model for all that is not kept in `faces.folder` yet. digest: of the faces.

    KeyboardInterrupt leaves what was answered before; its text says so.
    """
    folder = faces.folder / "answers" / re.sub(r"[^\w.-]+", "_", contender.name)
    paths = {name: folder / f"{name}_{_key(contender, digest, row)}.npz" for name, row in UNITS.items()}
    found = {name: kept for name, path in paths.items() if (kept := _read(path))}
    missing = [name for name in paths if name not in found]
    if not missing:
        print(f"{contender.name}: kept in {folder}", file=sys.stderr)
    else:
        try:
            with contender.open() as session:
                for name in track(missing, len(missing), contender.name):
                    found[name] = session.stage, _answer(session, faces, UNITS[name])
                    _write(paths[name], *found[name])
        except KeyboardInterrupt:
            said = f"what was measured is kept in {folder}, the same command goes on"
            raise KeyboardInterrupt(said) from None
    return Answers(contender, found[CLEAN][0], {name: found[name][1] for name in paths})


def _answer(session: Session, faces: Faces, row: Corruption | None) -> np.ndarray:
    strengths = range(1, len(row.amounts) + 1) if row else (0,)
    answers = session.answer(block for strength in strengths for block in _blocks(faces, row, strength))
    return answers.reshape(len(strengths), len(faces), -1).astype(np.float32)


def _blocks(faces: Faces, row: Corruption | None, strength: int) -> Iterator[np.ndarray]:
    for start in range(0, len(faces), BLOCK):
        block = faces.images[start : start + BLOCK]
        yield corrupt_all(block, row, strength) if row else block


def _key(contender: Contender, digest: str, row: Corruption | None) -> str:
    whole = repr((VERSION, contender.digest, digest, SEED, tuple(row or ())))
    return hashlib.sha256(whole.encode()).hexdigest()[:12]


def _read(path: Path) -> tuple[str, np.ndarray] | None:
    """Stage and probabilities; None where there are none, or the file is damaged."""
    with contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile), np.load(path) as file:
        return str(file["stage"]), file["probabilities"]
    return None


def _write(path: Path, stage: str, probabilities: np.ndarray) -> None:
    with written(path) as beside:
        np.savez_compressed(beside, stage=stage, probabilities=probabilities)
