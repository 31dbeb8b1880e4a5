"""Read, detect, classify, draw and write at once, each in threads of its own, one image behind the other."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby

import numpy as np

from fer_hailo.board.analysis import Analyzer
from fer_hailo.board.channel import Channel, Closed
from fer_hailo.board.draw import draw
from fer_hailo.board.faces import Face
from fer_hailo.board.follow import Follower
from fer_hailo.board.frames import Result, Shot
from fer_hailo.board.outputs import Sink
from fer_hailo.board.sources import Source
from fer_hailo.board.tracker import Tracker
from fer_hailo.predict.predictor import NoAnswer

PARTS = ("read", "detect", "classify", "output")
READER_S = 1.0  # to wait at the end for what reads the sources
REMEMBERED = 2_000  # latencies, of the last images


class Statistics:
    """What a run took. seconds, counts: how long and how often each of PARTS worked. latencies: seconds from
    capture to the end of all outputs. problems: images that could not be read; unanswered: those for which
    the network gave no answer.
    """

    def __init__(self):
        self.pictures = self.problems = self.unanswered = self.dropped = 0
        self.seconds, self.counts = dict.fromkeys(PARTS, 0.0), dict.fromkeys(PARTS, 0)
        self.latencies: deque[float] = deque(maxlen=REMEMBERED)
        self.ends: deque[float] = deque(maxlen=100)
        self.started = time.perf_counter()
        self._lock = threading.Lock()

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[part] += time.perf_counter() - start
                self.counts[part] += 1

    def done(self, shot: Shot) -> None:
        """An image has been through all outputs."""
        end = time.perf_counter()
        self.pictures += 1
        self.latencies.append(end - shot.taken)
        self.ends.append(end)

    def rate(self) -> float:
        """Images a second, of the last hundred."""
        return (len(self.ends) - 1) / (self.ends[-1] - self.ends[0]) if len(self.ends) > 1 else 0.0

    def latency_ms(self, *shares: float) -> list[float]:
        """Percentiles of the end-to-end latency in milliseconds; zeros before the first image."""
        return (
            [1000 * float(v) for v in np.percentile(self.latencies, shares)]
            if self.latencies
            else [0.0] * len(shares)
        )

    def line(self, live: bool) -> str:
        """What it took, for people; of a live source also the latency, what was dropped to keep it low, and
        the mean time of each part (to read includes to wait for the camera).
        """
        seconds = max(time.perf_counter() - self.started, 1e-9)
        count = (
            f"{self.pictures:,} image{'' if self.pictures == 1 else 's'} in {seconds:.1f} s "
            f"({self.pictures / seconds:.1f}/s)"
        )
        lost = f", {self.problems:,} could not be read" if self.problems else ""
        lost += f", {self.unanswered:,} got no answer" if self.unanswered else ""
        if not live:
            return count + lost
        middle, high, highest = self.latency_ms(50, 95, 99)
        parts = ", ".join(
            f"{part} {1000 * self.seconds[part] / max(1, self.counts[part]):.1f}" for part in PARTS
        )
        return (
            f"{count}, {self.dropped:,} dropped{lost}; latency p50 {middle:.1f} ms, p95 {high:.1f} ms, p99 "
            f"{highest:.1f} ms; "
            f"ms each: {parts}"
        )


def run(
    sources: Sequence[Source],
    analyzer: Analyzer,
    sinks: Sequence[Sink],
    smooth_s: float,
    watched: bool,
    statistics: Statistics,
    on_problem: Callable[[Shot], None],
    on_picture: Callable[[Result], None],
    every: int | None = 1,
) -> None:
    """Take all shots of the sources to the sinks, in their order; the sinks run in the calling thread.

    As many images are searched for faces at once as the analyzer has detectors. Images of a live source are
    dropped rather than late, those of files never. every: 1: each frame of a video is searched whole, by
    itself; else its faces are followed, see Follower. smooth_s: see Tracker. watched: play videos no faster
    than in real time. statistics: counted while it runs. on_problem: called at once, in another thread, for
    each shot without an image or an answer. on_picture: called after each other one. Raises what a source,
    detector, predictor or sink raises. The sinks stay open.
    """
    live = any(source.live for source in sources)
    shots: Channel[Shot] = Channel(drop=live)
    found: Channel[tuple[Shot, list[Face]]] = Channel(drop=live)
    read: Channel[Result] = Channel(drop=live)

    def detected(shot: Shot) -> tuple[Shot, list[Face]]:
        find = analyzer.search if shot.frame is None else analyzer.detect
        with statistics.timing("detect"):
            return shot, find(shot.image) if shot.image is not None else []

    def searched() -> Iterator[tuple[Shot, list[Face]]]:
        for followed, group in groupby(shots, lambda shot: every != 1 and shot.frame is not None):
            if followed:
                yield from _followed(group, analyzer, every, statistics)
            else:
                yield from _ahead(detected, group, pool, len(analyzer.detectors))

    def classified(item: tuple[Shot, list[Face]]) -> Result:
        shot, faces = item
        with statistics.timing("classify"):
            if shot.image is None or not faces:
                return Result(shot)
            try:
                readings = analyzer.readings(faces, analyzer.classify(shot.image, faces))
                if shot.frame is None:  # a single image
                    readings = analyzer.explained(shot.image, faces, readings)
                return Result(shot, readings)
            except NoAnswer as error:
                lost = replace(shot, image=None, problem=str(error))
        statistics.unanswered += 1
        on_problem(lost)
        return Result(lost)

    pool = ThreadPoolExecutor(len(analyzer.detectors), "detect")
    counted = _counted(sources, watched and not live, statistics, on_problem)
    stages = [
        threading.Thread(target=_stage, args=(counted, shots), daemon=True, name="read"),
        threading.Thread(target=_stage, args=(searched(), found), daemon=True, name="search"),
        threading.Thread(target=_stage, args=(map(classified, found), read), daemon=True, name="classify"),
    ]
    for stage in stages:
        stage.start()
    try:
        for result in _tracked(read, smooth_s):
            with statistics.timing("output"):
                drawn = (
                    draw(result.shot.image, result.faces)
                    if result.shot.image is not None and any(s.draws for s in sinks)
                    else None
                )
                for sink in sinks:
                    sink.write(result, drawn)
            if result.shot.image is not None:
                statistics.done(result.shot)
                on_picture(result)
            statistics.dropped = sum(channel.dropped for channel in (shots, found, read))
    finally:
        for source in sources:
            source.stop()
        for channel in (shots, found, read):
            channel.cancel()
        # So that it gives a camera back; but where it hangs in the driver, it ends with the program
        stages[0].join(READER_S)
        for stage in stages[1:]:
            stage.join()
        pool.shutdown()


def _counted(
    sources: Sequence[Source], paced: bool, statistics: Statistics, on_problem: Callable[[Shot], None]
) -> Iterator[Shot]:
    for source in sources:
        shots, begin = iter(source.shots()), time.perf_counter()
        while True:
            with statistics.timing("read"):
                shot = next(shots, None)
            if shot is None:
                break
            if shot.image is None:
                statistics.problems += 1
                on_problem(shot)
            elif paced and shot.frame is not None:
                time.sleep(max(0.0, begin + shot.time_s - time.perf_counter()))
                shot = replace(shot, taken=time.perf_counter())  # as if a camera had given it now
            yield shot


def _ahead(function: Callable, items: Iterable, pool: Executor, depth: int) -> Iterator:
    """The function's results in the order of the items, up to `depth` of them worked at at once.

    An error of the items comes last.
    """
    running: deque[Future] = deque()
    failure, items = None, iter(items)
    while failure is None:
        try:
            running.append(pool.submit(function, next(items)))
        except BaseException as error:
            failure = error
        else:
            if len(running) == depth:
                yield running.popleft().result()
    while running:
        yield running.popleft().result()
    if not isinstance(failure, StopIteration):
        raise failure


def _followed(
    shots: Iterable[Shot], analyzer: Analyzer, every: int | None, statistics: Statistics
) -> Iterator[tuple[Shot, list[Face]]]:
    """Frames with their faces, followed in each video for itself: one frame after the other."""
    last: Shot | None = None
    for shot in shots:
        if shot.image is None:
            yield shot, []
            continue
        with statistics.timing("detect"):
            if last is None or not shot.follows(last):
                follower = Follower(analyzer.detect, every, analyzer.sides)
            last, faces = shot, follower.step(shot.image, shot.time_s)
        yield shot, faces


def _stage(items: Iterable, target: Channel) -> None:
    """Hand the items on; an error goes to whoever takes them."""
    try:
        for item in items:
            target.put(item)
        target.close()
    except Closed:
        pass  # `run` has ended, and cancelled all channels
    except BaseException as error:
        target.close(error)


def _tracked(results: Iterable[Result], smooth_s: float) -> Iterator[Result]:
    """Follow faces from frame to frame, in each video for itself; images stay as they are."""
    tracker = Tracker(smooth_s)
    last: Shot | None = None
    for result in results:
        shot = result.shot
        if shot.frame is None or shot.image is None:
            yield result
            continue
        if last is not None and not shot.follows(last):
            tracker = Tracker(smooth_s)
        last = shot
        yield Result(shot, tracker.update(result.faces, shot.time_s))
