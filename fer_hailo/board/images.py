"""Image files to uint8 RGB and back, and OpenCV's order of colours."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np

from fer_hailo.common.decode import MAX_PIXELS, decode
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import written
from fer_hailo.common.headers import check_still

REMEDY = " (--max-pixels)"


def to_rgb(bgr: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) in OpenCV's BGR to RGB, C-contiguous."""
    import cv2

    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def to_bgr(rgb: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) RGB to OpenCV's BGR, C-contiguous."""
    import cv2

    return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)


def read_picture(path: Path | str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read an image file, as common/decode.py does.

    Returns uint8 (H, W, 3) RGB, grey copied to three channels. Raises ValueError with a predicate ("does not
    exist") for what is no whole image, is animated, or has more than `max_pixels`.
    """
    check_file(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    check_still(data)
    image = decode(data, max_pixels, REMEDY)
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def write_picture(path: Path | str, rgb: np.ndarray) -> None:
    """Write uint8 (H, W, 3) RGB or (H, W) grey atomically, in the format of the suffix.

    Raises UserError for a suffix that OpenCV does not know.
    """
    import cv2

    try:
        done, data = cv2.imencode(Path(path).suffix, rgb if rgb.ndim == 2 else to_bgr(rgb))
    except cv2.error:
        done = False
    if not done:
        raise UserError(f"cannot write an image as {path}: use .png or .jpg")
    with written(path) as beside:
        beside.write_bytes(data.tobytes())


def check_file(path: Path | str) -> None:
    """Raise ValueError (a predicate) for what is no file with something in it."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise ValueError("does not exist") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if stat.S_ISDIR(status.st_mode):
        raise ValueError("is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("is not a file")  # a pipe would wait for a writer
    if not status.st_size:
        raise ValueError("is empty (0 bytes)")
