"""Find faces in an image and cut them out as the training images are framed.

YuNet (its file comes with this package), the Haar cascade (comes with opencv-python 4.x), SCRFD on a Hailo
device (chip_faces.py), or none, for images that are faces already.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fer_hailo.common.errors import UserError

# Of the three files at hand the best on images of FER2013's train, pasted into scenes of 640x480, and on the
# astronaut's face: of 324 faces of 32 to 240 pixels it found 243, the smaller network (yunet_s) 214; of the
# astronaut's, 10 to 20 pixels high, 72 of 100, against 38. It takes 1.45 times as long on the same image, but
# finds as much as the smaller one in images of three quarters of the side, which takes it 0.8 times as long.
# Neither saw a face where there was none. Apache-2.0, LICENSE.txt beside it.
YUNET = Path(__file__).with_name("yunet") / "yunet_n_640_640.onnx"
YUNET_LEAST = 10  # pixels; it was trained on faces from this size on, and may see any in less
YUNET_WHOLE = 40  # pixels to which smaller images are continued at their right and lower edge
LONGEST_SIDE = 1280  # pixels to which a larger image is reduced before faces are looked for
# Longer sides of the images that are searched: few, since OpenCV plans its network anew for each other size.
SIDES = (160, 240, 320, 480, 640, 960, LONGEST_SIDE)

# How FER2013 frames faces: medians over 4,102 of its training images, enlarged 4 times with repeated borders
# (tools/measure_framing.py). Haar found 3,084 faces, YuNet 3,780. The boxes of both lie in the middle of the
# frame within 0.003 of its side; YuNet's need no margin (-0.005). Landmarks, in parts of the frame's side:
# right eye 0.314, 0.394; left eye 0.683, 0.393; nose tip 0.498, 0.594; corners of the mouth 0.341, 0.741 and
# 0.655, 0.740. TEMPLATE is that, made symmetric.
HAAR_MARGIN = 0.02
TEMPLATE = ((0.316, 0.394), (0.684, 0.394), (0.5, 0.594), (0.343, 0.741), (0.657, 0.741))


@dataclass(frozen=True)
class Face:
    """A face in an image.

    box: x, y, width, height in pixels of the image, may reach beyond it. score: the detector's own, larger is
    surer. landmarks: x, y in pixels of right eye, left eye, nose tip, right and left corner of the mouth;
    right is the person's own. margin: by how much of its longer side the box must be enlarged in all to frame
    the face as FER2013 does. detected: False of a face that was seen in an earlier frame of the video, and
    followed to here. turn: by so many quarter turns clockwise the image was turned when it was found.
    """

    box: tuple[int, int, int, int]
    score: float
    landmarks: tuple[tuple[float, float], ...] | None = None
    margin: float = 0.0
    detected: bool = True
    turn: int = 0


class Detector(ABC):
    """One detector belongs to one thread: OpenCV's are not thread-safe.

    sure: a face of this score is upright in the image. sides: the longer sides, in pixels, of reduced images
    that are worth a search, ascending; the last one shows all that this detector can see.
    """

    sure: float = 0.0
    sides: tuple[int, ...] = SIDES

    @abstractmethod
    def find(self, image: np.ndarray, side: int = LONGEST_SIDE) -> list[Face]:
        """Faces of a uint8 (H, W, 3) RGB or (H, W) grey image, the largest first.

        side: pixels to which the image's longer side is reduced where it is larger: the smaller, the sooner
        done, and the larger the smallest face that is found.
        """

    def close(self) -> None:  # noqa: B027
        """Give back what the detector holds (a device)."""


def open_detector(name: str | Path = "yunet") -> Detector:
    """A detector by name: yunet, haar, none, a YuNet .onnx or an SCRFD .hef file of the user's.

    Raises UserError when there is no such detector.
    """
    if name == "yunet":
        return YuNetDetector(YUNET)
    if name == "none":
        return WholePicture()
    if name == "haar":
        return HaarDetector()
    if not Path(name).is_file():
        raise UserError(
            f"no face detector at {name}: give yunet, haar, none, a YuNet .onnx or an SCRFD .hef file"
        )
    if is_on_chip(name):
        from fer_hailo.board.chip_faces import ScrfdDetector

        return ScrfdDetector(name)
    return YuNetDetector(name)


def is_on_chip(name: str | Path) -> bool:
    """Whether a detector of this name runs on a Hailo device."""
    return Path(name).suffix.lower() == ".hef"


class WholePicture(Detector):
    """No detector: each image is one face, whole."""

    def find(self, image: np.ndarray, side: int = LONGEST_SIDE) -> list[Face]:
        return [Face((0, 0, image.shape[1], image.shape[0]), 1.0)]


class HaarDetector(Detector):
    """OpenCV's frontal-face cascade (Viola and Jones 2001). Needs no file of its own.

    scale_factor: from one size of faces to the next. min_neighbors: hits that a face needs. min_size: pixels
    of the smallest face's side; None: a twelfth of the image's shorter side, 24 at least (the cascade's own
    size). It finds upright faces only.
    """

    def __init__(self, scale_factor: float = 1.1, min_neighbors: int = 6, min_size: int | None = None):
        import cv2

        path = (
            Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"
            if hasattr(cv2, "data")
            else Path()
        )
        if not hasattr(cv2, "CascadeClassifier") or not path.is_file():
            raise UserError(
                "this OpenCV has no Haar cascades: install opencv-python 4.x, or give a YuNet model with "
                "--detector FILE.onnx"
            )
        self.scale_factor, self.min_neighbors, self.min_size = scale_factor, min_neighbors, min_size
        self._cascade = cv2.CascadeClassifier(str(path))

    def find(self, image: np.ndarray, side: int = LONGEST_SIDE) -> list[Face]:
        import cv2

        small, scale = _reduced(image, side)
        grey = small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        least = round(self.min_size / scale) if self.min_size else max(24, min(grey.shape) // 12)
        # The light is not equalised: with it, more faces are found in very dark images, fewer in others
        # (3,016 instead of 3,084), and several times as many that are none.
        boxes, scores = self._cascade.detectMultiScale2(
            grey, self.scale_factor, self.min_neighbors, minSize=(least, least)
        )
        faces = [
            Face(_box(box, scale), float(score), margin=HAAR_MARGIN)
            for box, score in zip(boxes, np.ravel(scores), strict=True)
        ]
        return largest_first(faces)


class YuNetDetector(Detector):
    """YuNet (Wu et al. 2023) through OpenCV's FaceDetectorYN. threshold: the least score, 0 to 1."""

    # It also finds faces that lie or stand on their heads, with eyes where the mouth is: the astronaut's by
    # scores of 0.79 to 0.87, of 400 images of FER2013's train 5 % upside down. Where each image that shows no
    # surer face than this is tried turned, the highest score is right in all but 1 % of those found; a third
    # of the upright ones are searched in vain.
    sure = 0.88

    def __init__(self, model: Path | str, threshold: float = 0.7):
        import cv2

        try:
            self._net = cv2.FaceDetectorYN.create(str(model), "", (320, 320), score_threshold=threshold)
            # Another network shows itself only by what it answers
            self.find(np.zeros((64, 64, 3), np.uint8))
        except cv2.error as error:
            raise UserError(
                f"{model} is no YuNet model that OpenCV {cv2.__version__} can read ({error.err})"
            ) from None

    def find(self, image: np.ndarray, side: int = LONGEST_SIDE) -> list[Face]:
        import cv2

        small, scale = _reduced(image, side)
        if min(small.shape[:2]) < YUNET_LEAST:
            return []
        bgr = cv2.cvtColor(small, cv2.COLOR_GRAY2BGR if small.ndim == 2 else cv2.COLOR_RGB2BGR)
        # In images of up to 32 pixels OpenCV's network now and then gives a face that is not there, from
        # memory that nobody wrote.
        low, narrow = (max(0, YUNET_WHOLE - side) for side in bgr.shape[:2])
        bgr = cv2.copyMakeBorder(bgr, 0, low, 0, narrow, cv2.BORDER_REPLICATE) if low or narrow else bgr
        self._net.setInputSize((bgr.shape[1], bgr.shape[0]))
        rows = self._net.detect(bgr)[1]
        rows = [] if rows is None else rows.astype(float)  # x, y, width, height, five points, score
        return largest_first(
            [
                Face(_box(row[:4], scale), float(row[14]), _points(row[4:14] * scale))
                for row in rows
                if np.isfinite(row).all()
            ]
        )


def find_any_way(detector: Detector, image: np.ndarray) -> list[Face]:
    """Faces of an image that may lie on its side or stand on its head: where none is surely upright, those of
    the way to turn it in which one has the highest score. Boxes and landmarks are those of the image as it
    is.
    """
    found = detector.find(image)
    if found and max(face.score for face in found) >= detector.sure:
        return found
    ways = [found]
    for turn in (1, 2, 3):
        turned = detector.find(np.ascontiguousarray(np.rot90(image, -turn)))
        ways.append([_turned_back(face, turn, image) for face in turned])
    return max(ways, key=lambda faces: max((face.score for face in faces), default=0))


def cut(image: np.ndarray, face: Face, margin: float | None = None) -> np.ndarray:
    """The square that shows a face: uint8 (S, S) or (S, S, 3), in the image's own resolution; beyond the
    border the edge is repeated.

    With landmarks the face is turned upright in the plane and lies as the average one of FER2013, else its
    box is the middle. margin: by how much of its longer side the box is enlarged in all; None: as FER2013
    frames faces.
    """
    import cv2

    margin = face.margin if margin is None else margin
    if face.landmarks is None:
        return np.rot90(crop(image, face.box, margin), -face.turn)
    along, corner = _fit(face.landmarks)
    middle, along = corner + along * (0.5 + 0.5j), along * (1 + margin) / (1 + face.margin)
    side = max(1, round(abs(along)))
    # From a pixel of the square (x right, y down, as complex numbers) to a point of the image, both measured
    # at pixel centres.
    turn = along / side
    start = middle + turn * (0.5 + 0.5j) * (1 - side) - (0.5 + 0.5j)
    matrix = np.array([[turn.real, -turn.imag, start.real], [turn.imag, turn.real, start.imag]])
    return cv2.warpAffine(
        image,
        matrix,
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def crop(image: np.ndarray, box: tuple[int, int, int, int], margin: float) -> np.ndarray:
    """The square around a box, enlarged by `margin` of its longer side in all; beyond the border the edge is
    repeated.
    """
    import cv2

    left, top, side = window(box, margin)
    high, wide = image.shape[:2]
    above, below, before, after = (
        max(0, -top),
        max(0, top + side - high),
        max(0, -left),
        max(0, left + side - wide),
    )
    if above or below or before or after:
        image = cv2.copyMakeBorder(image, above, below, before, after, cv2.BORDER_REPLICATE)
    return image[top + above :, left + before :][:side, :side]


def window(box: tuple[int, int, int, int], margin: float) -> tuple[int, int, int]:
    """Left, top and side of the square that `crop` cuts out, in pixels; may reach beyond the image."""
    x, y, width, height = box
    side = max(1, round(max(width, height) * (1 + margin)))
    return round(x + width / 2 - side / 2), round(y + height / 2 - side / 2), side


def _fit(landmarks: tuple[tuple[float, float], ...]) -> tuple[complex, complex]:
    """The similarity p -> along * p + corner that brings TEMPLATE nearest to the landmarks, by least squares
    (Umeyama 1991).

    In the plane its closed form needs no SVD: with points as complex numbers it is a linear regression, and
    cannot mirror.
    """
    wanted, there = (np.array(points, float) @ (1, 1j) for points in (TEMPLATE, landmarks))
    centred = wanted - wanted.mean()
    along = np.vdot(centred, there) / np.vdot(centred, centred).real
    return complex(along), complex(there.mean() - along * wanted.mean())


def _turned_back(face: Face, turn: int, image: np.ndarray) -> Face:
    """A face of the image turned by `turn` quarters clockwise, where it lies in the image itself."""
    (x, y, wide, high), landmarks = face.box, face.landmarks
    for number in range(turn, 0, -1):  # what was the height before the quarter turn is the width after it
        height = image.shape[0] if number % 2 else image.shape[1]
        x, y, wide, high = y, height - x - wide, high, wide
        landmarks = landmarks and tuple((v, height - u) for u, v in landmarks)
    return replace(face, box=(x, y, wide, high), landmarks=landmarks, turn=turn)


def _reduced(image: np.ndarray, side: int) -> tuple[np.ndarray, float]:
    """The image with no side above `side`, and how many of its pixels one pixel of that is."""
    import cv2

    scale = max(image.shape[:2]) / side
    if scale <= 1:
        return image, 1.0
    size = tuple(max(1, round(pixels / scale)) for pixels in image.shape[1::-1])
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale


def _box(values: Sequence[float] | np.ndarray, scale: float) -> tuple[int, int, int, int]:
    x, y, width, height = (round(float(value) * scale) for value in values)
    return x, y, width, height


def _points(values: np.ndarray) -> tuple[tuple[float, float], ...]:
    return tuple(map(tuple, values.reshape(5, 2).tolist()))


def largest_first(faces: list[Face]) -> list[Face]:
    """By the areas of their boxes."""
    return sorted(faces, key=lambda face: -face.box[2] * face.box[3])
