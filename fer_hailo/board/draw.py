"""Draw predictions into an image: a box and a label for each face, and beside it a bar for each class.

Of a face that was followed from an earlier frame, not detected in this one, the box has its corners only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fer_hailo.board.frames import Reading

# Okabe and Ito 2008: eight colours that people of any colour vision tell apart; grey here in place of their
# black.
PALETTE = {
    "vermillion": (213, 94, 0), "green": (0, 158, 115), "purple": (204, 121, 167), "yellow": (240, 228, 66),
    "sky": (86, 180, 233), "blue": (0, 114, 178), "orange": (230, 159, 0), "grey": (187, 187, 187),
}  # fmt: skip
USUAL = {
    "angry": "vermillion", "disgust": "green", "fear": "purple", "happy": "yellow",
    "neutral": "sky", "sad": "blue", "surprise": "orange", "contempt": "grey",
}  # fmt: skip
ROWS = 32  # a line of text is this part of the image's shorter side,
LEAST, MOST = 10, 64  # but of at least and at most so many pixels
BAR = 5  # a bar of probability 1 is as long as so many lines are high
CAPITAL = 22  # height of a capital in OpenCV's Hershey font at scale 1, in pixels
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def colours(labels: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """A fixed RGB colour for each label.

    Names that USUAL does not know get those that are left over, in the order of the alphabet.
    """
    chosen = {label: PALETTE[USUAL[label]] for label in labels if label in USUAL}
    free = [colour for colour in PALETTE.values() if colour not in chosen.values()] or list(PALETTE.values())
    others = sorted(set(labels) - set(chosen))
    return chosen | {label: free[number % len(free)] for number, label in enumerate(others)}


def draw(image: np.ndarray, faces: Sequence[Reading]) -> np.ndarray:
    """A copy of a uint8 (H, W, 3) RGB image with the faces' predictions in it; all sizes follow the image's.

    The bars stand beside the face, or above or beneath it, wherever they hide least. An image too small for
    text gets boxes and bars.
    """
    drawn = image.copy()
    if faces:
        _Pen(drawn, faces[0].labels).faces(faces)
    return drawn


class _Pen:
    """Draws into `image`. row: height of a line of text, in pixels; names: width of the column of names, 0
    without text.
    """

    def __init__(self, image: np.ndarray, labels: Sequence[str]):
        self.image, self.colours = image, colours(labels)
        self.high, self.wide = image.shape[:2]
        side = min(self.high, self.wide)
        self.row = round(min(MOST, max(LEAST, side / ROWS)))
        self.names = max(self._width(name) for name in labels) + self.row // 2
        if self._panel(labels)[0] > self.wide or self._panel(labels)[1] > self.high:
            self.names, self.row = 0, side // (2 * max(len(labels), BAR))
        self.line = max(1, round(self.row / 6))

    def faces(self, faces: Sequence[Reading]) -> None:
        for face in faces:
            self._box(face)
        taken = [face.box for face in faces] + [self._tag(face) for face in faces if self.names]
        for face in faces if self.row else ():
            place = self._place(face, np.array(taken))
            self._bars(face, place)
            taken.append((*place, *self._panel(face.labels)))
        for face in faces if self.names else ():
            self._label(face)

    def _box(self, face: Reading) -> None:
        import cv2

        x, y, width, height = face.box
        corners = [(x, y), (x + width - 1, y), (x + width - 1, y + height - 1), (x, y + height - 1)]
        # The black is an edge that also shows on a ground of the label's colour
        for colour, line in ((BLACK, self.line + 2), (self.colours[face.label], self.line)):
            if face.detected:
                cv2.rectangle(self.image, corners[0], corners[2], colour, line)
                continue
            for number, corner in enumerate(corners):
                for other in (corners[number - 1], corners[(number + 1) % 4]):
                    end = [a + round((b - a) / 4) for a, b in zip(corner, other, strict=True)]
                    cv2.line(self.image, corner, end, colour, line)

    def _label(self, face: Reading) -> None:
        x, y, width, height = self._tag(face)
        colour = self.colours[face.label]
        self.image[y : y + height, x : x + width] = colour
        light = np.dot(colour, (0.299, 0.587, 0.114)) > 100  # then black has more contrast than white
        self._text(_words(face), x + self.row // 3, y, BLACK if light else WHITE)

    def _tag(self, face: Reading) -> tuple[int, int, int, int]:
        """Where the label goes: above the box, or into it at the image's upper border. x, y, width,
        height.
        """
        x, y = face.box[:2]
        width, height = min(self._width(_words(face)) + 2 * (self.row // 3), self.wide), self.row
        return (
            _within(x, self.wide - width),
            _within(y - height if y >= height else y, self.high - height),
            width,
            height,
        )

    def _place(self, face: Reading, taken: np.ndarray) -> tuple[int, int]:
        """Upper left corner of the bars: of the four sides the one where they cover least of `taken`, (N, 4)
        of x, y, width, height.
        """
        (x, y, wide, high), (width, height), gap = face.box, self._panel(face.labels), self.line + 2
        sides = [
            (x + wide + gap, y),
            (x - gap - width, y),
            (x, y + high + gap),
            (x, y - self.row - gap - height),
        ]
        places = np.array(
            [(_within(left, self.wide - width), _within(top, self.high - height)) for left, top in sides]
        )
        start = np.maximum(places[:, None], taken[:, :2])
        end = np.minimum(places[:, None] + (width, height), taken[:, :2] + taken[:, 2:])
        covered = np.maximum(end - start, 0).prod(axis=2).sum(axis=1)
        left, top = places[covered.argmin()]
        return int(left), int(top)

    def _bars(self, face: Reading, place: tuple[int, int]) -> None:
        (left, top), (width, height) = place, self._panel(face.labels)
        ground = self.image[top : top + height, left : left + width]
        np.right_shift(ground, 2, out=ground)  # a dark pane: white text is readable on it whatever is beneath
        edge = self.row // 4
        for number, (name, share) in enumerate(zip(face.labels, face.probabilities, strict=True)):
            y = top + number * self.row
            if self.names:
                self._text(name, left + edge, y, WHITE)
            start, length = left + edge + self.names, round(float(share) * BAR * self.row)
            self.image[y + edge : y + self.row - edge, start : start + length] = self.colours[name]

    def _panel(self, labels: Sequence[str]) -> tuple[int, int]:
        return 2 * (self.row // 4) + self.names + BAR * self.row, len(labels) * self.row

    def _text(self, words: str, x: int, y: int, colour: tuple[int, int, int]) -> None:
        """One line; x, y: the upper left corner of its row."""
        import cv2

        scale, thickness = self._font()
        base = y + round((self.row + CAPITAL * scale) / 2)
        cv2.putText(
            self.image, words, (x, base), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness, cv2.LINE_AA
        )

    def _width(self, words: str) -> int:
        import cv2

        return cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, *self._font())[0][0]

    def _font(self) -> tuple[float, int]:
        return 0.6 * self.row / CAPITAL, max(1, round(self.row / 18))


def _words(face: Reading) -> str:
    return f"{'' if face.track is None else f'#{face.track} '}{face.said} {100 * face.probability:.0f} %"


def _within(value: int, most: int) -> int:
    return max(0, min(value, most))
