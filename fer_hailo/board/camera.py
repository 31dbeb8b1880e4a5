"""A camera or network stream: frames as they come, and patience when none come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from fer_hailo.board.frames import Shot
from fer_hailo.board.images import to_rgb
from fer_hailo.common.errors import UserError

GONE_AFTER = 5  # failed reads in a row
GONE_AFTER_S = (
    2.0  # or seconds without a frame when a read fails: a driver's failing read may itself take 10 s
)
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 10.0
RATES = (1.0, 240.0)  # frames a second that a device may claim; streams often claim their clock, 90000


class Capture(Protocol):
    """What is used of a cv2.VideoCapture; frames are uint8 (H, W, 3) BGR."""

    def isOpened(self) -> bool: ...

    def get(self, setting: int, /) -> float: ...

    def set(self, setting: int, value: float, /) -> bool: ...

    def read(self) -> tuple[bool, Any]: ...

    def grab(self) -> bool: ...

    def retrieve(self) -> tuple[bool, Any]: ...

    def release(self) -> None: ...


def waits() -> Iterator[float]:
    """Seconds before each attempt to reopen a camera: 0.5, 1, 2, 4, 8, then 10 each time."""
    seconds = FIRST_WAIT_S
    while True:
        yield seconds
        seconds = min(2 * seconds, LONGEST_WAIT_S)


class Camera:
    """A live source of frames.

    name: as shown to users. connect: opens the camera, gives a cv2.VideoCapture (or what behaves like one).
    advice: what to check when it cannot be opened; then UserError is raised, here and not later. sleep: waits
    some seconds (by default until `stop` at most). clock: seconds, as time.perf_counter.
    """

    live = True
    count: int | None = None

    def __init__(
        self,
        name: str,
        connect: Callable[[], Capture],
        advice: str,
        sleep: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.name, self._connect, self._clock = name, connect, clock
        self._stopped = threading.Event()
        self._sleep = sleep or self._stopped.wait
        self._capture = connect()
        if not self._capture.isOpened():
            self._capture.release()
            raise UserError(f"{name} cannot be opened: {advice}")

    def stop(self) -> None:
        """Make `shots` end after the read that is under way. A driver may hang in that read: whoever must not
        wait for it iterates over `shots` in a daemon thread.
        """
        self._stopped.set()

    def shots(self) -> Iterator[Shot]:
        """Frames until `stop`. time_s: seconds since the first one.

        A read that fails between others is a damaged frame: a Shot with a problem, its number counted. After
        several in a row the camera is taken for gone: it is released, one Shot says so, and it is opened
        again and again (`waits`) until it gives frames.
        """
        capture, number = self._capture, 0
        failed: list[float] = []
        first: float | None = None
        last, rate = self._clock(), _rate(capture)
        try:
            while not self._stopped.is_set():
                image, taken = self._read(capture)
                if image is None:
                    failed.append(taken)
                    if len(failed) < GONE_AFTER and taken - last < GONE_AFTER_S:
                        continue
                    failed.clear()
                    capture.release()
                    yield Shot(self.name, None, problem="is gone, retrying", taken=taken)
                    capture, image, taken = self._return(capture)
                    if image is None:
                        return
                    rate = _rate(capture)
                first, last = taken if first is None else first, taken
                for then in failed:
                    # A failed read may lie before the first frame: time does not begin below zero.
                    yield Shot(
                        self.name,
                        None,
                        number,
                        max(0.0, then - first),
                        rate,
                        "a frame could not be decoded",
                        then,
                    )
                    number += 1
                failed.clear()
                yield Shot(self.name, to_rgb(image), number, taken - first, rate, taken=taken)
                number += 1
        finally:
            capture.release()

    def _read(self, capture: Capture) -> tuple[np.ndarray | None, float]:
        """A BGR frame or None, and when it was captured: before it is decoded, so that decoding counts as
        latency.
        """
        import cv2

        try:
            grabbed, taken = capture.grab(), self._clock()
            done, image = capture.retrieve() if grabbed else (False, None)
        except cv2.error:
            return None, self._clock()
        return (image if done else None), taken

    def _return(self, capture: Capture) -> tuple[Capture, np.ndarray | None, float]:
        """Open the camera until it gives a frame: capture, frame, time; the frame is None after `stop`."""
        for seconds in waits():
            self._sleep(seconds)
            if self._stopped.is_set():
                break
            capture = self._connect()
            if capture.isOpened():
                image, taken = self._read(capture)
                if image is not None:
                    return capture, image, taken
            capture.release()
        return capture, None, 0.0


def _rate(capture: Capture) -> float | None:
    import cv2

    rate = capture.get(cv2.CAP_PROP_FPS)
    return float(rate) if RATES[0] <= rate <= RATES[1] else None
