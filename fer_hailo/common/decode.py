"""Encoded image to uint8 array, for training and board alike: refuses what is damaged, instead of showing
half of it.

By Pillow where it is installed, else by OpenCV; both give the same pixels, but of JPEGs in CMYK and of
colours with 16 bits, whose values may differ by 1 of 255 (tests/data/test_decode.py).
"""

from __future__ import annotations

import io

import numpy as np

from fer_hailo.common.errors import one_line
from fer_hailo.common.headers import check_whole, picture_size, webp_orientation

MAX_PIXELS = 100_000_000


def decode(data: bytes, max_pixels: int = MAX_PIXELS, remedy: str = "") -> np.ndarray:
    """Decode an image file: JPEG, PNG, BMP, WebP, TIFF, PNM, GIF (OpenCV: from 4.12 on), and with Pillow what
    else it reads.

    Returns uint8 (H, W) for grey images and (H, W, 3) RGB for others, C-contiguous: 16 bits are reduced to 8,
    transparency is laid on white, CMYK and palettes become RGB, and a photograph is turned as its EXIF data
    says. Raises ValueError with a predicate ("is not an image") for what is no whole image, or one of more
    than `max_pixels`, which its header tells: an image that unpacks to gigabytes costs nothing. remedy: ends
    the line for such a one.
    """
    if not data:
        raise ValueError("is empty (0 bytes)")
    size, unknown = _size(data)
    check_pixels(*size, max_pixels, remedy)
    try:
        if _has_pillow(size):
            return _by_pillow(data, unknown, max_pixels, remedy)
        if unknown:
            raise unknown
        return _by_opencv(data)
    except MemoryError:
        raise ValueError("does not fit into memory") from None


def check_pixels(width: int, height: int, max_pixels: int, remedy: str = "") -> None:
    """Raise ValueError where an image or frame has more than `max_pixels`."""
    if width * height > max_pixels:
        raise ValueError(f"is too large: {width} x {height} are more than {max_pixels:,} pixels{remedy}")


def _size(data: bytes) -> tuple[tuple[int, int], ValueError | None]:
    """Width and height, or 0 and 0 with the reason where the header does not tell."""
    try:
        return picture_size(data), None
    except ValueError as error:
        return (0, 0), error


def _has_pillow(size: tuple[int, int]) -> bool:
    """Pillow takes very large images for attacks, and warns or refuses by a limit of its own: those are
    OpenCV's.
    """
    try:
        from PIL import Image
    except ImportError:
        return False
    return size[0] * size[1] <= (Image.MAX_IMAGE_PIXELS or MAX_PIXELS)


def _by_pillow(data: bytes, unknown: ValueError | None, max_pixels: int, remedy: str) -> np.ndarray:
    from PIL import Image

    try:
        picture = Image.open(io.BytesIO(data))
    except MemoryError:
        raise
    except Exception as error:  # Pillow has no common base for what malformed files make it raise
        raise unknown or _damaged(data, error) from None
    with picture:
        check_pixels(picture.width, picture.height, max_pixels, remedy)
        try:
            picture.load()
            return _to_array(_turned(picture))
        except MemoryError:
            raise
        except Exception as error:
            raise _damaged(data, error) from None


def _damaged(data: bytes, error: Exception) -> ValueError:
    """Why a decoder fails: the file is cut off, or what the decoder says."""
    try:
        check_whole(data)
    except ValueError as cut:
        return cut
    return ValueError(f"is damaged and cannot be decoded: {one_line(error, 100)}")


def _turned(picture):
    """As EXIF's orientation says.

    Pillow's own exif_transpose also writes the other tags anew, and fails where one is malformed.
    """
    from PIL.Image import Transpose

    turns = (
        "FLIP_LEFT_RIGHT",
        "ROTATE_180",
        "FLIP_TOP_BOTTOM",
        "TRANSPOSE",
        "ROTATE_270",
        "TRANSVERSE",
        "ROTATE_90",
    )  # for 2 to 8
    orientation = picture.getexif().get(0x0112)
    return picture.transpose(Transpose[turns[orientation - 2]]) if orientation in range(2, 9) else picture


def _to_array(picture) -> np.ndarray:
    from PIL import Image

    if picture.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would clip it to white
        return (np.asarray(picture).astype(np.int64).clip(0, 65535) // 257).astype(np.uint8)
    if picture.mode == "L" and "transparency" not in picture.info:
        return np.array(picture)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.array(picture.convert("L" if picture.mode == "1" else "RGB"))


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """A view of an array (H, W, ...), turned as EXIF's orientation, 1 to 8, says; others leave it so."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image[:, ::-1] if orientation in (2, 3, 6, 7) else image


def _by_opencv(data: bytes) -> np.ndarray:
    import cv2

    check_whole(data)  # OpenCV gives the upper part of a truncated file without an error
    try:
        # This flag alone gives alpha and 16 bits as they are and obeys EXIF too, but in WebP not in every
        # version; decoding from memory never calls GDAL.
        webp = data.startswith(b"RIFF")
        flag = cv2.IMREAD_UNCHANGED if webp else cv2.IMREAD_LOAD_GDAL
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:
        picture = None
    if picture is None and data.startswith(b"GIF8"):
        raise ValueError(f"is a GIF, which OpenCV {cv2.__version__} does not read: convert it to PNG")
    if picture is None:
        raise ValueError(f"is damaged, or of a kind that OpenCV {cv2.__version__} does not read")
    if webp:
        picture = np.ascontiguousarray(_upright(picture, webp_orientation(data)))
    if picture.dtype == np.uint16:
        picture = (picture // 257).astype(np.uint8)
    if picture.dtype != np.uint8:
        raise ValueError(f"has pixels of {picture.dtype}: save it with 8 or 16 bits")
    if picture.ndim == 2:
        return picture
    if picture.shape[2] == 3:
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    alpha = picture[..., 3:].astype(np.uint16)
    return ((cv2.cvtColor(picture, cv2.COLOR_BGRA2RGB) * alpha + 255 * (255 - alpha) + 127) // 255).astype(
        np.uint8
    )
