"""Images, videos and a camera made for tests."""

from __future__ import annotations

import struct

import numpy as np

RED = (255, 0, 0)


def plain(color=RED, size=(64, 48)) -> np.ndarray:
    """uint8 (H, W, 3) RGB of one colour. size: width, height."""
    return np.full((size[1], size[0], 3), color, np.uint8)


def film(path, images, rate: float = 10):
    """Write uint8 (H, W, 3) RGB images as a video: MPEG-4 in .mp4 and .mkv, motion JPEG in .avi."""
    import cv2

    codec = cv2.VideoWriter_fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = None
    for image in images:
        writer = writer or cv2.VideoWriter(str(path), codec, rate, image.shape[1::-1])
        writer.write(np.ascontiguousarray(image[..., ::-1]))
    writer.release()
    return path


def counting(count: int, size=(64, 48)) -> list[np.ndarray]:
    """Grey images that tell their number, by steps that survive compression: 20, 28, 36, ..., 236, and again
    from 20 on.
    """
    return [plain((20 + 8 * (number % 28),) * 3, size) for number in range(count)]


def patch(path, box: bytes, offset: int, layout: str, *values):
    """Overwrite fields of an MP4 box, `offset` bytes after its name (ISO/IEC 14496-12)."""
    data = bytearray(path.read_bytes())
    struct.pack_into(layout, data, data.find(box) + 4 + offset, *values)
    path.write_bytes(data)


def retime(path, ticks: list[int]):
    """Give each frame of an MP4 a duration of its own, in ticks of its clock (`clock`): a variable frame
    rate.
    """
    data = bytearray(path.read_bytes())
    assert data.find(b"mdat") < data.find(b"moov")  # so that the table may grow without moving the frames
    at = data.find(b"stts")
    (old,) = struct.unpack_from(">I", data, at - 4)
    table = (
        b"stts" + struct.pack(">II", 0, len(ticks)) + b"".join(struct.pack(">II", 1, tick) for tick in ticks)
    )
    data[at : at - 4 + old] = table
    struct.pack_into(">I", data, at - 4, 4 + len(table))
    grown = 4 + len(table) - old
    for box in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        place = data.find(box) - 4
        struct.pack_into(">I", data, place, struct.unpack_from(">I", data, place)[0] + grown)
    length = sum(ticks)
    seconds_1000 = length * 1000 // clock(path)
    for box, offset, value in (
        (b"mvhd", 16, seconds_1000),
        (b"tkhd", 20, seconds_1000),
        (b"mdhd", 16, length),
        (b"elst", 8, seconds_1000),
    ):
        struct.pack_into(">I", data, data.find(box) + 4 + offset, value)
    path.write_bytes(data)


def clock(path) -> int:
    """Ticks a second of an MP4's track."""
    data = path.read_bytes()
    return struct.unpack_from(">I", data, data.find(b"mdhd") + 16)[0]


def index_first(path):
    """Move the index of an MP4 before its frames, as files for the web have it, so that a cut one can still
    be opened.
    """
    data = bytearray(path.read_bytes())
    start, end = data.find(b"mdat") - 4, data.find(b"moov") - 4
    index = data[end:]
    place = index.find(b"stco") + 8
    (count,) = struct.unpack_from(">I", index, place)
    for number in range(count):
        at = place + 4 + 4 * number
        struct.pack_into(">I", index, at, struct.unpack_from(">I", index, at)[0] + len(index))
    path.write_bytes(data[:start] + index + data[start:end])


class FakeCamera:
    """What cv2.VideoCapture would be for a camera that follows a script; `time` is its clock, in seconds.

    script: for each attempt to open it, a list of what its reads do ("ok"; "bad": fails at once; seconds:
    hangs so long and then gives a frame; ("hang", seconds): hangs so long and fails), or None where it cannot
    be opened. After a list's end reads fail. Call the object as the factory; each "ok" frame takes 1/`rate`
    seconds.
    """

    def __init__(self, script, rate: float = 10, color=(0, 0, 255)):
        self.script, self.rate, self.time, self.color = list(script), rate, 0.0, color
        self.opened, self.released, self.slept, self.settings = [], 0, [], {}
        self._reads: list | None = None

    def __call__(self, *arguments):
        self.opened.append(arguments)
        self._reads = self.script.pop(0) if self.script else None
        return self

    def isOpened(self):
        return self._reads is not None

    def get(self, key):
        return self.rate

    def set(self, key, value):
        self.settings[key] = value
        return True

    def grab(self):
        step = self._reads.pop(0) if self._reads else "bad"
        if isinstance(step, tuple):
            self.time += step[1]
            return False
        self.time += 1 / self.rate if step == "ok" else 0.001 if step == "bad" else step
        return step != "bad"

    def retrieve(self):
        return True, np.full((12, 16, 3), self.color, np.uint8)  # BGR

    def release(self):
        self.released += 1

    def sleep(self, seconds: float):
        self.slept.append(seconds)
        self.time += seconds

    def clock(self) -> float:
        return self.time
