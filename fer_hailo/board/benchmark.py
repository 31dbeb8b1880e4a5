"""How fast a model is on this machine and how much memory it takes: each model in a fresh process, so that
its memory is its own.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from fer_hailo.common.cli import run
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import to_json
from fer_hailo.common.progress import Line
from fer_hailo.common.released import shown
from fer_hailo.common.resources import importable
from fer_hailo.common.results import Speed, add_rows, speed_row
from fer_hailo.deploy.home import Home, resolve
from fer_hailo.predict.predictor import load

BATCHES = (1, 8)
LEAST_CALLS = 10
HEADER = (
    "model",
    "stage",
    "MiB",
    "images/s",
    "of 8",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "invoke ms",
    "memory MiB",
    "added MiB",
)


def run_benchmark(models: list[str | None], threads: int = 1, seconds: float = 5) -> int:
    """Measure models, print one table, and add a row for each to the results.csv that its other rows are in.

    models: as `resolve` takes them. threads: CPU threads of a .tflite. seconds: time for each batch size. A
    model that fails gives a line on standard error. Returns the exit status: 0; 1 where some failed, 2 where
    all did.
    """
    line, measured = Line(), []
    for model in models:
        try:
            home = resolve(model)
            line.show(f"measuring {shown(home.model)}, {seconds * (len(BATCHES) + 1):.0f} s")
            measured.append((home, _in_process(home.model, threads, seconds)))
        except UserError as error:
            line.done(f"error: {error}")
    line.done(f"{len(measured)} of {len(models)} models measured")
    if not measured:
        return 2
    print(format_table([(shown(home.model), speed) for home, speed in measured]))
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {threads} CPU thread{'s' if threads > 1 else ''} for "
        "TFLite. Bytes in, "
        "probabilities out, on images of noise, which take as long as faces. images/s and percentiles with "
        "one image a call, "
        "`of 8` with eight. invoke: the runtime alone. memory: the most that the process held; added: by "
        "the model and its runtime."
    )
    for home, speed in measured:
        add_rows(home.results, [speed_row(speed, run=home.name)])
    rows = ", ".join(dict.fromkeys(str(home.results) for home, _ in measured))
    line.done(f"a row for each added to {rows}")
    return 0 if len(measured) == len(models) else 1


def measure(home: Home, threads: int, seconds: float) -> Speed:
    """Speed and memory of one model.

    Memory is this process's own, which should be fresh. Raises UserError where the model cannot be loaded.
    """
    before = peak_mib()
    with load(home, threads) as predictor:
        side = predictor.spec.input_size
        faces = np.random.default_rng(0).integers(0, 256, (max(BATCHES), side, side, 3), np.uint8)
        times = {count: call_times(partial(predictor.predict, faces[:count]), seconds) for count in BATCHES}
        middle, high, highest = (1000 * float(v) for v in np.percentile(times[1], (50, 95, 99)))
        alone = getattr(predictor.backend, "latency_ms", None)
        peak = peak_mib()
        one, eight = (count / float(taken.mean()) for count, taken in times.items())
        return Speed(
            stage=predictor.stage,
            size_bytes=home.model.stat().st_size,
            latency_ms=middle,
            latency_p95_ms=high,
            latency_p99_ms=highest,
            images_per_s_1=one,
            images_per_s_8=eight,
            invoke_ms=alone() if alone else None,
            memory_mib=peak,
            added_mib=None if peak is None or before is None else peak - before,
        )


def call_times(call: Callable[[], object], seconds: float) -> np.ndarray:
    """Seconds that each call took, float64 (calls,): for `seconds` after a fifth of that to warm up, and at
    least LEAST_CALLS.
    """
    times: list[float] = []
    for span in (seconds / 5, seconds):
        times.clear()
        end = time.perf_counter() + span
        while len(times) < LEAST_CALLS or time.perf_counter() < end:
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return np.array(times)


def peak_mib() -> float | None:
    """The most memory that this process has held, MiB; None where the system does not tell (Windows)."""
    status = Path("/proc/self/status")
    # Rather than getrusage, whose number Linux hands on from the process that started this one
    if status.is_file():
        return next(
            int(line.split()[1]) / 1024
            for line in status.read_text().splitlines()
            if line.startswith("VmHWM:")
        )
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def format_table(measured: list[tuple[str, Speed]]) -> str:
    """The models' speeds as people read them: one line a model."""
    rows: list[tuple[str, ...]] = [HEADER]
    for name, speed in measured:
        numbers = (
            (speed.images_per_s_1, ",.0f"),
            (speed.images_per_s_8, ",.0f"),
            (speed.latency_ms, ".2f"),
            (speed.latency_p95_ms, ".2f"),
            (speed.latency_p99_ms, ".2f"),
            (speed.invoke_ms, ".2f"),
            (speed.memory_mib, ",.0f"),
            (speed.added_mib, ",.0f"),
        )
        cells = ["–" if number is None else format(number, form) for number, form in numbers]
        rows.append((name, speed.stage, f"{speed.size_bytes / 2**20:.1f}", *cells))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = []
    for row in rows:
        left = [f"{cell:<{width}}" for cell, width in zip(row[:2], widths[:2], strict=True)]
        right = [f"{cell:>{width}}" for cell, width in zip(row[2:], widths[2:], strict=True)]
        lines.append("   ".join(left + right))
    return "\n".join(lines)


def _in_process(path: Path, threads: int, seconds: float) -> Speed:
    """`measure` in a process of its own."""
    child = subprocess.run(
        [sys.executable, "-m", "fer_hailo.board.benchmark", str(path), str(threads), str(seconds)],
        env=os.environ | importable(), capture_output=True, text=True,
    )  # fmt: skip
    if child.returncode == 0:
        return Speed(**json.loads(child.stdout.splitlines()[-1]))
    said = [text for text in child.stderr.splitlines() if text.strip()] or ["it said nothing"]
    reason = next((text.removeprefix("error: ") for text in said if text.startswith("error: ")), None)
    raise UserError(
        reason
        or f"{path} could not be measured: its process ended with status {child.returncode} "
        f"({said[-1][:200]})"
    )


def _child(argv: list[str] | None = None) -> None:
    path, threads, seconds = argv or sys.argv[1:]
    print(to_json(asdict(measure(resolve(path), int(threads), float(seconds)))))


if __name__ == "__main__":
    sys.exit(run(_child))
