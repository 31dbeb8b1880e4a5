"""Find faces in a photograph: Haar cascade (comes with opencv-python 4.x) or YuNet (when its ONNX file is given)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from fer_hailo.errors import UserError


@dataclass(frozen=True)
class Face:
    """box: x, y, width, height in pixels of the picture, may reach beyond it. score: the detector's own, larger is surer."""

    box: tuple[int, int, int, int]
    score: float


class Detector(Protocol):
    def find(self, image: np.ndarray) -> list[Face]:
        """Faces of a uint8 (H, W, 3) RGB or (H, W) grey picture, the largest first."""


def open_detector(model: Path | str | None = None) -> Detector:
    """YuNet for an .onnx file, Haar without. Raises UserError when neither can be had."""
    if model is None:
        return HaarDetector()
    if not Path(model).is_file():
        raise UserError(f"no face detector at {model}")
    return YuNetDetector(model)


class HaarDetector:
    """OpenCV's frontal-face cascade (Viola and Jones 2001). Needs no file of its own."""

    def __init__(self):
        import cv2

        path = Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml" if hasattr(cv2, "data") else Path()
        if not hasattr(cv2, "CascadeClassifier") or not path.is_file():
            raise UserError("this OpenCV has no Haar cascades: install opencv-python 4.x, or give a YuNet model with --detector FILE.onnx")
        self._cascade = cv2.CascadeClassifier(str(path))

    def find(self, image: np.ndarray) -> list[Face]:
        import cv2

        grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        least = max(24, min(grey.shape) // 12)
        boxes, _, scores = self._cascade.detectMultiScale3(
            cv2.equalizeHist(grey), scaleFactor=1.1, minNeighbors=6, minSize=(least, least), outputRejectLevels=True
        )
        faces = [Face(tuple(map(int, box)), float(score)) for box, score in zip(boxes, np.ravel(scores), strict=True)]
        return sorted(faces, key=lambda face: -face.box[2])


class YuNetDetector:
    """YuNet (Wu et al. 2023) through OpenCV's FaceDetectorYN."""

    def __init__(self, model: Path | str, threshold: float = 0.7):
        import cv2

        try:
            self._net = cv2.FaceDetectorYN.create(str(model), "", (320, 320), score_threshold=threshold)
        except cv2.error as error:
            raise UserError(f"{model} is no YuNet model that OpenCV {cv2.__version__} can read ({error.err})") from None

    def find(self, image: np.ndarray) -> list[Face]:
        import cv2

        bgr = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)
        self._net.setInputSize((bgr.shape[1], bgr.shape[0]))
        found = self._net.detect(bgr)[1]
        faces = [Face(tuple(int(round(v)) for v in row[:4]), float(row[14])) for row in (found if found is not None else [])]
        return sorted(faces, key=lambda face: -face.box[2] * face.box[3])


def crop(image: np.ndarray, box: tuple[int, int, int, int], margin: float) -> np.ndarray:
    """The square around a box, enlarged by `margin` of its longer side in all; beyond the border the edge is repeated."""
    import cv2

    x, y, width, height = box
    side = max(1, round(max(width, height) * (1 + margin)))
    left, top = round(x + width / 2 - side / 2), round(y + height / 2 - side / 2)
    high, wide = image.shape[:2]
    over = [max(0, -top), max(0, top + side - high), max(0, -left), max(0, left + side - wide)]
    padded = cv2.copyMakeBorder(image, *over, cv2.BORDER_REPLICATE) if any(over) else image
    return padded[top + over[0] :, left + over[2] :][:side, :side]
