"""Encoded picture to uint8 array, refusing what is damaged instead of showing half of it."""

from __future__ import annotations

import io

import numpy as np

LARGEST_PIXELS = 64_000_000


def decode(data: bytes) -> np.ndarray:
    """Decode a picture file.

    Returns uint8 (H, W) for grey pictures and (H, W, 3) RGB for others: 16 bits are reduced to 8, transparency is laid on
    white, CMYK and palettes become RGB, and a photograph is turned as its EXIF data says. Raises ValueError, saying why, for
    what is no whole picture.
    Pillow, since OpenCV gives the upper part of a truncated file without an error.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not data:
        raise ValueError("is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > LARGEST_PIXELS:
                raise ValueError(f"it is too large ({picture.width} x {picture.height})")
            picture.load()
            return _to_array(ImageOps.exif_transpose(picture))
    except UnidentifiedImageError:
        raise ValueError("is not a picture") from None
    except Exception as error:  # Pillow has no common base for what malformed files make it raise
        raise ValueError(f"cannot be decoded: {error}") from None


def _to_array(picture) -> np.ndarray:
    from PIL import Image

    if picture.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would clip it to white
        return (np.asarray(picture).astype(np.int64).clip(0, 65535) // 257).astype(np.uint8)
    if picture.mode == "L" and "transparency" not in picture.info:
        return np.asarray(picture)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("L" if picture.mode == "1" else "RGB"))
