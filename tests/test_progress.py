"""How far long work is: a bar on a terminal, a line a minute in a file; curves in a line of text."""

import io

import pytest

from fer_hailo.common.progress import Bar, Line, spark, track


class Stream(io.StringIO):
    encoding = "utf-8"

    def __init__(self, terminal: bool):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


class Clock:
    """Every look at it takes no time; `wait` does."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def ordinary_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.parametrize(("terminal", "kind"), [(False, "xterm"), (True, "xterm"), (True, "dumb")])
def test_a_bar_and_a_line_a_minute(terminal, kind, monkeypatch):
    monkeypatch.setenv("TERM", kind)
    stream, clock = Stream(terminal), Clock()
    for _ in track(range(100), 100, "scoring", Line(stream, clock)):
        clock.wait(1.5)
    shown = stream.getvalue()
    if terminal and kind != "dumb":
        parts = shown.split("\r\x1b[K")[1:]
        assert len(parts) == 101 and parts[24] == f"scoring: [{'#' * 5}{'.' * 15}] 25 of 100, 1 min 52 s left"
    else:
        assert shown == (
            "scoring: 40 of 100, 1 min 30 s left\nscoring: 80 of 100, 30 s left\nscoring: 100 in 2 min 30 s\n"
        )


def test_batches_are_counted_by_their_images():
    stream, clock = Stream(False), Clock()
    for _ in track(range(4), 1000, "scoring", Line(stream, clock), each=256):
        clock.wait(61)
    first, *_, last = stream.getvalue().splitlines()
    assert first == "scoring: 256 of 1,000, 2 min 57 s left" and last == "scoring: 1,000 in 4 min 04 s"


def test_short_work_leaves_one_line_in_a_file():
    stream, clock = Stream(False), Clock()
    for _ in track(range(59), 59, "decoding", Line(stream, clock)):
        clock.wait(1)
    assert stream.getvalue() == "decoding: 59 in 59 s\n"


def test_several_bars_share_the_minute_of_their_line():
    stream, clock = Stream(False), Clock()
    line = Line(stream, clock)
    for epoch in range(4):
        bar = Bar(10, f"epoch {epoch}", line)
        for step in range(10):
            clock.wait(2)
            bar.show(step + 1)
    assert stream.getvalue() == "epoch 2: 10 of 10, 0 s left\n"  # after 60 of 80 seconds


def test_no_work_leaves_one_line():
    stream = Stream(True)
    assert list(track([], 0, "copying", Line(stream, Clock()))) == []
    assert stream.getvalue() == "\r\x1b[Kcopying: 0 in 0 s\n"


def test_curves_in_a_line():
    assert spark([0, 1, 2, 3], steps="0123") == "0123" and spark([5, 5], steps="ab") == "aa"
    assert spark([7, 9, 1, 1, 4, 6], steps="abc", width=3) == "cab"  # means of two: 8, 1, 5
    assert Line(Stream(True)).steps == "▁▂▃▄▅▆▇█"
    plain = Stream(True)
    plain.encoding = "ascii"
    assert Line(plain).steps.isascii()
