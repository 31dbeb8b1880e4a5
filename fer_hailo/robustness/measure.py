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

AT_ONCE = 2**29  # bytes of faces that a program is asked in one call, if that does not cut a corruption
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
                groups = _groups(missing, contender, faces)
                for names in track(groups, len(groups), contender.name):
                    for name, answers in _ask(session, faces, names).items():
                        found[name] = session.stage, answers
                        _write(paths[name], *found[name])
        except KeyboardInterrupt:
            said = f"what was measured is kept in {folder}, the same command goes on"
            raise KeyboardInterrupt(said) from None
    return Answers(contender, found[CLEAN][0], {name: found[name][1] for name in paths})


def _groups(names: list[str], contender: Contender, faces: Faces) -> list[list[str]]:
    """What to ask in one call."""
    size = max(1, AT_ONCE // (3 * faces.images.nbytes)) if contender.starts_slowly else 1
    return [names[i : i + size] for i in range(0, len(names), size)]


def _ask(session: Session, faces: Faces, names: list[str]) -> dict[str, np.ndarray]:
    """float32 (strengths, N, C) for each name."""
    cells = [(name, strength) for name in names for strength in ((1, 2, 3) if UNITS[name] else (0,))]
    answers = session.answer(block for cell in cells for block in _blocks(faces, *cell))
    whole = answers.reshape(len(cells), len(faces), -1).astype(np.float32)
    return {name: whole[[i for i, cell in enumerate(cells) if cell[0] == name]] for name in names}


def _blocks(faces: Faces, name: str, strength: int) -> Iterator[np.ndarray]:
    row = UNITS[name]
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
