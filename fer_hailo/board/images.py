"""Picture files to uint8 RGB and back. The one place that knows OpenCV's order of colours."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np

from fer_hailo.board.headers import check_whole, picture_size
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import written

MAX_PIXELS = 100_000_000


def to_rgb(bgr: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) in OpenCV's BGR to RGB, C-contiguous."""
    import cv2

    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def to_bgr(rgb: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) RGB to OpenCV's BGR, C-contiguous."""
    import cv2

    return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)


def read_picture(path: Path | str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a JPEG, PNG, BMP, WebP, TIFF, PNM or (OpenCV 4.12 and newer) GIF file.

    Returns uint8 (H, W, 3) RGB: turned as its EXIF data says, grey copied to three channels, 16 bits reduced to 8, transparency laid
    on white. Raises ValueError with a predicate ("does not exist") for what is no whole picture, or one of more pixels than
    `max_pixels`, which is known from the header: a picture that unpacks to gigabytes costs nothing.
    """
    import cv2

    check_file(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    width, height = picture_size(data)
    check_pixels(width, height, max_pixels)
    check_whole(data)
    try:
        # This flag alone gives alpha and 16 bits as they are and obeys EXIF too; decoding from memory never calls GDAL.
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_LOAD_GDAL)
    except cv2.error:
        picture = None
    if picture is None:
        raise ValueError(f"is damaged, or of a kind that OpenCV {cv2.__version__} does not read")
    return _to_rgb8(picture)


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
        raise UserError(f"cannot write a picture as {path}: use .png or .jpg")
    with written(path) as beside:
        beside.write_bytes(data.tobytes())


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise ValueError where a picture or frame has more than `max_pixels`."""
    if width * height > max_pixels:
        raise ValueError(f"is too large: {width} x {height} are more than {max_pixels:,} pixels (--max-pixels)")


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


def _to_rgb8(picture: np.ndarray) -> np.ndarray:
    import cv2

    if picture.dtype == np.uint16:
        picture = (picture // 257).astype(np.uint8)
    if picture.dtype != np.uint8:
        raise ValueError(f"has pixels of {picture.dtype}: save it with 8 or 16 bits")
    if picture.ndim == 2:
        return cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
    if picture.shape[2] == 3:
        return to_rgb(picture)
    alpha = picture[..., 3:].astype(np.uint16)
    return ((cv2.cvtColor(picture, cv2.COLOR_BGRA2RGB) * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
