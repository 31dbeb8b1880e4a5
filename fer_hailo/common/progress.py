"""One progress line for long jobs: count, rate and time left, on standard error."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO


def duration(seconds: float) -> str:
    """Seconds as people read them: `48 s`, `3 min 20 s`, `2 h 05 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


class Line:
    """A status line that overwrites itself on a terminal and stays silent elsewhere (logs get whole lines
    only).
    """

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self._last = 0.0

    def show(self, text: str) -> None:
        """Replace the line by `text`, at most ten times a second."""
        if self.live and time.monotonic() - self._last > 0.1:
            self._last = time.monotonic()
            print(f"\r\x1b[K{text}", end="", file=self.stream, flush=True)

    def done(self, text: str) -> None:
        """End the line with `text`."""
        print(f"\r\x1b[K{text}" if self.live else text, file=self.stream, flush=True)


def track(items: Iterable, total: int, label: str) -> Iterator:
    """Yield the items while a line shows how many of `total` are done and the time left."""
    line, start = Line(), time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        spent = time.monotonic() - start
        line.show(f"{label}: {count:,} of {total:,}, {duration(spent / count * (total - count))} left")
    line.done(f"{label}: {total:,} in {duration(time.monotonic() - start)}")


@functools.cache
def say_once(line: str) -> None:
    """Tell on standard error what a command may come by several times: how a data set is read."""
    print(line, file=sys.stderr, flush=True)
