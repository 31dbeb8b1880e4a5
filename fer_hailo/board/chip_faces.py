"""The face detector on the Hailo device, beside the classifier."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fer_hailo.board.faces import LONGEST_SIDE, Detector, Face, largest_first
from fer_hailo.board.scrfd import decode, file_for, recognise
from fer_hailo.formats.hef import read_hef
from fer_hailo.predict.device import Network

LEAST = 0.5  # score of a face, and
OVERLAP = 0.4  # intersection over union of two boxes that are one face; both as InsightFace has them


class ScrfdDetector(Detector):
    """SCRFD from a HEF of Hailo's Model Zoo, which takes images of one size, smaller ones enlarged.

    Raises UserError for another file, and what Network raises.
    """

    # No score of this network was ever held against faces that lie or stand on their heads, and to search
    # four times takes the chip little: so every single image is searched in all ways
    sure = 1.0

    def __init__(self, path: Path | str):
        hef = read_hef(path)
        self._scrfd = recognise(hef, path)
        self.sides = (max(self._scrfd.shape),)
        self._network = Network(path, hef, 1, file_for)

    def find(self, image: np.ndarray, side: int = LONGEST_SIDE) -> list[Face]:
        """side: without effect."""
        import cv2

        fitted, scale = fit(image, self._scrfd.shape)
        outputs = {name: values[0] for name, values in self._network.infer(fitted[None]).items()}
        boxes, scores, points = decode(outputs, self._scrfd.levels, LEAST)
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), 0.0, OVERLAP) if len(boxes) else []
        boxes, points = boxes * np.tile(scale, 2), points * scale
        return largest_first(
            [
                Face(
                    tuple(map(round, boxes[number].tolist())),
                    float(scores[number]),
                    tuple(map(tuple, points[number].tolist())),
                )
                for number in kept
            ]
        )

    def close(self) -> None:
        self._network.close()


def fit(image: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """An image in the size that a network takes: as large as it gets, at the upper left, black beside it.

    image: uint8 (H, W, 3) RGB or (H, W) grey. shape: height and width. Returns uint8 (height, width, 3), and
    how many pixels of the image one pixel of that is, across and down.
    """
    import cv2

    high, wide = image.shape[:2]
    factor = min(shape[0] / high, shape[1] / wide)
    size = max(1, round(wide * factor)), max(1, round(high * factor))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    fitted = np.zeros((*shape, 3), np.uint8)
    fitted[: size[1], : size[0]] = small if small.ndim == 3 else small[..., None]
    return fitted, np.array([wide / size[0], high / size[1]])
