"""What the user names (files, folders, patterns, cameras, addresses) as sources of images and frames."""

from __future__ import annotations

import glob
import math
import os
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator
from functools import cached_property
from pathlib import Path
from typing import Protocol

from fer_hailo.board.camera import AS_IT_IS, Capture, Wish
from fer_hailo.board.connect import Open, is_live, open_camera, public
from fer_hailo.board.frames import Shot
from fer_hailo.board.images import REMEDY, check_file, read_picture, to_rgb
from fer_hailo.common.decode import check_pixels
from fer_hailo.common.errors import UserError, one_line
from fer_hailo.common.headers import NO_PICTURE, picture_size, video_cut

# HEIC and AVIF stand here so that they are named as what they are, not passed over.
PICTURES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".gif",
    ".tif", ".tiff", ".pbm", ".pgm", ".ppm", ".pnm", ".heic", ".heif", ".avif",
}  # fmt: skip
VIDEOS = {
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".m2v", ".ts",
    ".mts", ".m2ts", ".wmv", ".asf", ".flv", ".3gp", ".3g2", ".ogv", ".mjpg", ".mjpeg",
}  # fmt: skip
DAMAGED_IN_A_ROW = (
    25  # failed reads after which a file has ended; OpenCV passes over up to 64 broken packets in each
)
TURNS = {90: 0, 180: 1, 270: 2}  # degrees clockwise: cv2.ROTATE_90_CLOCKWISE and so on
USUAL_RATE = 25.0  # frames a second, for the timestamps of a file that tells neither times nor rate


class Source(Protocol):
    """A place that gives images.

    name: what the user calls it. live: does not wait for whoever takes the images. count: of images or frames
    as far as known (a video's is what its header says).
    """

    @property
    def name(self) -> str: ...

    @property
    def live(self) -> bool: ...

    @property
    def count(self) -> int | None: ...

    def shots(self) -> Iterator[Shot]:
        """The images in order, once. What cannot be read is a Shot with a problem, never an exception."""

    def stop(self) -> None:
        """Make `shots` end soon. May be called from another thread."""


def open_sources(
    arguments: list[str],
    max_pixels: int,
    capture: Open | None = None,
    sleep: Callable[[float], object] | None = None,
    clock: Callable[[], float] = time.perf_counter,
    wish: Wish = AS_IT_IS,
) -> list[Source]:
    """Turn arguments into sources, in their order; folders and patterns in natural order of their files (2
    before 10).

    An argument is an image or video file, a folder (searched recursively), a glob pattern (** for any
    folders), a camera's number or /dev/videoN, picamera, an rtsp:// or http(s):// address, or gst: and a
    pipeline. In folders and patterns, hidden files and those that are neither images nor videos by suffix are
    passed over. max_pixels: of an image or frame. capture, sleep, clock, wish: cv2.VideoCapture, see Camera.

    Raises UserError where an argument is empty, or a camera or address is not the only source, or cannot be
    opened, or where a `wish` is not for a camera. All other trouble comes as Shots.
    """
    import cv2

    _silence()
    capture = capture or cv2.VideoCapture
    if "" in arguments:
        raise UserError("a SOURCE is empty: is a variable of the shell not set?")
    live = [argument for argument in arguments if is_live(argument)]
    if live and len(arguments) > 1:
        raise UserError(f"{public(live[0])} is live and never ends: it must be the only source")
    if live:
        return [open_camera(live[0], wish, capture, sleep, clock)]
    if wish:
        raise UserError("--size and --rate are for cameras; files are taken as they are")
    return [source for argument in arguments for source in _files(argument, max_pixels, capture)]


class Problem:
    """What could not be read, in the place of its images."""

    live = False
    count = 1

    def __init__(self, name: str, problem: str):
        self.name, self.problem = name, problem

    def shots(self) -> Iterator[Shot]:
        yield Shot(self.name, None, problem=self.problem)

    def stop(self) -> None:
        """It ends by itself."""


class Picture:
    """An image file."""

    live = False
    count = 1

    def __init__(self, path: Path, max_pixels: int):
        self.name, self.path, self.max_pixels = str(path), path, max_pixels

    def shots(self) -> Iterator[Shot]:
        # `taken` is the time before reading: the latency of a file includes it.
        taken = time.perf_counter()
        try:
            yield Shot(self.name, read_picture(self.path, self.max_pixels), taken=taken)
        except (ValueError, MemoryError) as error:
            yield Shot(self.name, None, problem=str(error) or "does not fit into memory", taken=taken)

    def stop(self) -> None:
        """It ends by itself."""


class Video:
    """A video file, through OpenCV's FFmpeg. Rotation in its header is obeyed, here: of OpenCV's versions not
    every one turns frames by itself (4.11 does not).
    """

    live = False

    def __init__(self, path: Path, max_pixels: int, capture: Open):
        self.name, self.path, self.max_pixels, self._new = str(path), path, max_pixels, capture
        self._stopped = threading.Event()

    @cached_property
    def count(self) -> int | None:
        """Frames, as the header says; 1 (the problem) for a file that cannot be opened; None where the header
        does not say.
        """
        try:
            capture = self._open()
        except ValueError:
            return 1
        count = _frame_count(capture)
        capture.release()
        return count

    def stop(self) -> None:
        self._stopped.set()

    def shots(self) -> Iterator[Shot]:
        """Frames in order. A frame that cannot be decoded is a Shot with a problem, its number counted; a
        file that ends too early gives what is there, then a Shot that says so.
        """
        import cv2

        try:
            capture = self._open()
            try:
                number = yield from self._frames(capture)
                if not self._stopped.is_set() and video_cut(self.path):
                    raise ValueError(
                        f"ends after {number:,} of {_frame_count(capture) or 'an unknown number of'} frames: "
                        "the file is cut off"
                    )
            finally:
                capture.release()
        except (ValueError, OSError, MemoryError, cv2.error) as error:
            yield Shot(self.name, None, problem=one_line(error) or "does not fit into memory")

    def _open(self) -> Capture:
        """An open capture. Raises ValueError with the reason."""
        import cv2

        check_file(self.path)
        # FFmpeg by name: other backends would take `clip01.avi` for one of a series of images.
        capture = self._new(str(self.path), cv2.CAP_FFMPEG, [])
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        if not capture.isOpened():
            capture.release()
            raise ValueError(
                f"cannot be opened as a video{': the file is cut off' if _is_cut(self.path) else ''}"
            )
        try:
            check_pixels(
                int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
                int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
                self.max_pixels,
                REMEDY,
            )
        except ValueError:
            capture.release()
            raise
        return capture

    def _frames(self, capture: Capture) -> Generator[Shot, None, int]:
        """Yield the frames, return their number."""
        import cv2

        stated = capture.get(cv2.CAP_PROP_FPS)
        rate = float(stated) if 0 < stated <= 1000 else None
        turned = capture.get(cv2.CAP_PROP_ORIENTATION_AUTO)  # where it could not be switched off
        turn = None if turned else TURNS.get(round(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360)
        number, failed, step, time_s = 0, 0, 1 / (rate or USUAL_RATE), -math.inf
        while not self._stopped.is_set() and failed < DAMAGED_IN_A_ROW:
            taken = time.perf_counter()
            done, image = capture.read()
            if not done:
                failed += 1
                continue
            # Only now are the failed reads known to be damaged frames, not the end of the file.
            for _ in range(failed):
                time_s = max(0.0, time_s + step)
                yield Shot(self.name, None, number, time_s, rate, "a frame could not be decoded", taken)
                number += 1
            failed = 0
            time_s = _next_time(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, time_s, step)
            image = to_rgb(image if turn is None else cv2.rotate(image, turn))
            yield Shot(self.name, image, number, time_s, rate, taken=taken)
            number += 1
        return number


def _next_time(stamp: float, last: float, step: float) -> float:
    """The container's timestamp where it goes forward, so that variable frame rates keep their times; else
    one frame after the last.
    """
    if math.isfinite(stamp) and stamp > last and stamp >= 0:
        return stamp
    return max(0.0, last + step)


def _frame_count(capture: Capture) -> int | None:
    import cv2

    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return int(count) if 0 < count < 2**53 else None


def _is_cut(path: Path) -> bool:
    try:
        return video_cut(path)
    except OSError:
        return False


def _files(argument: str, max_pixels: int, capture: Open) -> list[Source]:
    path = Path(argument)
    if os.path.isdir(path):  # of a name that is too long, Path.is_dir raises what the system says
        return _folder(path, max_pixels, capture)
    if not os.path.lexists(path) and glob.has_magic(argument):
        found = [Path(name) for name in glob.glob(argument, recursive=True)]
        files = sorted({path for path in found if _wanted(path) and path.is_file()}, key=_natural)
        return [_file(path, max_pixels, capture) for path in files] or [
            Problem(argument, "matches no image or video")
        ]
    return [_file(path, max_pixels, capture)]


def _folder(path: Path, max_pixels: int, capture: Open) -> list[Source]:
    unreadable: list[OSError] = []
    files = []
    for place, folders, names in os.walk(path, onerror=unreadable.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(place, name) for name in names if _wanted(Path(name))]
    sources: list[Source] = [_file(file, max_pixels, capture) for file in sorted(files, key=_natural)]
    sources += [Problem(str(error.filename), f"cannot be read: {error.strerror}") for error in unreadable]
    return sources or [Problem(str(path), "holds no images or videos")]


def _file(path: Path, max_pixels: int, capture: Open) -> Source:
    suffix = path.suffix.lower()
    if suffix in VIDEOS:
        return Video(path, max_pixels, capture)
    if suffix in PICTURES or _begins_as_picture(path):
        return Picture(path, max_pixels)
    with open(path, "rb") as file:
        # A file without a zero byte is text: FFmpeg would show notes.txt as a film, and open what a playlist
        # names.
        text = b"\0" not in file.read(4096)
    return Problem(str(path), "is neither an image nor a video") if text else Video(path, max_pixels, capture)


def _begins_as_picture(path: Path) -> bool:
    """Also true for what cannot be read at all: reading it as an image says why."""
    try:
        check_file(path)
        with open(path, "rb") as file:
            picture_size(file.read(65536))
    except (ValueError, OSError) as error:
        return str(error) != NO_PICTURE
    return True


def _wanted(path: Path) -> bool:
    return not path.name.startswith(".") and path.suffix.lower() in PICTURES | VIDEOS


def _natural(path: Path | str) -> list:
    """Sort key: numbers in names by their value."""
    parts = [re.split("([0-9]+)", part) for part in Path(path).parts]  # text, digits, text, ...
    return [[int(text) if at % 2 else text.casefold() for at, text in enumerate(part)] for part in parts]


def _silence() -> None:
    """Keep OpenCV's and FFmpeg's own lines off standard error: every failure is told once, as a Shot's
    problem.

    Whoever wants them sets OPENCV_LOG_LEVEL and OPENCV_FFMPEG_LOGLEVEL. What libjpeg and libpng print cannot
    be switched off.
    """
    import cv2

    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET; read when the first video is opened
    if "OPENCV_LOG_LEVEL" not in os.environ:
        # Silent; its place differs between versions
        (cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging).setLogLevel(0)
