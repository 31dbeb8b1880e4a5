"""The released models by name: `released:NAME` stands for a run folder in recipes and commands, and
`released:NAME/FILE` for a file in it.
"""

from __future__ import annotations

from pathlib import Path

from fer_hailo.common.cli import nearest
from fer_hailo.common.errors import UserError
from fer_hailo.common.resources import checkout, find, resource
from fer_hailo.common.runs import RUNS

PREFIX = "released:"
# Folders
RELEASED = {"mobilenet_v3_small": "released", "mobilenet_v3_small_minimalistic": "released_minimalistic"}
DEFAULT = "mobilenet_v3_small"
TOP = "fer2013_keras_hailo"  # the folder of theirs, in the repository and in a wheel


def released(name: str = DEFAULT) -> Path:
    """The folder of a released model: beside the runs where it lies there, else the library's own. NAME/FILE:
    a file in it.

    A wheel's folder holds the TFLite models, not the Keras one. Raises UserError for an unknown name.
    """
    name, _, file = name.partition("/")
    if name not in RELEASED:
        known = ", ".join(PREFIX + each for each in RELEASED)
        raise UserError(f"unknown released model '{name}'{nearest(name, RELEASED)}: known are {known}")
    beside = RUNS / RELEASED[name]
    return (beside if beside.is_dir() else resource(f"{TOP}/{RELEASED[name]}")) / file


def shown(model: Path) -> str:
    """A model file as people read it and name it: a wheel's own, deep among Python's packages, as
    released:NAME/FILE.
    """
    if not checkout():
        for name, folder in RELEASED.items():
            if model.parent == resource(f"{TOP}/{folder}"):
                return f"{PREFIX}{name}/{model.name}"
    return str(model)


def place(name: Path | str) -> Path:
    """A run folder or model file as a user or a recipe names it, by path or released:NAME.

    It need not exist.
    """
    name = str(name)
    return released(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else find(name)


def absent(model: Path) -> str:
    """Why there is no model at this path, in one line."""
    folder = model.parent
    if checkout() or folder.parent != resource(TOP) or model.suffix == ".tflite":
        return f"no model at {shown(model)}"
    return (
        f"an installed fer-hailo holds the TFLite models of {TOP}/{folder.name}, not its {model.name}: "
        f"copy that folder of the project's repository to {RUNS / folder.name}"
    )
