"""What every reader here does: it gives a text that describes what was read, or raises UserError."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from fer_hailo.common.errors import UserError

ROOT = Path(__file__).parents[2]
SAVED = ROOT / "tests" / "saved"
Reader = Callable[[Path], str]


def said(value: object) -> str:
    """A description for which nothing is asked but that it could be made."""
    return f"{type(value).__name__}"


def either(problem: str, path: Path) -> str:
    """ "read", or the UserError that the commands make of a problem told as a predicate."""
    if problem:
        raise UserError(f"{path} {problem}")
    return "read"


def copied(template: Path, path: Path) -> tuple[Path, Path]:
    """A temporary copy, by links, of a folder in which the file `path`, named 7__FOLDER__NAME, takes the
    place of FOLDER/NAME: (copy, its file). The caller removes it.
    """
    folder = Path(tempfile.mkdtemp(prefix="fuzz_"))
    # Links, since copies of all files would take most of the time; nothing is written through them
    shutil.copytree(template, folder, copy_function=os.symlink, dirs_exist_ok=True)
    place = folder.joinpath(*path.name.split("__")[1:])
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    shutil.copy(path, place)
    return folder, place
