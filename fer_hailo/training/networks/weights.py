"""Initial weights: what the option `weights` says, read once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from fer_hailo.common.errors import UserError
from fer_hailo.common.released import PREFIX, place
from fer_hailo.common.resources import find
from fer_hailo.common.runs import MODEL
from fer_hailo.formats.checkpoint import SUFFIXES


class Kind(Enum):
    """Where weights come from; of a file, the suffix that tells."""

    SCRATCH = "none"
    IMAGENET = "imagenet"
    MODEL = ".keras"  # of this project
    BACKBONE = ".h5"  # as Keras saves weights
    ARRAYS = ".npz"  # tensors by their names
    PYTORCH = ".pth"
    DLIB = ".dat"
    UNKNOWN = ""


CHECKPOINTS = (Kind.ARRAYS, Kind.PYTORCH)  # which may be several files


@dataclass(frozen=True)
class Weights:
    """Initial weights.

    text: as a recipe or a user names them. files: where they lie; none of the first two kinds.
    """

    text: str
    kind: Kind
    files: tuple[str, ...] = ()


def parse_weights(text: str) -> Weights:
    """What the option says: imagenet, none, released:NAME, a run's folder, a file, checkpoints with commas.

    No file need exist. Raises UserError for an unknown released model.
    """
    if text in (Kind.SCRATCH.value, Kind.IMAGENET.value):
        return Weights(text, Kind(text))
    if text.startswith(PREFIX):
        return Weights(text, Kind.MODEL, (str(place(text) / MODEL),))
    if (Path(text) / MODEL).is_file():
        return Weights(text, Kind.MODEL, (str(Path(text) / MODEL),))
    files = tuple(part.strip() for part in text.split(","))
    if all(file.endswith(SUFFIXES) for file in files):
        arrays = all(file.endswith(Kind.ARRAYS.value) for file in files)
        return Weights(text, Kind.ARRAYS if arrays else Kind.PYTORCH, files)
    kinds = (Kind.MODEL, Kind.BACKBONE, Kind.DLIB)
    kind = next((kind for kind in kinds if text.endswith(kind.value)), Kind.UNKNOWN)
    return Weights(text, kind, (str(find(text)) if kind is Kind.MODEL else text,))


def check_weights(text: str) -> None:
    """Raise UserError for what is no weights, or a file that is missing: found before data is read."""
    weights = parse_weights(text)
    if weights.kind is Kind.UNKNOWN:
        raise UserError(
            f"weights must be imagenet, none, released:NAME, a run's folder, or a .keras, .h5, .npz or .pth "
            f"file, got {text}"
        )
    for file in weights.files:
        if not text.startswith(PREFIX) and not Path(file).is_file():
            raise UserError(f"no {'model' if weights.kind is Kind.MODEL else 'weights'} at {file}")
