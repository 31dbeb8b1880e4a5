"""Write an MP4 whose playing time is that of its source, and which plays however the program ends."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fer_hailo.board.frames import Shot
from fer_hailo.board.images import to_bgr
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import written

if TYPE_CHECKING:
    import cv2

# Frames a second where the source does not know its rate, or states one above FASTEST
RATE, FASTEST = (25.0, 240.0)
CODEC = int.from_bytes(b"mp4v", "little")  # MPEG-4 part 2, as a FOURCC code
ROOM = 16 * 2**20  # bytes that are left free on the disk, so that the index at the end can still be written


class Mp4:
    """Frames on their way into an MP4 (MPEG-4 part 2, which every opencv-python can encode) of a constant
    rate.

    A frame is repeated until the next one's time, or left out where two share a moment: the video lasts as
    long as its source did, also when frames could not be read, were dropped, or came unevenly. The size is
    the first frame's; an odd one grows by a pixel, repeated from the border, since the format demands even
    ones. The file appears at `close`, and holds what came until then.
    """

    def __init__(self, path: Path, shot: Shot):
        self._path, self._start, self._newest = path, shot.time_s, shot
        rate = shot.rate if shot.rate and 0 < shot.rate <= FASTEST else RATE
        # MPEG-4 counts time in at most 65535 parts of a second
        self._rate = round(rate, 3 if rate < 65 else 2)
        self._frames = 0
        self._last: np.ndarray | None = None
        self._writer: cv2.VideoWriter | None = None
        self._stack = contextlib.ExitStack()

    def goes_on(self, shot: Shot) -> bool:
        """Whether the shot belongs to this video, of which something was added."""
        return shot.follows(self._newest)

    def add(self, shot: Shot, drawn: np.ndarray | None) -> None:
        """Take the next frame. drawn: uint8 (H, W, 3) RGB; None where it could not be read.

        Raises UserError on a full disk.
        """
        self._newest = shot
        # The new frame is the last of them
        due = round((shot.time_s - self._start) * self._rate) + 1 - self._frames
        new = None if drawn is None else self._fit(drawn)
        old = new if self._last is None else self._last
        if old is None:
            return  # nothing could be read so far: the first frame will stand for it
        for number in range(due):
            self._write(new if new is not None and number == due - 1 else old)
        self._last = old if new is None else new

    def close(self) -> None:
        """Finish the file and give it its name.

        Raises UserError when it is not whole; what stood there before then stays.
        """
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        with self._stack:
            self._check()

    def _fit(self, drawn: np.ndarray) -> np.ndarray:
        import cv2

        high, wide = drawn.shape[:2]
        frame = cv2.copyMakeBorder(to_bgr(drawn), 0, high % 2, 0, wide % 2, cv2.BORDER_REPLICATE)
        if self._last is None or frame.shape == self._last.shape:
            return frame
        # A camera that came back in another size
        return cv2.resize(frame, self._last.shape[1::-1], interpolation=cv2.INTER_AREA)

    def _write(self, frame: np.ndarray) -> None:
        if shutil.disk_usage(self._path.parent).free < ROOM:
            raise UserError(
                f"{self._path} ends after {self._frames} frames, the disk is full: make room or choose "
                "another folder"
            )
        if self._writer is None:
            self._writer = self._open(frame.shape[1], frame.shape[0])
        self._writer.write(frame)
        self._frames += 1

    def _open(self, wide: int, high: int) -> cv2.VideoWriter:
        import cv2

        self._beside = self._stack.enter_context(written(self._path))
        writer = cv2.VideoWriter(str(self._beside), cv2.CAP_FFMPEG, CODEC, self._rate, (wide, high))
        if not writer.isOpened():
            self._stack.close()
            raise UserError(
                f"{self._path}: this OpenCV cannot write such a video ({wide}x{high}, {self._rate:g} frames "
                "a second)"
            )
        return writer

    def _check(self) -> None:
        """OpenCV does not say when writing fails, so look at what is there."""
        import cv2

        video = cv2.VideoCapture(str(self._beside), cv2.CAP_FFMPEG)
        found = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
        video.release()
        if found < self._frames:
            raise UserError(
                f"{self._path} could not be written ({found} of {self._frames} frames arrived): is the disk "
                "full?"
            )
