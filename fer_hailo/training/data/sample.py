"""A synthetic sample set: drawn faces with five expressions, so that every stage can be tried without
FER2013.

It tests the pipeline. An accuracy on it says nothing about real faces, and every output calls it synthetic.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fer_hailo.common.files import write_text, written
from fer_hailo.common.groups import FIVE_CLASSES
from fer_hailo.training.data.sources import SYNTHETIC_MARK

SIDE = 48
CANVAS = 192  # drawn large and reduced, as a camera would

# Per class, mean and spread of: brow height, brow slant (inner end down), eye opening, mouth width, mouth
# curve (corners up), mouth opening, nose wrinkles. Lengths in parts of the face's half width.
EXPRESSIONS = {
    "angry": ((-0.06, 0.04), (0.16, 0.05), (0.08, 0.02), (0.34, 0.05), (-0.12, 0.05), (0.06, 0.05),
    (0.2, 0.2)),
    "disgust": ((-0.04, 0.04), (0.06, 0.05), (0.06, 0.02), (0.30, 0.05), (-0.18, 0.06), (0.14, 0.05),
    (1.0, 0.1)),
    "happy": ((0.03, 0.04), (-0.02, 0.04), (0.09, 0.02), (0.46, 0.05), (0.22, 0.05), (0.12, 0.06),
    (0.0, 0.1)),
    "neutral": ((0.0, 0.03), (0.0, 0.04), (0.11, 0.02), (0.34, 0.04), (0.0, 0.04), (0.01, 0.01), (0.0, 0.1)),
    "surprise": ((0.16, 0.04), (-0.06, 0.04), (0.17, 0.02), (0.22, 0.04), (0.0, 0.03), (0.26, 0.06),
    (0.0, 0.1)),
}  # fmt: skip


def draw_face(label: str, rng: np.random.Generator) -> np.ndarray:
    """Draw one face of a class of EXPRESSIONS: uint8 (48, 48) grey.

    Pose, skin, hair, light and noise come from `rng`.
    """
    import cv2

    brow, slant, eye, width, curve, opening, wrinkle = (
        rng.normal(mean, spread) for mean, spread in EXPRESSIONS[label]
    )
    skin, background = rng.uniform(110, 225), rng.uniform(20, 235)
    dark = skin * rng.uniform(0.2, 0.5)
    canvas = np.full((CANVAS, CANVAS), background, np.float32)
    unit = CANVAS * rng.uniform(0.36, 0.44)  # half the face's width
    centre = CANVAS / 2 + rng.normal(0, 3, 2)
    turn = rng.normal(0, 0.1)  # looking aside moves the features, not the outline

    def at(x: float, y: float) -> tuple[int, int]:
        return int(centre[0] + (x + turn) * unit), int(centre[1] + y * unit)

    def length(part: float) -> int:
        return max(1, int(part * unit))

    line = {"lineType": cv2.LINE_AA}
    cv2.ellipse(
        canvas,
        at(-turn, -0.15),
        (length(1.08), length(1.3)),
        0,
        180,
        360,
        dark * rng.uniform(0.4, 1.2),
        -1,
        **line,
    )
    cv2.ellipse(
        canvas, at(-turn, 0), (length(1), length(rng.uniform(1.18, 1.3))), 0, 0, 360, skin, -1, **line
    )
    for side in (-1, 1):
        x = side * 0.42
        cv2.ellipse(
            canvas,
            at(x, -0.2),
            (length(0.17), length(max(eye, 0.02))),
            0,
            0,
            360,
            min(255, skin + 40),
            -1,
            **line,
        )
        cv2.circle(
            canvas, at(x + turn * 0.3, -0.2), length(min(0.09, max(eye, 0.03))), dark * 0.4, -1, **line
        )
        inner, outer = (
            at(x - side * 0.2, -0.46 - brow + slant),
            at(x + side * 0.22, -0.46 - brow - slant * 0.6),
        )
        cv2.line(canvas, inner, outer, dark, length(0.07), **line)
        if wrinkle > 0.5:
            cv2.line(canvas, at(side * 0.08, 0.02), at(side * 0.24, 0.12), skin * 0.6, length(0.035), **line)
            cv2.line(canvas, at(side * 0.26, 0.22), at(side * 0.42, 0.52), skin * 0.65, length(0.03), **line)
    cv2.line(canvas, at(0, -0.1), at(0.07, 0.22), skin * 0.75, length(0.035), **line)
    cv2.line(canvas, at(0.07, 0.22), at(-0.06, 0.24), skin * 0.75, length(0.035), **line)
    _mouth(canvas, at, length, width, curve, max(opening, 0), dark)
    return _photograph(canvas, rng)


def write_sample_set(folder: Path | str, train: int = 260, test: int = 40, seed: int = 0) -> Path:
    """Write drawn faces in Kaggle's layout: `train` and `test` images a class. Returns the folder.

    By default the training side, four fifths of train, is enough for a calibration set of 1024.

    A folder that already holds a sample set of these numbers is left as it is.
    """
    import cv2

    folder = Path(folder)
    note = (
        f"Drawn faces, not photographs: the synthetic sample set of FER-Hailo ({train} + {test} a class, "
        f"seed {seed}).\n"
    )
    mark = folder / SYNTHETIC_MARK
    if mark.exists() and mark.read_text(encoding="utf-8") == note:
        return folder
    for number, label in enumerate(FIVE_CLASSES):
        for split, count in (("train", train), ("test", test)):
            for i in range(count):
                face = draw_face(label, np.random.default_rng([seed, number, split == "test", i]))
                with written(folder / split / label / f"drawn_{i:04d}.png") as beside:
                    cv2.imwrite(str(beside), face)
    write_text(mark, note)
    return folder


def _mouth(canvas, at, length, width: float, curve: float, opening: float, dark: float) -> None:
    """A band between two parabolas: the lips' corners lie `curve` above its middle."""
    import cv2

    x = np.linspace(-width, width, 15)
    bow = curve * ((x / width) ** 2 - 0.5)
    gap = opening * (1 - (x / width) ** 2)
    upper = [at(a, 0.62 - b - g * 0.5) for a, b, g in zip(x, bow, gap, strict=True)]
    lower = [at(a, 0.62 - b + g) for a, b, g in zip(x, bow, gap, strict=True)]
    cv2.fillPoly(canvas, [np.array(upper + lower[::-1], np.int32)], dark * 0.5, lineType=cv2.LINE_AA)
    cv2.polylines(canvas, [np.array(upper, np.int32)], False, dark * 0.8, length(0.05), cv2.LINE_AA)


def _photograph(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Tilt, light from one side, blur, reduction and noise."""
    import cv2

    tilt = cv2.getRotationMatrix2D((CANVAS / 2, CANVAS / 2), rng.normal(0, 7), rng.uniform(0.95, 1.08))
    canvas = cv2.warpAffine(canvas, tilt, (CANVAS, CANVAS), borderMode=cv2.BORDER_REPLICATE)
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.35)
    y, x = np.mgrid[-1 : 1 : CANVAS * 1j, -1 : 1 : CANVAS * 1j]
    canvas = canvas * (1 + strength * (np.cos(angle) * x + np.sin(angle) * y)) * rng.uniform(0.8, 1.1)
    canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.5, 3))
    small = cv2.resize(canvas, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.clip(small + rng.normal(0, rng.uniform(1, 7), small.shape), 0, 255).astype(np.uint8)
