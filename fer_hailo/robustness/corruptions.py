"""The corruptions of the table, each a function of a face, an amount and what is drawn by chance.

A face is uint8 (S, S) grey or (S, S, 3) RGB; lengths in pixels are for S = SIDE and grow with S. The same
seed and face give the same draws at all strengths: these differ in degree alone.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from fer_hailo.robustness import table
from fer_hailo.robustness.table import SEED, SIDE, TABLE, Corruption

SUBPIXEL = 4  # binary digits behind the point of what OpenCV draws


def corrupt(face: np.ndarray, corruption: Corruption, strength: int, seed: int = SEED) -> np.ndarray:
    """A corrupted copy of a square face, of the same shape and dtype. strength: 1, 2 or 3."""
    digest = hashlib.sha256(face.tobytes()).digest()
    name = zlib.crc32(corruption.name.encode())
    rng = np.random.default_rng([seed, name, int.from_bytes(digest[:8], "little")])
    return apply(corruption.name, face, corruption.amounts[strength - 1], rng)


def apply(name: str, face: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """What `corrupt` does, with any amount of the table's unit."""
    return _FUNCTIONS[name](face, amount, rng)


def motion_kernel(length: int, angle: float) -> np.ndarray:
    """float32 (K, K), sum 1: a straight path of `length` pixels through the middle, angle in radians.

    Points a pixel apart, each shared among the four pixels around it.
    """
    radius = length // 2 + 1
    kernel = np.zeros((2 * radius + 1,) * 2, np.float32)
    for step in np.arange(length) - (length - 1) / 2:
        x, y = radius + step * np.cos(angle), radius + step * np.sin(angle)
        left, top = int(np.floor(x)), int(np.floor(y))
        right, down = x - left, y - top
        kernel[top : top + 2, left : left + 2] += np.outer((1 - down, down), (1 - right, right))
    return kernel / kernel.sum()


def _darkness(face: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    return _bytes(face * amount)


def _brightness(face: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    return _bytes(face + float(amount))


def _contrast(face: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    return _bytes(face.mean() + (face - face.mean()) * amount)


def _noise(face: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    return _bytes(face + amount * rng.standard_normal(face.shape))


def _blur(face: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    import cv2

    return cv2.GaussianBlur(face, (0, 0), amount * _scale(face), borderType=cv2.BORDER_REPLICATE)


def _motion(face: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    import cv2

    kernel = motion_kernel(round(amount * _scale(face)), rng.uniform(0, np.pi))
    return cv2.filter2D(face, -1, kernel, borderType=cv2.BORDER_REPLICATE)


def _jpeg(face: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    import cv2

    turned = face[..., ::-1] if face.ndim == 3 else face  # OpenCV takes and gives BGR
    _, data = cv2.imencode(".jpg", turned, [cv2.IMWRITE_JPEG_QUALITY, int(amount)])
    back = np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED))
    return np.ascontiguousarray(back[..., ::-1]) if face.ndim == 3 else back


def _low_resolution(face: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    import cv2

    side = round(amount * _scale(face))
    small = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, face.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def _shift(face: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    import cv2

    angle, length = rng.uniform(0, 2 * np.pi), amount * _scale(face)
    right, down = np.rint(length * np.cos(angle)), np.rint(length * np.sin(angle))  # whole pixels: no blur
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float64)
    return cv2.warpAffine(face, matrix, face.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


def _rotation(face: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    import cv2

    middle = (face.shape[0] - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), amount * rng.choice((-1, 1)), 1)
    return cv2.warpAffine(
        face, matrix, face.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )


def _mask(face: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    import cv2

    shade, cover = rng.uniform(*table.MASK_SHADES), _sheet(face)
    points = [(x, y + amount if i < table.MASK_EDGE else y) for i, (x, y) in enumerate(table.MASK)]
    outline = np.array([_place(point, face) for point in points], np.int32)
    cv2.fillPoly(cover, [outline], 255, cv2.LINE_AA, SUBPIXEL)
    return _covered(face, cover, 1, shade)


def _sunglasses(face: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    import cv2

    cover, scale = _sheet(face), _scale(face)
    axes = tuple(round(half * scale * 2**SUBPIXEL) for half in table.LENS)
    for centre in table.LENSES:
        cv2.ellipse(cover, _place(centre, face), axes, 0, 0, 360, 255, -1, cv2.LINE_AA, SUBPIXEL)
    left, right = (_place(end, face) for end in table.BRIDGE)
    cv2.line(cover, left, right, 255, max(1, round(2 * scale)), cv2.LINE_AA, SUBPIXEL)
    return _covered(face, cover, amount, table.LENS_SHADE)


_FUNCTIONS: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "darkness": _darkness,
    "brightness": _brightness,
    "contrast": _contrast,
    "noise": _noise,
    "blur": _blur,
    "motion": _motion,
    "jpeg": _jpeg,
    "low_resolution": _low_resolution,
    "shift": _shift,
    "rotation": _rotation,
    "mask": _mask,
    "sunglasses": _sunglasses,
}


def corrupt_all(faces: np.ndarray, corruption: Corruption, strength: int, seed: int = SEED) -> np.ndarray:
    """`corrupt` of each of faces uint8 (N, S, S[, 3])."""
    return np.stack([corrupt(face, corruption, strength, seed) for face in faces])


def sheet(face: np.ndarray, corruptions: Sequence[Corruption] = TABLE) -> tuple[np.ndarray, list[str]]:
    """A face as it is and at each strength of each corruption: images (4 C, S, S[, 3]), and what stands over
    each.
    """
    images, titles = [], []
    for row in corruptions:
        images += [face, *(corrupt(face, row, strength) for strength in (1, 2, 3))]
        titles += [row.name.replace("_", " "), *(f"{amount:g}" for amount in row.amounts)]
    return np.stack(images), titles


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _scale(face: np.ndarray) -> float:
    return face.shape[0] / SIDE


def _place(point: tuple[float, float], face: np.ndarray) -> tuple[int, int]:
    """A point of the table, (x, y) in pixels of SIDE whose centres are whole numbers, as OpenCV draws it."""
    x, y = (round(((value + 0.5) * _scale(face) - 0.5) * 2**SUBPIXEL) for value in point)
    return x, y


def _sheet(face: np.ndarray) -> np.ndarray:
    return np.zeros(face.shape[:2], np.uint8)


def _covered(face: np.ndarray, cover: np.ndarray, opacity: float, shade: float) -> np.ndarray:
    """cover: uint8 (S, S), 255 where the face is covered."""
    share = cover / 255 * opacity
    if face.ndim == 3:
        share = share[..., None]
    return _bytes(face * (1 - share) + shade * share)
