"""results.csv: one row for every measurement of every stage, beside the run folders."""

from __future__ import annotations

import csv
import subprocess
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

from fer_hailo.common.errors import UserError
from fer_hailo.common.files import locked, read_csv, write_csv
from fer_hailo.common.metrics import Metrics
from fer_hailo.common.resources import checkout

# INT8 but for layers that compute in float, which no 8-bit chip does: files of before that was cured
FLOAT_STEM = "tflite-int8-floatstem"
STAGES = (
    "keras",
    "tflite",
    "tflite-int8",
    FLOAT_STEM,
    "emulated-int8",
    "emulated-a16",
    "har-native",
    "har-fp",
    "har-int8",
    "hef",
    "peer",
)
SPEED = ("latency_ms", "latency_p95_ms", "latency_p99_ms", "images_per_s_1", "images_per_s_8", "memory_mib")
# Files of older versions lack these
COMPARED = ("reference", "difference", "difference_low", "difference_high", "time_ratio")
LATER = {"drop", *SPEED[1:], "parameters", "input_size", "selected_by", "corruption_loss", *COMPARED}


@dataclass(frozen=True)
class Row:
    """One row; its fields are the columns. Empty: not measured. Fractions with six digits.

    count, sha256: of the images. drop: accuracy lost since the Keras model. latency_ms (median),
    latency_p95_ms, latency_p99_ms: of one image, milliseconds. images_per_s_1, images_per_s_8: with one and
    eight images a call. memory_mib: the most that the process held. input_size: side, pixels. size_bytes: of
    the file. selected_by: the validated run that a run on all of train repeats, under whose name its
    validation stands. corruption_loss: mean accuracy lost on corrupted faces, see fer_hailo.robustness.
    reference: the run with which the next were compared, on the same images, in turns. difference: accuracy
    less the reference's, with its paired 95 % interval. time_ratio: time of one image, in the reference's.
    """

    date: str = ""
    commit: str = ""
    run: str = ""
    stage: str = ""
    data: str = ""
    split: str = ""
    count: int | str = ""
    accuracy: str = ""
    accuracy_low: str = ""
    accuracy_high: str = ""
    drop: str = ""
    macro_recall: str = ""
    macro_f1: str = ""
    ece: str = ""
    per_class_recall: str = ""
    latency_ms: str = ""
    latency_p95_ms: str = ""
    latency_p99_ms: str = ""
    images_per_s_1: str = ""
    images_per_s_8: str = ""
    memory_mib: str = ""
    parameters: int | str = ""
    input_size: int | str = ""
    size_bytes: int | str = ""
    seed: int | str = ""
    sha256: str = ""
    selected_by: str = ""
    corruption_loss: str = ""
    reference: str = ""
    difference: str = ""
    difference_low: str = ""
    difference_high: str = ""
    time_ratio: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """As the file holds them."""
        return tuple(map(str, vars(self).values()))


COLUMNS = [column.name for column in fields(Row)]


@dataclass(frozen=True)
class Speed:
    """What was measured of a model's speed and memory; the names are those of Row.

    invoke_ms: of the runtime alone, None where it has no such call. memory_mib, added_mib (by the model and
    its runtime): None where the system does not tell.
    """

    stage: str
    size_bytes: int
    latency_ms: float
    latency_p95_ms: float
    latency_p99_ms: float
    images_per_s_1: float
    images_per_s_8: float
    invoke_ms: float | None
    memory_mib: float | None
    added_mib: float | None


def row_of(
    metrics: Metrics,
    *,
    run: str,
    stage: str,
    seed: int | str = "",
    size_bytes: int | str = "",
    latency_ms: float | None = None,
    reference: Metrics | None = None,
    parameters: int | str = "",
    input_size: int | str = "",
    selected_by: str = "",
    corruption_loss: float | None = None,
) -> Row:
    """A row from metrics.

    latency_ms: of one image. reference: the Keras model's metrics on the same images. The rest is as in Row.
    """
    low, high = metrics.accuracy_ci95
    recalls = [f"{name}={value:.4f}" for name, value in metrics.per_class_recall.items() if value is not None]
    return replace(
        _origin(run, stage),
        data=metrics.data,
        split=metrics.split,
        count=metrics.count,
        accuracy=_fraction(metrics.accuracy),
        accuracy_low=_fraction(low),
        accuracy_high=_fraction(high),
        drop=_fraction(reference.accuracy - metrics.accuracy) if reference else "",
        macro_recall=_fraction(metrics.macro_recall),
        macro_f1=_fraction(metrics.macro_f1),
        ece=_fraction(metrics.ece),
        per_class_recall=" ".join(recalls),
        latency_ms=f"{latency_ms:.3f}" if latency_ms else "",
        parameters=parameters,
        input_size=input_size,
        size_bytes=size_bytes,
        seed=seed,
        sha256=metrics.sha256,
        selected_by=selected_by,
        corruption_loss=_fraction(corruption_loss) if corruption_loss is not None else "",
    )


def speed_row(speed: Speed, *, run: str) -> Row:
    """A row of a model's speed. It was measured on no data set: data, split and accuracy stay empty."""
    measured = {name: getattr(speed, name) for name in SPEED}
    numbers = {name: "" if value is None else f"{value:.3f}" for name, value in measured.items()}
    return replace(_origin(run, speed.stage), **numbers, size_bytes=speed.size_bytes)


def add_rows(path: Path | str, rows: list[Row]) -> int:
    """Append rows that the file does not hold yet, under a lock, atomically. Returns how many were new."""
    path = Path(path)
    with locked(path.with_name(f".{path.name}.lock")):
        present = read_rows(path) if path.exists() else []
        known = {row.cells for row in present}
        new = [row for row in rows if row.cells not in known]
        write_csv(path, COLUMNS, [vars(row) for row in present + new])
    return len(new)


def merge(path: Path | str, other: Path | str) -> int:
    """Join another machine's results.csv into `path`.

    Returns how many rows were new. Raises UserError where it holds none.
    """
    if not Path(other).is_file():
        raise UserError(f"no results at {other}")
    rows = read_rows(Path(other))
    if not rows:
        raise UserError(f"{other} holds no results")
    return add_rows(path, rows)


def git_commit() -> str:
    """The checkout's commit, with + when files differ from it; empty outside a checkout."""
    here = checkout()
    if here is None:  # the repository around an installed library is another one
        return ""
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=here, capture_output=True, text=True, timeout=10
        )
        changed = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], cwd=here, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "") if commit.returncode == 0 else ""


def read_rows(path: Path) -> list[Row]:
    """The rows of a results file; those of an older version lack some columns.

    Raises UserError for another file.
    """
    try:
        rows = read_csv(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as results: {error}") from None
    if rows and set(rows[0]) | LATER != set(COLUMNS):
        columns = ", ".join(map(str, rows[0]))
        raise UserError(f"{path} is no results file of this version: its columns are {columns}")
    return [Row(**{name: row.get(name) or "" for name in COLUMNS}) for row in rows]


def _origin(run: str, stage: str) -> Row:
    if stage not in STAGES:
        raise ValueError(f"stage must be one of {STAGES}, got {stage}")
    return Row(date=time.strftime("%Y-%m-%dT%H:%M:%S"), commit=git_commit(), run=run, stage=stage)


def _fraction(value: float) -> str:
    return f"{value:.6f}"
