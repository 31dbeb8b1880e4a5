"""The library's files that are no code: recipes, model scripts, released models.

In the repository they lie at its top level, where people look for them; a wheel holds them in
fer_hailo/shipped (setup.py puts them there). Standard library only.
"""

from __future__ import annotations

import importlib.resources
import os
from pathlib import Path

FOLDERS = ("configs", "alls", "fer2013_keras_hailo/released", "fer2013_keras_hailo/released_minimalistic")
SHIPPED = "shipped"


def resource(name: str) -> Path:
    """Where one of FOLDERS, or a file in it, lies on this machine.

    name: its path in the repository. Neither need exist.
    """
    return (checkout() or _package() / SHIPPED) / name


def find(path: Path | str) -> Path:
    """A path as a user or a recipe gives it.

    What is not there, seen from the current folder, and is in one of FOLDERS is looked for among the
    library's own files.
    """
    path = Path(path)
    return path if path.exists() else shipped(path) or path


def shipped(path: Path | str) -> Path | None:
    """The library's own file of this path in the repository; None where it is not in FOLDERS."""
    path = Path(path)
    own = resource(path.as_posix())
    return own if any(path.is_relative_to(folder) for folder in FOLDERS) and own.exists() else None


def recipes() -> Path:
    """The folder of networks and methods, which has the recipe of each in NAME/recipe.yaml."""
    return _package() / "training" / "networks"


def checkout() -> Path | None:
    """The top of the repository that this library is a part of; None of a wheel, and in compile_hef.pyz."""
    root = _package().parent
    return root if (root / "train.py").is_file() and not (_package() / SHIPPED).is_dir() else None


def importable() -> dict[str, str]:
    """Environment variables by which another Python finds this library: of a checkout; none where it is
    installed.
    """
    root = checkout()
    return (
        {"PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))}
        if root
        else {}
    )


def _package() -> Path:
    return Path(str(importlib.resources.files("fer_hailo")))
