"""What becomes of the results: text, JSON and CSV on standard output, annotated images and videos, a
window.
"""

from __future__ import annotations

import contextlib
import csv
import glob
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import numpy as np

from fer_hailo.board.frames import Reading, Result
from fer_hailo.board.images import to_bgr, write_picture
from fer_hailo.board.mp4 import Mp4
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import to_json
from fer_hailo.common.streams import settle
from fer_hailo.explain.sheet import sheet, strip

REPEAT_S = 1.0  # the table names a face that stays as it is so often
# In which an image is saved as it came; else .png
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}
FILES = SUFFIXES | {".gif", ".avi", ".mov", ".mkv", ".webm"}  # a folder is not named so
EXPLAINED = 224  # side of a face on the sheet of explanations, pixels
QUIT = (ord("q"), 27)  # keys that close the window; 27 is Esc


class Stop(Exception):
    """The user has seen enough, and closed the window. No failure."""


class Sink(Protocol):
    """An output. draws: whether `write` needs the annotated image."""

    draws: bool

    def write(self, result: Result, drawn: np.ndarray | None) -> None:
        """Take the next result. drawn: uint8 (H, W, 3) RGB; None where the shot has no image.

        Called from the main thread.
        """

    def close(self) -> None:
        """Finish what was begun, also after Ctrl-C or an error. A second call does nothing."""


class _Text:
    """Standard output, in whole pieces of text; `pieces` counts them.

    Ctrl-C and SIGTERM wait until a piece is out.
    """

    def __init__(self):
        if sys.stdout is None:
            raise UserError("standard output is closed: send what is not wanted to /dev/null")
        sys.stdout.flush()
        self.pieces = 0

    def write(self, text: str) -> None:
        """Write and flush.

        Raises BrokenPipeError when nobody reads standard output any more, and another OSError on a full disk;
        what is still buffered is thrown away.
        """
        data = text.encode(sys.stdout.encoding, "backslashreplace")  # names of files may be no valid text
        try:
            with held():
                # An unbuffered stream (python -u) may take a part only, which print() does not notice
                while data:
                    data = data[sys.stdout.buffer.write(data) :]
                sys.stdout.buffer.flush()
                self.pieces += 1
        except OSError:
            settle()
            raise


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back until the block is done."""
    if threading.current_thread() is not threading.main_thread():  # which alone receives signals
        yield
        return
    came: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for received in came:
        signal.raise_signal(received)


class Table:
    """Lines for people: one a face.

    In videos a face gets one when it appears, when its label changes, and once a second.
    """

    draws = False

    def __init__(self):
        self._out, self._source = _Text(), ""
        self._said: dict[int | None, tuple[str, float]] = {}  # by track: label and time

    def write(self, result: Result, drawn: np.ndarray | None) -> None:
        shot = result.shot
        if shot.image is None:
            return
        if shot.frame is None:
            lines = [_line(face) for face in result.faces] or ["no face"]
        else:
            lines = [
                f"{_clock(shot.time_s)}  frame {shot.frame}  #{face.track}  {_line(face)}"
                for face in self._news(result)
            ]
        if lines:
            self._out.write("".join(f"{printable(shot.source)}  {line}\n" for line in lines))

    def close(self) -> None:
        pass

    def _news(self, result: Result) -> list[Reading]:
        now = result.shot.time_s
        if result.shot.source != self._source:
            self._source, self._said = result.shot.source, {}
        # What was said long ago is due again, so it can be forgotten; what lies ahead is of the same video,
        # played before.
        self._said = {
            track: (label, time) for track, (label, time) in self._said.items() if 0 <= now - time < REPEAT_S
        }
        news = [face for face in result.faces if self._said.get(face.track, ("",))[0] != face.label]
        self._said |= {face.track: (face.label, now) for face in news}
        return news


def printable(name: str) -> str:
    """A source's name in one line of text: a file's name must not steer the terminal."""
    return "".join(c if c.isprintable() else "?" for c in name)


def _line(face: Reading) -> str:
    x, y, width, height = face.box
    return (
        f"{face.said:<{max(map(len, face.labels)) + 1}} {100 * face.probability:5.1f} %  at {x},{y}  "
        f"{width}x{height}"
    )


def _clock(seconds: float) -> str:
    minutes, hundredths = divmod(round(100 * seconds), 6000)
    return f"{minutes}:{hundredths // 100:02d}.{hundredths % 100:02d}"


class Json:
    """One JSON list of all results. Each is written as it comes, and the list is closed whatever happens."""

    draws = False

    def __init__(self):
        self._out, self._closed = _Text(), False

    def write(self, result: Result, drawn: np.ndarray | None) -> None:
        self._out.write((",\n" if self._out.pieces else "[\n") + to_json(result.to_dict()))

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._out.write("\n]\n" if self._out.pieces else "[]\n")


class JsonLines:
    """One JSON object a line and image or frame, at once."""

    draws = False

    def __init__(self):
        self._out = _Text()

    def write(self, result: Result, drawn: np.ndarray | None) -> None:
        self._out.write(to_json(result.to_dict()) + "\n")

    def close(self) -> None:
        pass


class Csv:
    """A row a face. labels: of the classifier."""

    draws = False

    def __init__(self, labels: Sequence[str]):
        self._out = _Text()
        columns = [
            "source",
            "frame",
            "time_s",
            "width",
            "height",
            "face",
            "track",
            "x",
            "y",
            "w",
            "h",
            "score",
            "detected",
            "label",
            "sure",
        ]
        self._rows([columns + [f"p_{label}" for label in labels]])

    def write(self, result: Result, drawn: np.ndarray | None) -> None:
        known = result.to_dict()
        whole = [known.get(key) for key in ("source", "frame", "time_s", "width", "height")]
        rows = [
            [
                *whole,
                number,
                face["track"],
                *face["box"],
                face["score"],
                int(face["detected"]),
                face["label"],
                int(face["sure"]),
                *face["probabilities"].values(),
            ]
            for number, face in enumerate(known.get("faces", []))
        ]
        if rows:
            self._rows(rows)

    def close(self) -> None:
        pass

    def _rows(self, rows: list[list]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._out.write(text.getvalue())


class SavedPictures:
    """Annotated copies in a folder: images in their own format, videos and cameras as MP4. Beside an image
    whose faces are explained lies NAME-explained.png.

    Sources of the same name get -2, -3, ... A file of an earlier run is replaced, a source never: `sources`
    are the arguments of the command (files, folders, patterns). Raises UserError when the folder cannot be
    written.
    """

    draws = True

    def __init__(self, folder: Path | str, sources: Sequence[str]):
        self._folder, self._sources = Path(folder), _identities(sources)
        if self._folder.suffix.lower() in FILES and not self._folder.is_dir():
            raise UserError(f"--save takes a folder, or a .mp4 for one video, not the file {folder}")
        _check(self._folder)
        self._names: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._video: Mp4 | None = None

    def write(self, result: Result, drawn: np.ndarray | None) -> None:
        shot = result.shot
        if shot.frame is None and drawn is None:
            return  # a problem that takes no time, such as a camera that is gone for a while
        if self._video and not self._video.goes_on(shot):
            self.close()
        if shot.frame is not None:
            self._video = self._video or Mp4(self._free(_stem(shot.source), ".mp4"), shot)
            self._video.add(shot, drawn)
        elif drawn is not None:
            suffix = Path(shot.source).suffix
            write_picture(
                self._free(_stem(shot.source), suffix if suffix.lower() in SUFFIXES else ".png"), drawn
            )
            if rows := _explained(result):
                write_picture(self._free(f"{_stem(shot.source)}-explained", ".png"), sheet(rows))

    def close(self) -> None:
        video, self._video = self._video, None
        if video:
            video.close()

    def _free(self, stem: str, suffix: str) -> Path:
        """A name that this run has not used, and that is no source's."""
        number = self._numbers.get(stem + suffix, 1)
        while True:
            path = self._folder / f"{stem}{f'-{number}' if number > 1 else ''}{suffix}"
            if path.name.casefold() not in self._names and not _identity(path) & self._sources:
                # For file systems to which A.png and a.png are the same
                self._names.add(path.name.casefold())
                self._numbers[stem + suffix] = number
                return path
            number += 1


def _explained(result: Result) -> list[list[np.ndarray]]:
    """A row for each face that is explained."""
    return [
        [strip(face.explanation, f"{face.said} {100 * face.probability:.0f} %", EXPLAINED)]
        for face in result.faces
        if face.explanation
    ]


class SavedVideo:
    """One annotated video or camera as an MP4 file, which appears at `close`. sources: as for SavedPictures.

    Raises UserError when the file cannot be written or is a source, and when an image or a second video
    comes.
    """

    draws = True

    def __init__(self, path: Path | str, sources: Sequence[str]):
        self._path = Path(path)
        self._video: Mp4 | None = None
        if _identity(self._path) & _identities(sources):
            raise UserError(f"{path} is a source, and would be lost: choose another file")
        if self._path.is_dir():
            raise UserError(f"{path} is a folder: choose another name")
        _check(self._path.parent)

    def write(self, result: Result, drawn: np.ndarray | None) -> None:
        shot = result.shot
        if shot.frame is None:
            if drawn is None:
                return
            raise UserError(
                f"{shot.source} is no video, and does not go into {self._path}: save into a folder"
            )
        if self._video and not self._video.goes_on(shot):
            raise UserError(f"{self._path} takes one video, {shot.source} is another: save into a folder")
        self._video = self._video or Mp4(self._path, shot)
        self._video.add(shot, drawn)

    def close(self) -> None:
        video, self._video = self._video, None
        if video:
            video.close()


class Window:
    """Shows the annotated images. q, Esc or closing the window raise Stop; an image stays until a key is
    pressed.

    Raises UserError when there is no display, or OpenCV was built without windows.
    """

    draws = True

    def __init__(self, title: str = "FER-Hailo"):
        import cv2

        _check_display()
        self._title, self._sized = title, False
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)

    def write(self, result: Result, drawn: np.ndarray | None) -> None:
        import cv2

        if drawn is None:
            return
        if not self._sized:
            high, wide = drawn.shape[:2]
            scale = min(1, 1280 / wide, 720 / high)
            cv2.resizeWindow(self._title, max(1, round(wide * scale)), max(1, round(high * scale)))
            self._sized = True
        cv2.imshow(self._title, to_bgr(drawn))
        waits = result.shot.frame is None
        while True:
            key = cv2.waitKey(20 if waits else 1)
            if key & 0xFF in QUIT or not self._is_open():
                raise Stop
            if key >= 0 or not waits:
                return

    def close(self) -> None:
        import cv2

        cv2.destroyAllWindows()

    def _is_open(self) -> bool:
        import cv2

        try:
            return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # Qt, once its last window is closed
            return False


def _check_display() -> None:
    # Without a display Qt aborts the whole process: let it be another one.
    done = subprocess.run(
        [sys.executable, "-c", "import cv2; cv2.namedWindow('test')"], capture_output=True, text=True
    )
    if "Rebuild the library" in done.stderr:  # built without windows
        raise UserError(
            "this OpenCV has no windows: pip uninstall opencv-python-headless, pip install opencv-python; or "
            "use --web"
        )
    if done.returncode:
        raise UserError(
            "no display to open a window on: run it in a desktop session (over ssh: ssh -X), or use --web"
        )


def _check(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"cannot write into {folder} ({error.strerror}): choose another folder") from None


def _stem(source: str) -> str:
    """A file name, without suffix, for what a source gives. An address loses its password."""
    if "://" in source:
        address = urlsplit(source)
        return re.sub(r"[^\w.]+", "-", f"{address.hostname}{address.path}").strip("-.")
    return Path(source).stem


def _identities(sources: Sequence[str]) -> set[tuple[int, int]]:
    """All files that the arguments of the command can mean, by device and number, which links and spellings
    share.
    """
    found: set[tuple[int, int]] = set()
    for source in sources:
        for match in {source, *glob.glob(source, recursive=True)}:
            found |= _identity(Path(match))
            for folder, _, names in os.walk(match):
                for name in names:
                    found |= _identity(Path(folder, name))
    return found


def _identity(path: Path) -> set[tuple[int, int]]:
    try:
        known = os.stat(path)
    except (OSError, ValueError):  # no such file, or a name that no file can have
        return set()
    return {(known.st_dev, known.st_ino)}
