"""The faces that models are scored on, not enlarged yet: of a data set, or of a deploy bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_hailo.board.deployed import as_in, bundle_for, side_of
from fer_hailo.common.calls import install
from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec, cubic_matrix
from fer_hailo.deploy.bundle import Bundle, load_bundle
from fer_hailo.deploy.home import Home

BLOCK = 64
PASSES = 10  # after these all but one of 1,000 faces of FER2013 were right within a grey level, at 128 pixels


@dataclass(frozen=True)
class Faces:
    """images: uint8 (N, S, S[, 3]). labels: int64 (N,). names: of the classes. folder: where what is measured
    on them goes.
    """

    images: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    data: str
    split: str
    folder: Path

    def __len__(self) -> int:
        return len(self.labels)

    def sha256(self) -> str:
        """Digest of images and labels in their order, as that of a data set's side."""
        labels = self.labels.astype("<i8").tobytes()
        return hashlib.sha256(np.ascontiguousarray(self.images).tobytes() + labels).hexdigest()


def faces_for(homes: Sequence[Home], split: str) -> tuple[Faces, list[Home]]:
    """The faces that these models are all to be scored on, and the models, with their labels and
    preprocessing.

    Those of the deploy bundle in which they all lie, or which --data names, else those of a data set. Raises
    UserError where there is no such set of faces.
    """
    bundles = {bundle_for(home) for home in homes}
    folder = bundles.pop() if len(bundles) == 1 else None
    if folder:
        bundle = load_bundle(folder)
        return _of_bundle(bundle, split), [as_in(bundle, home) for home in homes]
    return _of_data(homes, split), list(homes)


def source_faces(images: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
    """The faces from which `prepare` enlarged images: uint8 (N, I, I, 3) to uint8 (N, *spec.source_shape).

    Least squares; a pixel of 0 or 255 may have been cut off there, so what lies beyond is taken from the
    estimate before. Raises UserError where images are smaller than the faces were.
    """
    if spec.input_size < spec.source_size:
        raise UserError(
            f"images of {spec.input_size} pixels do not tell the faces of {spec.source_size} that they were "
            "made from: name the data set with --data"
        )
    parts = [_enlarged_from(images[i : i + BLOCK], spec) for i in range(0, len(images), BLOCK)]
    return np.concatenate(parts)


def _enlarged_from(images: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
    matrix = cubic_matrix(spec.source_size, spec.input_size).astype(np.float64)
    back = np.linalg.pinv(matrix)
    large = np.moveaxis(images if spec.color else images[..., :1], -1, 1).astype(np.float64)
    small = back @ large @ back.T
    for _ in range(PASSES):
        again = matrix @ np.clip(small, 0, 255) @ matrix.T
        beyond = np.where(large == 255, np.maximum(again, 255), np.minimum(again, 0))
        small = back @ np.where((large == 0) | (large == 255), beyond, large) @ back.T
    faces = np.clip(np.rint(small), 0, 255).astype(np.uint8)
    return np.moveaxis(faces, 1, -1) if spec.color else faces[:, 0]


def _of_bundle(bundle: Bundle, split: str) -> Faces:
    pictures = side_of(bundle, split)[1]
    images, data = source_faces(pictures.images, bundle.spec), bundle.manifest.data.name
    return Faces(images, pictures.labels, bundle.labels, data, split, bundle.folder / "corruptions")


def _of_data(homes: Sequence[Home], split: str) -> Faces:
    try:
        from fer_hailo.training.evaluate.evaluation import load_side
    except ImportError as error:
        raise UserError(
            f"scoring on a data set needs the training packages ({error}): {install('train')}; on the board "
            "name models of one deploy bundle"
        ) from None
    sides = [load_side(home, split) for home in homes]
    dataset, part = sides[0]
    for home, (other, same) in zip(homes, sides, strict=True):
        if other.names != dataset.names or same.sha256() != part.sha256():
            raise UserError(
                f"{homes[0].model} and {home.model} are scored on different images or classes: split or "
                "prepared otherwise; measure them one by one"
            )
    place = f"corruptions_{dataset.name.replace(' ', '_')}_{dataset.key[:8]}"
    folder = homes[0].results.parent / place
    return Faces(np.asarray(part.images), part.labels, dataset.names, dataset.name, split, folder)
