"""The faces of one video from frame to frame: moved along with what the image shows, and searched for again
as often, and in as large an image, as they need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fer_hailo.board.faces import SIDES, Face, crop, window
from fer_hailo.board.tracker import OVERLAP, overlap

# Faces that move little are searched for again after EVERY_S seconds of the video, and new ones found in the
# same reduced image; small new ones in the whole frame, after WHOLE_S. In the film of bench/pipeline.py no
# frame then has fewer faces than Haar finds; with 0.3 there is one.
EVERY_S, WHOLE_S = 0.2, 1.0
ROUNDED_S = 0.001  # timestamps are
# or at once where a corner of a box has moved by this part of its longer side. On the astronaut, panned,
# zoomed and turned, with noise and without, landmarks of followed faces were off by 5.2 % of the box's width
# in the mean, of detected ones by 4.8 %; with 1.0 by 5.4 % in half the searches, but real heads turn away.
FAR = 0.5
NEED = 48  # pixels of the smallest known face in the searched image; YuNet's landmarks are worse below 40
EMPTY = 320  # the side that is searched in each frame while no face is known: a large one is seen at once

PATCH = 72  # pixels to which a face and a quarter of its side around it are brought to be compared
AROUND = 0.5
INNER = slice(PATCH // 6, PATCH - PATCH // 6)  # of the patch, the face itself
ALIKE = 0.7  # least correlation of a face's pixels in two frames


@dataclass(frozen=True)
class _Known:
    """A face where it was detected, and how it has moved since: p -> along * p + shift, points as complex
    numbers.
    """

    face: Face
    along: complex = 1
    shift: complex = 0

    def now(self) -> Face:
        if self.face.detected:
            return self.face
        points = np.array(self.face.landmarks or ()).reshape(-1, 2) @ (1, 1j) * self.along + self.shift
        x, y, width, height = self.face.box
        middle = self.along * complex(x + width / 2, y + height / 2) + self.shift
        wide, high = abs(self.along) * width, abs(self.along) * height
        box = round(middle.real - wide / 2), round(middle.imag - high / 2), round(wide), round(high)
        landmarks = tuple((p.real, p.imag) for p in points.tolist()) if self.face.landmarks else None
        return replace(self.face, box=box, landmarks=landmarks)

    def moved(self, along: complex, shift: complex) -> _Known:
        face = replace(self.face, detected=False)
        return _Known(face, along * self.along, along * self.shift + shift)

    def is_far(self) -> bool:
        x, y, width, height = self.face.box
        corners = np.array([x, x + width, x, x + width]) + 1j * np.array([y, y, y + height, y + height])
        return np.abs((self.along - 1) * corners + self.shift).max() > FAR * max(width, height)


class Follower:
    """Finds the faces of one video's frames, given in order.

    find, sides: a detector's (see Detector). every: while all faces move little, search each frame of this
    number; None: after EVERY_S. A face that is lost, or not found again in a reduced image, is looked for in
    the whole frame at once.
    """

    def __init__(
        self,
        find: Callable[[np.ndarray, int], list[Face]],
        every: int | None,
        sides: tuple[int, ...] = SIDES,
    ):
        self._find, self._every, self._sides = find, every, sides
        self._known: list[_Known] = []
        self._last: np.ndarray | None = None
        self._frames, self._searched_s, self._whole_s = 0, 0.0, 0.0  # since, and times of, the last search

    def step(self, image: np.ndarray, time_s: float) -> list[Face]:
        """Faces of the next frame, uint8 (H, W, 3) RGB, the largest first. time_s: seconds, never falling."""
        lost = not self._move(image)
        self._last = image
        self._frames += 1
        whole = lost or time_s - self._whole_s >= WHOLE_S - ROUNDED_S
        if whole or self._is_due(time_s):
            self._search(image, time_s, whole)
        return [known.now() for known in self._known]

    def _move(self, image: np.ndarray) -> bool:
        """Move the known faces on. False where one is lost: nothing is known without having been followed."""
        if self._last is None or self._last.shape != image.shape:
            self._known = []
            return False
        moved = []
        for known in self._known:
            motion = follow(known.now().box, self._last, image)
            if motion is None:
                return False
            moved.append(known.moved(*motion))
        self._known = [known for known in moved if _is_inside(known.now().box, image)]
        return True

    def _is_due(self, time_s: float) -> bool:
        if not self._known or any(known.is_far() for known in self._known):
            return True
        if self._every is None:
            return time_s - self._searched_s >= EVERY_S - ROUNDED_S
        return self._frames >= self._every

    def _search(self, image: np.ndarray, time_s: float, whole: bool) -> None:
        longest = min(max(image.shape[:2]), self._sides[-1])
        boxes = [known.now().box for known in self._known]
        side = longest if whole else min(longest, _side(boxes, max(image.shape[:2]), self._sides))
        found = self._find(image, side)
        if side < longest and not all(any(overlap(b, f.box) >= OVERLAP for f in found) for b in boxes):
            side, found = longest, self._find(image, longest)
        if side == longest:
            self._whole_s = time_s
        self._known = [_Known(face) for face in found]
        self._frames, self._searched_s = 0, time_s


def follow(
    box: tuple[int, int, int, int], before: np.ndarray, now: np.ndarray
) -> tuple[complex, complex] | None:
    """How what a box shows has moved from one image to the next, by the optical flow of points in it (Lucas
    and Kanade 1981, in a pyramid): p -> along * p + shift, points as complex numbers x + iy.

    before, now: uint8 (H, W, 3) RGB of one size. None where it is no longer there: too few points agree, or
    the pixels are no longer alike.
    """
    import cv2

    left, top, side = window(box, AROUND)
    first, second = (_patch(image, box) for image in (before, now))
    steps = np.linspace(INNER.start, INNER.stop - 1, 6, dtype=np.float32)
    points = np.dstack(np.meshgrid(steps, steps)).reshape(-1, 1, 2)
    there, found, _ = cv2.calcOpticalFlowPyrLK(
        first, second, points, np.empty_like(points), winSize=(15, 15), maxLevel=2
    )
    kept = found.ravel() == 1
    if kept.sum() < len(points) / 2:
        return None
    matrix, agreeing = cv2.estimateAffinePartial2D(points[kept], there[kept], ransacReprojThreshold=1.0)
    if matrix is None or agreeing.sum() < len(points) / 2:
        return None
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    back = cv2.warpAffine(second, matrix, (PATCH, PATCH), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    if cv2.matchTemplate(first[INNER, INNER], back[INNER, INNER], cv2.TM_CCOEFF_NORMED)[0, 0] < ALIKE:
        return None
    # From pixels of the patch, counted at their centres, to the image's
    along, shift = complex(matrix[0, 0], matrix[1, 0]), complex(matrix[0, 2], matrix[1, 2])
    scale, corner, half = side / PATCH, complex(left, top), 0.5 + 0.5j
    return along, corner * (1 - along) + scale * (shift + half * (1 - along))


def _patch(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    import cv2

    grey = cv2.cvtColor(crop(image, box, AROUND), cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (PATCH, PATCH), interpolation=cv2.INTER_AREA)


def _side(boxes: list[tuple[int, int, int, int]], longest: int, sides: tuple[int, ...]) -> int:
    """The least of `sides` in which the smallest face has NEED pixels; that of EMPTY where there is none."""
    wanted = longest * NEED / max(1, min(max(box[2:]) for box in boxes)) if boxes else EMPTY
    return next((side for side in sides if side >= wanted), sides[-1])


def _is_inside(box: tuple[int, int, int, int], image: np.ndarray) -> bool:
    """Whether the box's middle is."""
    x, y, width, height = box
    return 0 <= x + width / 2 < image.shape[1] and 0 <= y + height / 2 < image.shape[0]
