"""What the bytes of an image or video file say without decoding: its size, and whether the file is whole."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

NO_PICTURE = "is not an image"
CUT = "is cut off: its end is missing"

_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis")
_JPEG_MARKER = re.compile(rb"\xff+([\x01-\xfe])")
# In JPEG's compressed data FF is followed by 0, or by a restart marker; anything else begins the next
# segment.
_JPEG_NEXT = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PNM = re.compile(rb"P[1-6](?:\s+|#[^\n]*\n)+(\d{1,9})(?:\s+|#[^\n]*\n)+(\d{1,9})\s")


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels, before any EXIF rotation, of an encoded JPEG, PNG, BMP, WebP, GIF, TIFF or
    PNM image.

    Only the header is looked at. Raises ValueError (a predicate: "is not an image") for anything else.
    """
    try:
        for magic, size in _SIZES.items():
            if data.startswith(magic):
                return size(data)
    except (struct.error, IndexError, KeyError):
        raise ValueError(CUT) from None
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC:
        raise ValueError(
            "is a HEIC or AVIF image, which OpenCV does not read: convert it to JPEG (an iPhone takes JPEG "
            "by Settings, Camera, Formats, Most Compatible)"
        )
    raise ValueError(NO_PICTURE)


def check_still(data: bytes) -> None:
    """Raise ValueError for an animated GIF or WebP, of which a decoder shows the first frame at most."""
    gif = data.startswith(b"GIF8") and _gif_frames(data) > 1
    if gif or data.startswith(b"RIFF") and data[8:16] == b"WEBPVP8X" and data[20:21] and data[20] & 2:
        name = "GIF" if gif else "WebP"
        raise ValueError(f"is an animated {name}: convert it to a video (ffmpeg -i FILE VIDEO.mp4)")


def webp_orientation(data: bytes) -> int:
    """What the EXIF data of a WebP say of how the image is stored: 1 (upright) to 8; 1 where nothing is said.

    OpenCV before 4.13 does not look.
    """
    at = 12
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF":
            try:
                return _tiff_tags(data[at + 8 : at + 8 + size].removeprefix(b"Exif\0\0")).get(0x112, 1)
            except struct.error:
                return 1
        at += 8 + size + size % 2
    return 1


def check_whole(data: bytes) -> None:
    """Raise ValueError for a JPEG or PNG without its end marker. What follows the marker does not matter.

    OpenCV before 4.12 gives the upper part of such a JPEG, and no error. It refuses the other formats by
    itself.
    """
    if (
        data.startswith(b"\xff\xd8")
        and not _jpeg_ends(data)
        or data.startswith(b"\x89PNG")
        and not _png_ends(data)
    ):
        raise ValueError(CUT)


def video_cut(path: Path | str) -> bool:
    """Whether an MP4 (MOV), AVI or Matroska (WebM) file is shorter than its own boxes say; False for other
    formats.

    The number of frames does not tell: containers estimate it, and a video trimmed by an edit list shows
    fewer than it holds.
    """
    total = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(4096)
        if head[:4] == b"RIFF":
            return 8 + struct.unpack_from("<I", head, 4)[0] > total
        if head[:4] == b"\x1aE\xdf\xa3":
            return _matroska_end(head) > total
        if head[4:8] not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return False
        at = 0
        while at + 8 <= total:
            file.seek(at)
            size, long_size = struct.unpack(">I4xQ", file.read(16).ljust(16, b"\0"))
            size = long_size if size == 1 else size
            if size < 8:  # 0: until the end of the file; the rest is no size
                return False
            at += size
        return at > total


def _jpeg_size(data: bytes) -> tuple[int, int]:
    for marker, at in _jpeg_segments(data):
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 3)
            return width, height
    raise ValueError(CUT)


def _jpeg_segments(data: bytes):
    """Marker and offset of the length field, of each segment up to the first compressed data."""
    at = 2
    while found := _JPEG_MARKER.match(data, at):
        marker, at = found[1][0], found.end()
        yield marker, at
        if marker == 0xDA:
            return
        at += 0 if marker == 1 or 0xD0 <= marker <= 0xD8 else struct.unpack_from(">H", data, at)[0]


def _jpeg_ends(data: bytes) -> bool:
    try:
        at = next((at for marker, at in _jpeg_segments(data) if marker == 0xDA), None)
        while at is not None:
            found = _JPEG_NEXT.search(data, at + struct.unpack_from(">H", data, at)[0])
            if found is None:
                return False
            if found[1] == b"\xd9":
                return True
            at = found.end()
    except struct.error:
        pass
    return False


def _png_ends(data: bytes) -> bool:
    at = 8
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        if kind == b"IEND":
            return at <= len(data)
    return False


def _bmp_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH" if data[14] == 12 else "<ii", data, 18)
    return abs(width), abs(height)


def _webp_size(data: bytes) -> tuple[int, int]:
    if data[8:12] != b"WEBP":
        raise ValueError(NO_PICTURE)
    kind = data[12:16]
    if kind == b"VP8X":
        low, high, wide = struct.unpack_from("<HBH", data, 24)
        return 1 + low + (high << 16), 1 + wide + (data[29] << 16)
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _gif_frames(data: bytes) -> int:
    """How many images a GIF holds, 2 for any more: after the header a chain of blocks (GIF89a)."""

    def table(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 0x80 else 0

    count, at = 0, 13 + table(data[10]) if len(data) > 12 else 13
    while at + 10 < len(data) and count < 2:
        if data[at] == 0x2C:
            count, at = count + 1, at + 11 + table(data[at + 9])
        elif data[at] == 0x21:
            at += 2
        else:
            break
        while at < len(data) and data[at]:  # sub-blocks, each after its length
            at += 1 + data[at]
        at += 1
    return count


def _tiff_size(data: bytes) -> tuple[int, int]:
    values = _tiff_tags(data)
    return values[256], values[257]


def _tiff_tags(data: bytes) -> dict[int, int]:
    """The first values of the first directory's tags, as numbers."""
    order = "<" if data.startswith(b"II") else ">"
    start = struct.unpack_from(order + "I", data, 4)[0]
    values = {}
    for number in range(struct.unpack_from(order + "H", data, start)[0]):
        tag, kind = struct.unpack_from(order + "HH", data, start + 2 + 12 * number)
        values[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, start + 10 + 12 * number)[
            0
        ]
    return values


def _pnm_size(data: bytes) -> tuple[int, int]:
    found = _PNM.match(data)
    if not found:
        raise ValueError(NO_PICTURE)
    return int(found[1]), int(found[2])


def _matroska_end(head: bytes) -> int:
    """Where the Segment ends; 0 where its size is left open, as in a recording."""
    size, at = _matroska_number(head, 4)
    at += size
    if head[at : at + 4] != b"\x18S\x80g":
        return 0
    size, start = _matroska_number(head, at + 4)
    return start + size if size else 0


def _matroska_number(head: bytes, at: int) -> tuple[int, int]:
    """A variable-length number at `at`, and what follows it; 0 for the number that stands for `unknown`."""
    length = 9 - head[at].bit_length() if at < len(head) and head[at] else 8
    value = int.from_bytes(head[at : at + length], "big") & ((1 << 7 * length) - 1)
    return (0 if value == (1 << 7 * length) - 1 else value), at + length


_SIZES = {
    b"\xff\xd8\xff": _jpeg_size,
    b"\x89PNG\r\n\x1a\n": lambda data: struct.unpack_from(">II", data, 16),
    b"BM": _bmp_size,
    b"RIFF": _webp_size,
    b"GIF8": lambda data: struct.unpack_from("<HH", data, 6),
    b"II*\0": _tiff_size,
    b"MM\0*": _tiff_size,
    **{b"P%d" % number: _pnm_size for number in range(1, 7)},
}
