"""The newest result, for any number of threads that wait for one."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import numpy as np

from fer_hailo.board.frames import Result

STALLED_S = 5.0  # without a new frame for so long, something is wrong
RATED_S = 5.0  # frames a second are counted over this time
T = TypeVar("T")


class Newest(Generic[T]):
    """A value that is replaced, and the bytes that a function makes of it: when somebody asks, and once for
    all who ask.
    """

    def __init__(self, function: Callable[[T], bytes]):
        self.number = 0  # of the newest value; 0: there was none
        self._function = function
        self._value: tuple[int, T] | None = None
        self._made = (0, b"")
        self._making = threading.Lock()

    def put(self, number: int, value: T) -> None:
        """Replace the value. Does not wait, even while bytes are made of the one before."""
        self._value = (number, value)
        self.number = number

    def get(self) -> tuple[int, bytes]:
        """Number of the newest value and its bytes; (0, b"") before the first."""
        with self._making:
            if self._value and self._value[0] != self._made[0]:
                number, value = self._value
                self._made = number, self._function(value)
            return self._made


class Live:
    """The newest result and the newest image, as bytes; how fast they come; and who waits for them.

    run: tells this program from one started later. frames: how many results came.
    """

    def __init__(self, event: Callable[[Result], bytes], picture: Callable[[np.ndarray], bytes]):
        self.run, self.frames = secrets.token_hex(8), 0
        self.event, self.picture = Newest(event), Newest(picture)
        self._open, self._changed = True, threading.Condition()
        self._newest, self._latency_s = time.monotonic(), 0.0
        self._times: deque[float] = deque(maxlen=1000)
        self._clients: Counter[str] = Counter()

    def write(self, result: Result, drawn: np.ndarray | None) -> None:
        """Replace the result, and the image unless it is None; wake all who wait."""
        with self._changed:
            self.frames += 1
            self._newest, self._latency_s = time.monotonic(), time.perf_counter() - result.shot.taken
            self._times.append(self._newest)
            self.event.put(self.frames, result)
            if drawn is not None:
                self.picture.put(self.frames, drawn)
            self._changed.notify_all()

    def wait(self, newest: Newest, after: int, seconds: float) -> bool:
        """Wait for a number above `after`, but no longer than that. False when the program ends."""
        with self._changed:
            self._changed.wait_for(lambda: newest.number > after or not self._open, seconds)
            return self._open

    def close(self) -> None:
        with self._changed:
            self._open = False
            self._changed.notify_all()

    @contextmanager
    def client(self, kind: str, most: int) -> Iterator[bool]:
        """Count a client while the block runs; gives False, and does not count, when there are `most` of its
        kind already.
        """
        with self._changed:
            free = self._clients[kind] < most
            self._clients[kind] += free
        try:
            yield free
        finally:
            with self._changed:
                self._clients[kind] -= free

    def status(self) -> dict:
        """latency_ms: of the newest result, from its capture until it came here."""
        with self._changed:
            times = [moment for moment in self._times if moment > time.monotonic() - RATED_S]
            rate = (
                (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0
            )
            return {
                "run": self.run,
                "frames_per_s": round(rate, 1),
                "latency_ms": round(1000 * self._latency_s, 1),
            }

    def health(self) -> dict:
        """last_frame_age_s: in seconds; before the first frame, since the start."""
        with self._changed:
            age, clients = time.monotonic() - self._newest, sum(self._clients.values())
        return {
            "status": "ok" if age <= STALLED_S else "stalled",
            "frames": self.frames,
            "frames_per_s": self.status()["frames_per_s"],
            "last_frame_age_s": round(age, 2),
            "clients": clients,
        }
