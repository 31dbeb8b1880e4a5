"""Give damaged files to a worker, one after the other, and keep count; interrupted, it goes on later."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer_hailo.common.files import write_json
from fer_hailo.common.progress import Line, duration
from tools.fuzz.formats import mutants, whole
from tools.fuzz.reading import ROOT
from tools.fuzz.samples import Sample

LONGEST = 60.0  # seconds that a file may take: what takes longer hangs
STARTING = 600.0  # and the first one of a worker, which loads libraries
SAVED_EVERY = 100  # files, after which the count is kept on disk
PROGRAM = ["-m", "tools.fuzz.worker"]
MOST_BYTES = 1 << 30  # above the start, that no file may take


@dataclass
class Count:
    """done: files so far. outcomes: how many were read, and how many refused. faults: by the file's number,
    what went wrong. slowest, spent: seconds. peak: the most bytes above a worker's start. restarts: of the
    worker, after it died or hung.
    """

    done: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)
    slowest: float = 0.0
    spent: float = 0.0
    peak: int = 0
    restarts: int = 0

    @staticmethod
    def of(values: dict[str, Any]) -> Count:
        return Count(**values | {"outcomes": Counter(values["outcomes"])})


class Worker:
    """A worker process (worker.py) that is started when it is first asked, and again where it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, as long as this
        self._start = 0

    @property
    def alive(self) -> bool:
        """Whether it was started, and has not died since."""
        return self._process is not None

    def ask(self, name: str, path: Path) -> tuple[str, int]:
        """The outcome of reading a file, and the most bytes above its start that the worker held so far."""
        fresh = self._process is None
        process = self._process or self._new()
        assert process.stdin and process.stdout
        self._errors.truncate(0)
        try:
            process.stdin.write(f"{name} {path}\n".encode())
            process.stdin.flush()
            answer = self._answer(process, STARTING if fresh else LONGEST)
        except BrokenPipeError:
            answer = b""
        if not answer:
            return self._end(), 0
        found = json.loads(answer)
        self._start = self._start or found["peak"]  # after the first file, a whole one
        return found["outcome"], found["peak"] - self._start

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
        self._process, self._start = None, 0

    def _new(self) -> subprocess.Popen:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, as long as this
        self._process = subprocess.Popen(
            [sys.executable, *PROGRAM], cwd=ROOT,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip
        return self._process

    def _answer(self, process: subprocess.Popen, seconds: float) -> bytes:
        """A line; nothing where the worker died. Raises TimeoutError."""
        ready, _, _ = select.select([process.stdout], [], [], seconds)
        if not ready:
            return b""
        assert process.stdout
        return process.stdout.readline()

    def _end(self) -> str:
        """Why there is no answer; the next question starts a new process."""
        assert self._process
        try:
            status = self._process.wait(0.5)
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").split("Extension modules")[0].split()
            why = f"the process died ({status}): {' '.join(said)[:400]}"
        except subprocess.TimeoutExpired:
            why = f"it took more than {LONGEST:g} s"
        self.close()
        return why


def fuzz(name: str, count: int, seed: int, folder: Path, worker: Worker, state: Path | None = None) -> Count:
    """Read `count` damaged files of a format, each written into `folder` and removed again; those that show a
    fault stay. state: where the count is kept, from which an interrupted campaign goes on.
    """
    total = Count.of(json.loads(state.read_bytes())) if state and state.is_file() else Count()
    line = Line()
    try:
        start, before = time.perf_counter(), total.done
        for number, sample in enumerate(mutants(name, seed, total.done), total.done):
            if number >= count:
                break
            if number == before or not worker.alive:
                _warm(worker, name, folder)
            _one(worker, name, folder / f"{name}-{seed}-{number}__{sample.name}", sample, total)
            spent = time.perf_counter() - start
            left = duration(spent / (number + 1 - before) * (count - number - 1))
            line.show(f"{name}: {number + 1:,} of {count:,}, {len(total.faults)} faults, {left} left")
            if state and total.done % SAVED_EVERY == 0:
                write_json(state, vars(total))
    finally:
        if state:
            write_json(state, vars(total))
    return total


def _warm(worker: Worker, name: str, folder: Path) -> None:
    """Let the worker load its libraries by a whole file; what they take is no file's."""
    sample = whole(name)
    path = folder / f"whole__{sample.name}"
    path.write_bytes(sample.content)
    outcome, _ = worker.ask(name, path)
    path.unlink()
    assert outcome == "read", f"a whole file of {name} gives: {outcome}"


def _one(worker: Worker, name: str, path: Path, sample: Sample, total: Count) -> None:
    """Ask about a file, and count the answer."""
    path.write_bytes(sample.content)
    start = time.perf_counter()
    outcome, above = worker.ask(name, path)
    if above > MOST_BYTES and above > total.peak:
        outcome = f"it takes {above >> 20} MiB above the start"
    seconds = time.perf_counter() - start
    total.spent, total.slowest = total.spent + seconds, max(total.slowest, seconds)
    total.peak, total.restarts = max(total.peak, above), total.restarts + (not worker.alive)
    if outcome in ("read", "refused"):
        total.outcomes[outcome] += 1
        path.unlink()
    else:
        total.faults[str(total.done)] = outcome
    total.done += 1
