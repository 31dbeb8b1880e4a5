import io

import numpy as np
import pytest
from PIL import Image

from fer_hailo.training.data.decode import decode

GREY = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
RGB = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind="PNG", **options) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def test_grey_and_rgb_come_back():
    assert (decode(encoded(Image.fromarray(GREY))) == GREY).all()
    assert (decode(encoded(Image.fromarray(RGB))) == RGB).all()


def test_16_bits_are_scaled_not_clipped():
    wide = GREY.astype(np.uint16) * 257
    assert (decode(encoded(Image.fromarray(wide))) == GREY).all()


def test_transparency_lies_on_white():
    alpha = np.full((20, 30), 255, np.uint8)
    alpha[:10] = 0
    out = decode(encoded(Image.fromarray(np.dstack([RGB, alpha]))))
    assert (out[:10] == 255).all() and (out[10:] == RGB[10:]).all()


def test_cmyk_becomes_rgb():
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    out = decode(encoded(cyan, "JPEG", quality=95))
    assert out.shape == (16, 16, 3)
    assert out[8, 8, 0] < 20 and out[8, 8, 1] > 150 and out[8, 8, 2] > 200


def test_photographs_are_turned_as_exif_says():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees clockwise
    assert (decode(encoded(Image.fromarray(GREY), exif=exif)) == np.rot90(GREY, -1)).all()


def test_malformed_files_never_raise_anything_but_valueerror():
    rng = np.random.default_rng(0)
    originals = [encoded(Image.fromarray(RGB), kind) for kind in ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")]
    for number in range(600):
        data = bytearray(originals[number % len(originals)])
        for place in rng.integers(0, len(data), 4):
            data[place] = rng.integers(256)
        try:
            assert decode(bytes(data)).dtype == np.uint8
        except ValueError:
            continue


def test_palette_and_bilevel():
    assert decode(encoded(Image.fromarray(RGB).convert("P"))).shape == (20, 30, 3)
    assert set(np.unique(decode(encoded(Image.fromarray(GREY).convert("1"))))) == {0, 255}


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_truncated(kind):
    whole = encoded(Image.fromarray(np.tile(GREY, (4, 4))), kind)
    for part in (0.3, 0.6, 0.9):
        with pytest.raises(ValueError, match="cannot be decoded|is not a picture"):
            decode(whole[: int(len(whole) * part)])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"hello, this is text", "is not a picture"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 40, "cannot be decoded|not a picture"),
    ],
)
def test_no_picture_at_all(data, said):
    with pytest.raises(ValueError, match=said):
        decode(data)


def test_absurd_size_is_refused_before_it_is_unpacked():
    import struct
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    with pytest.raises(ValueError, match="exceeds limit"):
        decode(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b""))
