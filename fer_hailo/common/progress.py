"""One progress line for long jobs: count and time left, on standard error."""

from __future__ import annotations

import functools
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TextIO


def duration(seconds: float) -> str:
    """Seconds as people read them: `48 s`, `3 min 20 s`, `2 h 05 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


WIDE = 20  # characters of a bar
STEPS, PLAIN_STEPS = "▁▂▃▄▅▆▇█", "_.-=*#"  # of a curve, from low to high


class Line:
    """A status line: on a terminal it overwrites itself, elsewhere, as in a log, it is a whole line a minute;
    so it is on a terminal that overwrites nothing (TERM=dumb: a notebook, an editor).

    clock: gives seconds.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic):
        self.stream, self.now = stream or sys.stderr, clock
        self.live = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self._pause = 0.1 if self.live else 60.0
        self._last = clock() - (self._pause if self.live else 0.0)

    @property
    def due(self) -> bool:
        """Whether `show` would show anything yet."""
        return self.now() - self._last >= self._pause

    def show(self, text: str) -> None:
        """Replace the line by `text`, at most ten times a second; in a log, add it, at most once a minute."""
        if self.due:
            self._last = self.now()
            self._write(text, end="" if self.live else "\n")

    def done(self, text: str) -> None:
        """End the line with `text`."""
        self._write(text, end="\n")

    @property
    def steps(self) -> str:
        """What `spark` is to draw with here."""
        return STEPS if (self.stream.encoding or "").lower().startswith("utf") else PLAIN_STEPS

    def _write(self, text: str, end: str) -> None:
        print(f"\r\x1b[K{text}" if self.live else text, end=end, file=self.stream, flush=True)


class Bar:
    """A line of how much of `total` is done, with the time left.

    label: what is being done. line: where to show it.
    """

    def __init__(self, total: int, label: str, line: Line | None = None):
        self.line, self._total, self._label = line or Line(), total, label
        self._start, self._begun = self.line.now(), 0

    def begin(self, done: int) -> None:
        """Leave out of the time what was done so far: it took longer than what is left will, as the step that
        is compiled does.
        """
        self._start, self._begun = self.line.now(), done

    def show(self, done: int) -> None:
        if self.line.due:
            self.line.show(
                f"{self._drawn(done)}{done:,} of {self._total:,}, {duration(self.left(done))} left"
            )

    def left(self, done: int) -> float:
        """Seconds left, as fast as it went since it began."""
        return self.spent() / max(1, done - self._begun) * (self._total - done)

    def spent(self) -> float:
        """Seconds since it began."""
        return self.line.now() - self._start

    def _drawn(self, done: int) -> str:
        """A log needs no drawing."""
        full = round(WIDE * done / max(1, self._total))
        bar = f"[{'#' * full}{'.' * (WIDE - full)}] " if self.line.live else ""
        return f"{self._label}: {bar}"


def track(items: Iterable, total: int, label: str, line: Line | None = None, *, each: int = 1) -> Iterator:
    """Yield the items while a line shows how many of `total` are done and the time left.

    each: how many an item stands for, as a batch for its images; the last one for fewer.
    """
    bar = Bar(total, label, line)
    for count, item in enumerate(items, 1):
        yield item
        bar.show(min(count * each, total))
    bar.line.done(f"{label}: {total:,} in {duration(bar.spent())}")


def spark(values: Sequence[float], steps: str = STEPS, width: int = 40) -> str:
    """A curve in one line of text, scaled to its own least and largest value, in at most `width` of the
    characters `steps`, each the mean of its part of the values.
    """
    count = min(width, len(values))
    edges = [len(values) * i // count for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, span = min(means), max(means) - min(means)
    return "".join(steps[round((len(steps) - 1) * (mean - low) / span) if span else 0] for mean in means)


@functools.cache
def say_once(line: str) -> None:
    """Tell on standard error what a command may come by several times: how a data set is read."""
    print(line, file=sys.stderr, flush=True)
