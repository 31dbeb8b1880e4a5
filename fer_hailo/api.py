"""The library for other programs: what `fer_hailo.load` gives, by the same code as `fer-hailo run`."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_hailo.board.analysis import Analyzer
from fer_hailo.board.faces import open_detector
from fer_hailo.board.images import read_picture
from fer_hailo.common.errors import UserError
from fer_hailo.deploy.home import DRAWN, resolve
from fer_hailo.predict.predictor import load


@dataclass(frozen=True)
class Face:
    """A face and its expression.

    box: x, y, width, height in pixels of the image; may reach beyond it. label: the most probable expression.
    probabilities: of every expression, 0 to 1, in all 1. sure: False where predictions of so low a
    probability are wrong too often.
    """

    box: tuple[int, int, int, int]
    label: str
    probabilities: dict[str, float]
    sure: bool


class Model:
    """A classifier with a face detector. One thread at a time; `with` closes it.

    labels: the expressions. path: the model file.
    """

    def __init__(self, path: Path | str, detector: str = "yunet", threads: int = 1):
        home = resolve(path)
        if home.learnt_drawn:
            warnings.warn(f"{home.model} {DRAWN}", stacklevel=2)
        self.path = home.model
        with ExitStack() as stack:
            found = open_detector(detector)
            stack.callback(found.close)
            self._predictor = stack.enter_context(load(home, threads))
            self._analyzer = Analyzer(self._predictor, [found])
            self._open = stack.pop_all()
        self.labels = self._predictor.labels

    def predict(self, image: Path | str | np.ndarray) -> list[Face]:
        """The faces of a photograph, the largest first; an empty list where there is none.

        image: the path of an image file, or uint8 (H, W, 3) RGB. Raises UserError for a file that cannot be
        read, ValueError for another array.
        """
        pixels = image if isinstance(image, np.ndarray) else _read(image)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise ValueError(f"a photograph must be uint8 (H, W, 3) RGB, got {pixels.dtype} {pixels.shape}")
        pixels = np.ascontiguousarray(pixels)
        faces = self._analyzer.search(pixels)
        if not faces:
            return []
        readings = self._analyzer.readings(faces, self._analyzer.classify(pixels, faces))
        return [
            Face(
                read.box,
                read.label,
                dict(zip(read.labels, map(float, read.probabilities), strict=True)),
                read.sure,
            )
            for read in readings
        ]

    def close(self) -> None:
        """Give back what the networks hold (a device)."""
        self._open.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *problem) -> None:
        self.close()


def _read(path: Path | str) -> np.ndarray:
    try:
        return read_picture(path)
    except ValueError as problem:
        raise UserError(f"{path} {problem}") from None
