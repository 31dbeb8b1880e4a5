"""Image files, good and bad. What is expected comes from Pillow and from values set by hand."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from fer_hailo.board.images import read_picture, to_bgr, to_rgb, write_picture
from fer_hailo.common.errors import UserError
from fer_hailo.common.headers import CUT, picture_size

FORMATS = {"a.jpg": "JPEG", "a.png": "PNG", "a.bmp": "BMP", "a.webp": "WEBP", "a.tif": "TIFF", "a.ppm": "PPM"}


def photo(width=61, height=37, mode="RGB") -> Image.Image:
    """Smooth, so that lossy formats keep it, and different in each channel and corner."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.dstack([x * 4, y * 6, 200 - x * 2]).astype(np.uint8)).convert(mode)


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def said(path, data: bytes, **options) -> str:
    path.write_bytes(data)
    with pytest.raises(ValueError) as error:
        read_picture(path, **options)
    return str(error.value)


@pytest.mark.parametrize("name", FORMATS)
def test_red_is_red(tmp_path, name):
    Image.new("RGB", (16, 12), (255, 0, 0)).save(tmp_path / name, FORMATS[name])
    image = read_picture(tmp_path / name)
    assert image.dtype == np.uint8 and image.shape == (12, 16, 3) and image.flags.c_contiguous
    assert np.abs(image.astype(int) - [255, 0, 0]).max() <= 2


def test_orders_of_colour():
    red = np.full((2, 2, 3), (255, 10, 20), np.uint8)
    assert to_bgr(red)[0, 0].tolist() == [20, 10, 255] and (to_rgb(to_bgr(red)) == red).all()


@pytest.mark.parametrize("name", FORMATS)
def test_the_pixels_are_pillows(tmp_path, name):
    picture = photo()
    picture.save(tmp_path / name, FORMATS[name], **({"lossless": True} if name == "a.webp" else {}))
    limit = 3 if name == "a.jpg" else 0  # decoders of JPEG may round differently
    assert (
        np.abs(
            read_picture(tmp_path / name).astype(int) - np.asarray(Image.open(tmp_path / name).convert("RGB"))
        ).max()
        <= limit
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture(tmp_path, orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x112] = orientation
    photo().save(tmp_path / "a.jpg", exif=exif, quality=95)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg")))
    image = read_picture(tmp_path / "a.jpg")
    assert image.shape == expected.shape and np.abs(image.astype(int) - expected).max() <= 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_what_moves_is_no_image(tmp_path, kind):
    frames = [photo(), photo().rotate(180)]
    moving = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    told = said(tmp_path / "a", moving)
    name = {"GIF": "GIF", "WEBP": "WebP"}[kind]
    assert told == f"is an animated {name}: convert it to a video (ffmpeg -i FILE VIDEO.mp4)"
    for cut in range(1, len(moving), 97):
        said(tmp_path / "a", moving[:cut])
    still = encoded(frames[0], kind)
    (tmp_path / "b").write_bytes(still)
    assert read_picture(tmp_path / "b").shape == (37, 61, 3)


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"avif"])
def test_heic_is_named(tmp_path, brand):
    told = said(tmp_path / "a.heic", b"\0\0\0\x18ftyp" + brand + bytes(40))
    assert told.startswith("is a HEIC or AVIF image, which OpenCV does not read: convert it to JPEG")


def test_exif_and_transparency_together(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6  # stored lying on its left side
    picture = photo(30, 20, "RGBA")
    picture.putpixel((0, 0), (200, 100, 0, 0))
    picture.save(tmp_path / "a.png", exif=exif)
    image = read_picture(tmp_path / "a.png")
    assert (
        image.shape == (30, 20, 3)
        and image[0, -1].tolist() == [255, 255, 255]
        and image[-1, -1].tolist() == [116, 0, 142]
    )


def test_transparency_is_laid_on_white(tmp_path):
    Image.fromarray(np.array([[[200, 100, 0, 0], [200, 100, 0, 255], [200, 100, 0, 128]]], np.uint8)).save(
        tmp_path / "a.png"
    )
    # 200 x 128/255 + 255 x 127/255 = 227.4, and so on
    assert read_picture(tmp_path / "a.png").tolist() == [[[255, 255, 255], [200, 100, 0], [227, 177, 127]]]


def test_grey_palette_and_16_bits(tmp_path):
    Image.new("L", (3, 2), 90).save(tmp_path / "grey.png")
    assert (read_picture(tmp_path / "grey.png") == 90).all() and read_picture(
        tmp_path / "grey.png"
    ).shape == (2, 3, 3)
    Image.fromarray(np.array([[0, 257, 25700, 65535]], np.uint16)).save(tmp_path / "deep.png")
    assert read_picture(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 1, 100, 255]
    palette = photo().convert("P")
    palette.save(tmp_path / "palette.png")
    assert (read_picture(tmp_path / "palette.png") == np.asarray(palette.convert("RGB"))).all()


def test_one_pixel_is_a_picture(tmp_path):
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "dot.png")
    assert read_picture(tmp_path / "dot.png").tolist() == [[[1, 2, 3]]]


def test_what_is_no_picture(tmp_path):
    assert said(tmp_path / "text.jpg", b"I am no picture") == "is not an image"
    assert said(tmp_path / "empty.jpg", b"") == "is empty (0 bytes)"
    assert said(tmp_path / "phone.jpg", b"\0\0\0\x18ftypheic\0\0\0\0").startswith("is a HEIC")
    assert "damaged" in said(tmp_path / "junk.bmp", b"BM" + bytes(12) + struct.pack("<Iii", 40, 9, 9))
    for path, problem in ((tmp_path / "none.png", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(ValueError, match=f"^{problem}$"):
            read_picture(path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match="is not a file"):
        read_picture(tmp_path / "pipe.png")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    from pathlib import Path

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    photo().save(tmp_path / "a.png")
    monkeypatch.setattr(Path, "read_bytes", refuse)  # chmod does not keep root out
    with pytest.raises(ValueError, match="cannot be read: Permission denied"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("TIFF", {})],
)
def test_half_a_file_is_no_picture(tmp_path, kind, options):
    data = encoded(photo(200, 150), kind, **options)
    for share in (0.1, 0.5, 0.95):
        problem = said(tmp_path / "a", data[: int(len(data) * share)])
        assert problem == CUT or "damaged" in problem


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_what_follows_a_picture_does_not_matter(tmp_path, kind):
    (tmp_path / "a").write_bytes(encoded(photo(), kind) + b"maker's notes" * 9)
    assert read_picture(tmp_path / "a").shape == (37, 61, 3)


def test_a_jpeg_whose_thumbnail_has_the_only_end_marker_is_cut(tmp_path):
    data, inner = encoded(photo(200, 150), "JPEG"), encoded(photo(), "JPEG")
    thumbnail = b"\xff\xe1" + struct.pack(">H", len(inner) + 2) + inner
    assert said(tmp_path / "a.jpg", data[:2] + thumbnail + data[2 : len(data) * 2 // 3]) == CUT
    (tmp_path / "a.jpg").write_bytes(data[:2] + thumbnail + data[2:])
    assert read_picture(tmp_path / "a.jpg").shape == (150, 200, 3)  # the image's size, not the thumbnail's


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM"])
def test_sizes_from_headers(kind):
    assert picture_size(encoded(photo(61, 37), kind)) == (61, 37)


def test_sizes_of_rarer_headers():
    assert picture_size(encoded(photo(61, 37), "WEBP", lossless=True)) == (61, 37)
    assert picture_size(encoded(photo(61, 37, "RGBA"), "WEBP")) == (61, 37)
    assert picture_size(encoded(photo(61, 37), "JPEG", progressive=True, icc_profile=bytes(70000))) == (
        61,
        37,
    )
    assert picture_size(b"P5\n# by hand\n61 37\n255\n" + bytes(61 * 37)) == (61, 37)
    assert picture_size(b"BM" + bytes(12) + struct.pack("<Iii", 40, 61, -37)) == (61, 37)  # rows from the top


def bomb(side: int) -> bytes:
    """A PNG of side x side black pixels in 1 bit each, with the pixels left out: decoding it would fail,
    reading its header not.
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IEND", b"")


def test_too_large_is_known_before_decoding(tmp_path, monkeypatch):
    import cv2

    monkeypatch.setattr(cv2, "imdecode", None)  # calling it would be a TypeError
    monkeypatch.setattr(Image, "open", None)
    problem = said(tmp_path / "bomb.png", bomb(30000))
    assert problem == "is too large: 30000 x 30000 are more than 100,000,000 pixels (--max-pixels)"
    assert "too large: 61 x 37" in said(tmp_path / "a.jpg", encoded(photo(), "JPEG"), max_pixels=61 * 37 - 1)


def test_exactly_the_limit_is_allowed(tmp_path):
    photo().save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png", max_pixels=61 * 37).shape == (37, 61, 3)


def test_writing(tmp_path):
    image = np.asarray(photo())
    write_picture(tmp_path / "new/a.png", image)
    assert (np.asarray(Image.open(tmp_path / "new/a.png")) == image).all()
    write_picture(tmp_path / "new/a.jpg", np.full((8, 8), 77, np.uint8))
    assert (np.asarray(Image.open(tmp_path / "new/a.jpg")) == 77).all()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.jpg", "a.png"]
    with pytest.raises(UserError, match="use .png or .jpg"):
        write_picture(tmp_path / "a.xyz", image)
