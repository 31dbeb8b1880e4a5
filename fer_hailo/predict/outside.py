"""Another package's network, asked by a program of its own: in another Python environment, or no Python.

The program is called with two more arguments, FACES.npy and ANSWERS.npz. It reads the first, uint8 (N, S, S)
grey faces, prepares them in its own way, and writes the second: `probabilities` float (N, K), and `labels`
str (K,), among which are those that are asked for; what else it writes is the caller's matter.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer_hailo.common.errors import UserError, one_line, with_class

SMALLEST = 1e-12  # keeps the rows of a program that gives the classes asked for no probability at all


class Outside(NamedTuple):
    """What a program answered. probabilities: float64 (N, C) of the labels that were asked for, rows sum to
    1. rest: the other arrays of its file.
    """

    probabilities: np.ndarray
    rest: dict[str, np.ndarray]


def ask(command: Sequence[str | Path], name: str, faces: np.ndarray, labels: Sequence[str]) -> Outside:
    """Let a program classify faces, uint8 (N, S, S) grey. name: what it is called in messages.

    It runs with one OpenMP thread. Raises UserError where it fails, or its file is not as said above.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder) / "faces.npy", Path(folder) / "answers.npz"
        np.save(paths[0], faces)
        program, variables = list(map(str, [*command, *paths])), os.environ | {"OMP_NUM_THREADS": "1"}
        try:
            child = subprocess.run(program, capture_output=True, text=True, errors="replace", env=variables)
        except OSError as error:
            raise UserError(
                f"{name} cannot be started ({one_line(error, 200)}): see --peer in --help"
            ) from None
        if child.returncode:
            said = child.stderr.strip().splitlines() or ["it said nothing"]
            raise UserError(f"{name} failed: {said[-1][:200]}")
        return _answers(paths[1], name, len(faces), labels)


def _answers(path: Path, name: str, count: int, labels: Sequence[str]) -> Outside:
    try:
        with np.load(path) as file:
            content = {key: file[key] for key in file.files}
        known = [str(label) for label in content.pop("labels")]
        columns = [known.index(label) for label in labels]
        chosen = content.pop("probabilities").astype(np.float64)[:, columns] + SMALLEST
    except (OSError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile) as error:
        reason = with_class(error, one_line(error, 100))
        raise UserError(
            f"{name} wrote no probabilities of {', '.join(labels)} ({reason}): see --peer in --help"
        ) from None
    if len(chosen) != count:
        raise UserError(f"{name} answered {len(chosen):,} of {count:,} faces")
    return Outside(chosen / chosen.sum(axis=1, keepdims=True), content)
