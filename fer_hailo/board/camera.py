"""A camera or network stream: frames as they come, and patience when none come."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fer_hailo.board.frames import Shot
from fer_hailo.board.images import to_rgb
from fer_hailo.common.errors import UserError

GONE_AFTER = 5  # failed reads in a row
GONE_AFTER_S = (
    2.0  # or seconds without a frame when a read fails: a driver's failing read may itself take long
)
SILENT_AFTER_S = 5.0  # a camera that never gave a frame may still be waking up for so long
AGAIN_S = 0.1  # between two reads until then
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 10.0
RATES = (1.0, 240.0)  # frames a second that a device may claim; streams often claim their clock, 90000


class Feed(Protocol):
    """An open camera; frames are uint8 (H, W, 3) BGR. A cv2.VideoCapture is one."""

    def get(self, setting: int, /) -> float: ...

    def grab(self) -> bool: ...

    def retrieve(self) -> tuple[bool, Any]: ...

    def release(self) -> None: ...


class Capture(Feed, Protocol):
    """What is used of a cv2.VideoCapture."""

    def isOpened(self) -> bool: ...

    def set(self, setting: int, value: float, /) -> bool: ...

    def read(self) -> tuple[bool, Any]: ...


@dataclass(frozen=True)
class Wish:
    """What is asked of a camera. size: width and height in pixels, rate: frames a second; None: its own."""

    size: tuple[int, int] | None = None
    rate: float | None = None

    def __bool__(self) -> bool:
        return self.size is not None or self.rate is not None


AS_IT_IS = Wish()


def waits() -> Iterator[float]:
    """Seconds before each attempt to reopen a camera: 0.5, 1, 2, 4, 8, then 10 each time."""
    seconds = FIRST_WAIT_S
    while True:
        yield seconds
        seconds = min(2 * seconds, LONGEST_WAIT_S)


class Camera:
    """A live source of frames.

    name: as shown to users. connect: opens the camera; raises OSError, with the reason if it is known.
    advice: what to check when it cannot be opened; then UserError is raised, here and not later. silent: what
    to check when it opens, but gives no frame. wish: what was asked of it; what it gives instead is told on
    standard error. sleep: waits some seconds (by default until `stop` at most). clock: seconds, as
    time.perf_counter.
    """

    live = True
    count: int | None = None

    def __init__(
        self,
        name: str,
        connect: Callable[[], Feed],
        advice: str,
        silent: str,
        wish: Wish = AS_IT_IS,
        sleep: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.name, self._connect, self._silent, self._wish = name, connect, silent, wish
        self._clock = clock
        self._stopped = threading.Event()
        self._sleep = sleep or self._stopped.wait
        try:
            self._feed = connect()
        except OSError as error:
            reason = f" ({error})" if str(error) else ""
            raise UserError(f"{name} cannot be opened{reason}: {advice}") from None

    def stop(self) -> None:
        """Make `shots` end after the read that is under way. A driver may hang in that read: whoever must not
        wait for it iterates over `shots` in a daemon thread.
        """
        self._stopped.set()

    def shots(self) -> Iterator[Shot]:
        """Frames until `stop`. time_s: seconds since the first one.

        A read that fails between others is a damaged frame: a Shot with a problem, its number counted. After
        several in a row the camera is taken for gone, or, where it never gave a frame, for silent: it is
        released, one Shot says so, and it is opened again and again (`waits`) until it gives frames.
        """
        feed, number, failed, last = self._feed, 0, [], self._clock()
        first, rate = None, _rate(feed)
        try:
            while not self._stopped.is_set():
                image, taken = self._read(feed)
                if image is None:
                    failed.append(taken)
                    if self._may_come(len(failed), taken - last, before=first is not None):
                        continue
                    failed.clear()
                    feed.release()
                    yield Shot(self.name, None, problem=self._lost(before=first is not None), taken=taken)
                    feed, image, taken = self._return(feed)
                    if image is None:
                        return
                    rate = _rate(feed)
                if first is None:
                    failed.clear()  # it was waking up
                    self._compare(feed, image)
                first, last = taken if first is None else first, taken
                for then in failed:
                    problem = "a frame could not be decoded"
                    yield Shot(self.name, None, number, then - first, rate, problem, then)
                    number += 1
                failed.clear()
                yield Shot(self.name, to_rgb(image), number, taken - first, rate, taken=taken)
                number += 1
        finally:
            feed.release()

    def _may_come(self, failed: int, seconds: float, before: bool) -> bool:
        """Whether to read on after so many failed reads in a row and seconds without a frame. before: whether
        there was one at all.
        """
        if before:
            return failed < GONE_AFTER and seconds < GONE_AFTER_S
        self._sleep(AGAIN_S)
        return seconds < SILENT_AFTER_S

    def _lost(self, before: bool) -> str:
        if before:
            return "is gone, retrying"
        return f"opened, but has given no frame for {SILENT_AFTER_S:g} s, retrying: {self._silent}"

    def _compare(self, feed: Feed, image: np.ndarray) -> None:
        """Tell where a camera does not give what was asked of it."""
        (height, width), rate = image.shape[:2], _rate(feed)
        if self._wish.size not in (None, (width, height)):
            print(f"warning: {self.name} gives {width}x{height}", file=sys.stderr)
        if self._wish.rate and rate and abs(rate - self._wish.rate) > 0.5:
            print(f"warning: {self.name} gives {rate:g} frames a second", file=sys.stderr)

    def _read(self, feed: Feed) -> tuple[np.ndarray | None, float]:
        """A BGR frame or None, and when it was captured: before it is decoded, so that decoding counts as
        latency.
        """
        import cv2

        try:
            grabbed, taken = feed.grab(), self._clock()
            done, image = feed.retrieve() if grabbed else (False, None)
        except cv2.error:
            return None, self._clock()
        return (image if done else None), taken

    def _return(self, feed: Feed) -> tuple[Feed, np.ndarray | None, float]:
        """Open the camera until it gives a frame: feed, frame, time; the frame is None after `stop`."""
        for seconds in waits():
            self._sleep(seconds)
            if self._stopped.is_set():
                break
            try:
                feed = self._connect()
            except OSError:
                continue
            image, taken = self._read(feed)
            if image is not None:
                return feed, image, taken
            feed.release()
        return feed, None, 0.0


def _rate(feed: Feed) -> float | None:
    import cv2

    rate = feed.get(cv2.CAP_PROP_FPS)
    return float(rate) if RATES[0] <= rate <= RATES[1] else None
