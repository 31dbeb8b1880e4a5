"""The one decoder, by Pillow and by OpenCV alone.

What is expected is set by hand; the pixels of lossy formats are held to each other.
"""

import io
import sys

import numpy as np
import pytest
from PIL import Image, ImageOps

from fer_hailo.common import decode as decoding

GREY = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
RGB = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def by_opencv(data: bytes, **options) -> np.ndarray:
    """As on a board without Pillow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "PIL", None)
        return decoding.decode(data, **options)


@pytest.fixture(params=[decoding.decode, by_opencv], ids=["Pillow", "OpenCV"])
def decode(request):
    return request.param


def encoded(image: Image.Image, kind="PNG", **options) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def test_grey_and_rgb_come_back(decode):
    assert (decode(encoded(Image.fromarray(GREY))) == GREY).all()
    assert (decode(encoded(Image.fromarray(RGB))) == RGB).all()


def test_16_bits_are_scaled_not_clipped(decode):
    wide = GREY.astype(np.uint16) * 257
    assert (decode(encoded(Image.fromarray(wide))) == GREY).all()


def test_transparency_lies_on_white(decode):
    alpha = np.full((20, 30), 255, np.uint8)
    alpha[:10] = 0
    out = decode(encoded(Image.fromarray(np.dstack([RGB, alpha]))))
    assert (out[:10] == 255).all() and (out[10:] == RGB[10:]).all()


@pytest.mark.parametrize("orientation", range(1, 10))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_is_obeyed(decode, kind, orientation):
    exif = Image.Exif()
    exif[0x112] = orientation  # 9 is none
    smooth = Image.fromarray(np.dstack([np.add.outer(np.arange(20) * 9, np.arange(30))] * 3).astype(np.uint8))
    data = encoded(smooth, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    expected = np.asarray(ImageOps.exif_transpose(smooth_with(smooth, exif)))
    out = decode(data)
    assert out.shape == expected.shape and out.flags.c_contiguous
    assert np.abs(out.astype(int) - expected).max() <= (3 if kind == "JPEG" else 0)


def smooth_with(image: Image.Image, exif: Image.Exif) -> Image.Image:
    return Image.open(io.BytesIO(encoded(image, exif=exif)))


def test_a_gif_that_opencv_does_not_read(monkeypatch):
    import cv2

    monkeypatch.setattr(cv2, "imdecode", lambda *arguments: None)  # as before 4.12
    with pytest.raises(ValueError, match="is a GIF, which OpenCV .* does not read: convert it to PNG"):
        by_opencv(encoded(Image.fromarray(GREY), "GIF"))


def test_cmyk_becomes_rgb(decode):
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    out = decode(encoded(cyan, "JPEG", quality=95))
    assert out.shape == (16, 16, 3)
    assert out[8, 8, 0] < 20 and out[8, 8, 1] > 150 and out[8, 8, 2] > 200


def test_photographs_are_turned_as_exif_says(decode):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees clockwise
    assert (decode(encoded(Image.fromarray(GREY), exif=exif)) == np.rot90(GREY, -1)).all()


def test_malformed_files_never_raise_anything_but_valueerror(decode):
    rng = np.random.default_rng(0)
    originals = [
        encoded(Image.fromarray(RGB), kind) for kind in ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")
    ]
    for number in range(600):
        data = bytearray(originals[number % len(originals)])
        for place in rng.integers(0, len(data), 4):
            data[place] = rng.integers(256)
        try:
            assert decode(bytes(data)).dtype == np.uint8
        except ValueError:
            continue


def test_palette_and_bilevel(decode):
    assert decode(encoded(Image.fromarray(RGB).convert("P"))).shape == (20, 30, 3)
    assert set(np.unique(decode(encoded(Image.fromarray(GREY).convert("1"))))) == {0, 255}


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_truncated(decode, kind):
    whole = encoded(Image.fromarray(np.tile(GREY, (4, 4))), kind)
    for part in (0.3, 0.6, 0.9):
        with pytest.raises(ValueError, match="cannot be decoded|is cut off"):
            decode(whole[: int(len(whole) * part)])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"hello, this is text", "is not an image"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 40, "is cut off"),
    ],
)
def test_no_picture_at_all(decode, data, said):
    with pytest.raises(ValueError, match=said):
        decode(data)


def test_absurd_size_is_refused_before_it_is_unpacked(decode):
    import struct
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    with pytest.raises(ValueError, match="is too large: 60000 x 60000 are more than 100,000,000 pixels$"):
        decode(
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(b"\0" * 100))
            + chunk(b"IEND", b"")
        )


def test_one_limit_for_both(decode):
    data = encoded(Image.fromarray(RGB))
    assert decode(data, max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(ValueError, match="^is too large: 30 x 20 are more than 599 pixels, cut it$"):
        decode(data, max_pixels=599, remedy=", cut it")


def test_what_pillow_takes_for_an_attack_is_opencvs(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 299)  # it raises from twice as many on
    assert (decoding.decode(encoded(Image.fromarray(RGB))) == RGB).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation(decode, orientation):
    """What a camera's software would show, by Pillow's own function; of a lossless file, to the pixel."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(RGB), exif=exif)
    assert (decode(data) == np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))).all()


def test_a_malformed_tag_beside_the_orientation(decode):
    """The camera's model (0x0110) as a fraction: Pillow's exif_transpose fails on it."""
    count, no_more = b"\0\2", b"\0\0\0\0"
    model, orientation = b"\1\x10\0\5\0\0\0\1\0\0\0\x26", b"\1\x12\0\3\0\0\0\1\0\6\0\0"
    body = b"Exif\0\0MM\0*\0\0\0\x08" + count + model + orientation + no_more + b"\0\0\0\x48\0\0\0\1"
    plain = encoded(Image.fromarray(RGB), "JPEG")
    data = plain[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + plain[2:]
    assert (decode(data) == np.rot90(decode(plain), -1)).all()


def test_exif_data_that_are_none(decode):
    plain = encoded(Image.fromarray(RGB), "JPEG")
    body = b"Exif\0\0no TIFF header here"
    data = plain[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + plain[2:]
    assert (decode(data) == decode(plain)).all()


KINDS = {
    "grey JPEG": ("L", "JPEG", {}), "JPEG, colours at full size": ("RGB", "JPEG", {"subsampling": 0}),
    "JPEG, at half its width": ("RGB", "JPEG", {"subsampling": 1}),
    "JPEG, at a quarter": ("RGB", "JPEG", {"subsampling": 2}),
    "progressive JPEG": ("RGB", "JPEG", {"progressive": True}), "palette": ("P", "PNG", {}),
    "bilevel": ("1", "PNG", {}),
    "transparent": ("RGBA", "PNG", {}), "transparent grey": ("LA", "PNG", {}),
    "one transparent colour": ("P", "PNG", {"transparency": 3}),
    "WebP": ("RGB", "WEBP", {}), "TIFF": ("RGB", "TIFF", {}),
    "JPEG within TIFF": ("RGB", "TIFF", {"compression": "jpeg"}),
    "BMP": ("RGB", "BMP", {}), "PPM": ("RGB", "PPM", {}), "CMYK JPEG": ("CMYK", "JPEG", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_both_decoders_see_the_same(name):
    """On noise, where any other rounding of a JPEG's colours shows."""
    mode, kind, options = KINDS[name]
    image = Image.fromarray(RGB)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(GREY))
    data = encoded(image.convert(mode), kind, **options)
    pillow, opencv = decoding.decode(data), by_opencv(data)
    assert pillow.shape[:2] == opencv.shape[:2] == (20, 30) and pillow.flags.writeable
    # Grey in a palette, or beside transparency, may come as three equal channels
    if pillow.ndim != opencv.ndim:
        pillow, opencv = (np.dstack([one] * 3) if one.ndim == 2 else one for one in (pillow, opencv))
    assert np.abs(pillow.astype(int) - opencv).max() <= (1 if name == "CMYK JPEG" else 0)
