"""The run command: sources through the pipeline to the outputs that were asked for."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from fer_hailo.board.analysis import Analyzer
from fer_hailo.board.camera import Wish
from fer_hailo.board.faces import Detector, is_on_chip, open_detector
from fer_hailo.board.frames import Result, Shot
from fer_hailo.board.outputs import (
    Csv,
    Json,
    JsonLines,
    SavedPictures,
    SavedVideo,
    Sink,
    Stop,
    Table,
    Window,
    held,
    printable,
)
from fer_hailo.board.pipeline import Statistics, run
from fer_hailo.board.sources import Source, Video, open_sources
from fer_hailo.common.errors import UserError
from fer_hailo.common.progress import Line, duration
from fer_hailo.common.released import shown
from fer_hailo.deploy.home import resolve, warn_if_drawn
from fer_hailo.predict.predictor import load

NAMED = 3  # videos without a face that are named
FORMS = {"table": Table, "json": Json, "jsonl": JsonLines, "csv": Csv}


@dataclass(frozen=True)
class Settings:
    """The flags of `fer-hailo run`, see its help. every: None: auto. form: a key of FORMS."""

    sources: list[str]
    model: str | None = None
    threads: int = 1
    batch: int = 8
    detector: str = "yunet"
    every: int | None = None
    turn: str = "auto"
    margin: float | None = None
    smooth: float = 0.5
    max_pixels: int = 10**8
    size: tuple[int, int] | None = None
    rate: float | None = None
    form: str = "table"
    save: str | None = None
    explain: bool = False
    show: bool = False
    web: str | None = None
    token: str | None = None


def analyse(settings: Settings) -> int:
    """Returns the exit status: 0; 1 where some inputs could not be read, or got no answer from the network;
    2 where none could be read.

    Raises KeyboardInterrupt, with what was done until then, and BrokenPipeError where nobody reads standard
    output any more.
    """
    wish = Wish(settings.size, settings.rate)
    sources = open_sources(settings.sources, settings.max_pixels, wish=wish)
    live = any(source.live for source in sources)
    if settings.explain:
        _check_explain(settings.save, sources)
    home = resolve(settings.model)
    warn_if_drawn(home)
    with ExitStack() as stack:
        watched = bool(settings.show or settings.web)
        every = 1 if settings.detector == "none" else settings.every  # there is nothing to follow
        detectors = _detectors(settings.detector, sources, alone=live or watched, each=every == 1)
        for detector in detectors:
            stack.callback(detector.close)
        predictor = stack.enter_context(load(home, settings.threads, settings.batch))
        sinks = _sinks(settings, sources, predictor.labels, stack)
        analyzer = Analyzer(predictor, detectors, settings.margin, settings.turn == "auto", settings.explain)
        statistics = Statistics()
        status = _Status(sources, statistics)
        print(f"model {shown(home.model)} ({predictor.stage}), detector {settings.detector}", file=sys.stderr)
        try:
            run(
                sources, analyzer, sinks, settings.smooth, watched, statistics, status.problem,
                status.picture, every,
            )  # fmt: skip
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"after {statistics.line(live)}; what was written until here is kept"
            ) from None
        except Stop:
            pass
    status.done(live)  # once JSON's list is closed: both may go to one terminal
    if statistics.unanswered:
        return 1
    if live or not statistics.problems:
        return 0
    return 1 if statistics.pictures else 2


def _detectors(name: str, sources: list[Source], alone: bool, each: bool) -> list[Detector]:
    """One detector, in which OpenCV's threads share each image, where the delay counts, or where one frame
    waits for the one before; else one for each core, which is faster. One on a chip needs no other beside it.

    each: whether frames of a video are searched each by itself.
    """
    import cv2

    if is_on_chip(name):
        return [open_detector(name)]
    cores = os.cpu_count() or 1
    counts = [source.count or cores for source in sources]
    count = 1 if alone else max(1, min(cores, sum(counts if each else [n for n in counts if n == 1])))
    if count > 1:
        cv2.setNumThreads(1)
    return [open_detector(name) for _ in range(count)]


def _check_explain(save: str | None, sources: list[Source]) -> None:
    """Heat maps are for images: an occlusion map asks the network a hundred times about each face."""
    if not save or save.lower().endswith(".mp4"):
        raise UserError("--explain writes its heat maps into the folder of --save: add --save DIR")
    moving = [source.name for source in sources if source.live or isinstance(source, Video)]
    if len(moving) == len(sources):
        raise UserError(f"--explain is for images, and {printable(moving[0])} is a video or camera")
    if moving:
        print(
            f"note: --explain leaves videos out: {', '.join(map(printable, moving[:NAMED]))}", file=sys.stderr
        )


def _sinks(
    settings: Settings, sources: list[Source], labels: tuple[str, ...], stack: ExitStack
) -> list[Sink]:
    """Open the outputs, so that one that cannot be written is known before the work begins; `stack` closes
    them.
    """
    sinks: list[Sink] = []

    def add(sink: Sink) -> None:
        stack.callback(_close, sink)
        sinks.append(sink)

    add(FORMS[settings.form](labels) if settings.form == "csv" else FORMS[settings.form]())
    if settings.save:
        if settings.save.lower().endswith(".mp4") and len(sources) > 1:
            raise UserError(
                f"{settings.save} takes one video, not {len(sources)} sources: give --save a folder"
            )
        add(
            (SavedVideo if settings.save.lower().endswith(".mp4") else SavedPictures)(
                settings.save, settings.sources
            )
        )
    if settings.show:
        add(Window())
    if settings.web:
        from fer_hailo.board.web import Web

        web = Web(settings.web, settings.token, labels, ", ".join(source.name for source in sources))
        add(web)
        print(f"look at {web.url}", file=sys.stderr)
    return sinks


def _close(sink: Sink) -> None:
    with held():  # a second Ctrl-C must not cost the video that the first one ended
        sink.close()


class _Status:
    """The line on standard error while it runs: time left on files; rate, latency and dropped frames on
    streams.
    """

    def __init__(self, sources: list[Source], statistics: Statistics):
        counts = [source.count for source in sources]
        known = [count for count in counts if count is not None]
        self._total = sum(known) if len(known) == len(counts) else None
        self._statistics, self._line = statistics, Line()
        self._told: set[tuple[str, str]] = set()  # sources, and what is wrong with frames of theirs
        self._faces: Counter[tuple[str, bool]] = Counter()  # of each source, and whether it is a video

    def problem(self, shot: Shot) -> None:
        """Damaged frames can be thousands: a source's first one is told, the others are counted."""
        kind = shot.source, shot.problem
        if kind in self._told and shot.frame is not None:
            return
        note = ""
        if shot.frame is not None:
            self._told.add(kind)
            note = f" (frame {shot.frame}; the next such frames are counted)"
        self._line.done(f"error: {printable(shot.source)}: {shot.problem}{note}")

    def picture(self, result: Result) -> None:
        self._faces[result.shot.source, result.shot.frame is not None] += len(result.faces)
        # What a camera does goes on for ever: no log is to grow by that
        if not self._line.due or (self._total is None and not self._line.live):
            return
        taken = self._statistics
        done, rate = taken.pictures + taken.problems + taken.unanswered, taken.rate()
        if self._total is None:
            middle, high = self._statistics.latency_ms(50, 95)
            self._line.show(
                f"{rate:.1f} pictures/s, latency p50 {middle:.0f} ms, p95 {high:.0f} ms, "
                f"{self._statistics.dropped:,} dropped"
            )
        elif rate:
            self._line.show(
                f"{done:,} of {self._total:,}, {rate:.1f} a second, "
                f"{duration(max(0, self._total - done) / rate)} left"
            )

    def done(self, live: bool) -> None:
        self._line.done(self._statistics.line(live))
        for line in faceless(self._faces):
            self._line.done(line)


def faceless(faces: Mapping[tuple[str, bool], int]) -> list[str]:
    """What is to be said of videos without any face, and of several images none of which has one.

    faces: number of them by source and whether it is a video.
    """
    videos = [printable(source) for (source, video), count in faces.items() if video and not count]
    images = [count for (_, video), count in faces.items() if not video]
    lines = []
    if videos:
        more = f" and {len(videos) - NAMED:,} more" if len(videos) > NAMED else ""
        lines.append(f"no face in any frame of {', '.join(videos[:NAMED])}{more}")
    if len(images) > 1 and not any(images):
        lines.append(f"no face in any of the {len(images):,} images")
    return [f"{line}: are faces upright, and larger than some 20 pixels?" for line in lines]
