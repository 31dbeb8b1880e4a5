"""results.csv: one row for every measurement of every stage, beside the run folders."""

from __future__ import annotations

import csv
import subprocess
import time
from pathlib import Path

from fer_hailo.common.errors import UserError
from fer_hailo.common.files import locked, read_csv, write_csv
from fer_hailo.common.metrics import Metrics
from fer_hailo.common.resources import checkout

FLOAT_STEM = "tflite-int8-floatstem"  # INT8 but for layers that compute in float, which no 8-bit chip does: files of before that was cured
STAGES = ("keras", "tflite", "tflite-int8", FLOAT_STEM, "emulated-int8", "emulated-a16", "har-native", "har-fp", "har-int8", "hef", "peer")
SPEED = ("latency_ms", "latency_p95_ms", "latency_p99_ms", "images_per_s_1", "images_per_s_8", "memory_mib")
COLUMNS = ["date", "commit", "run", "stage", "data", "split", "count", "accuracy", "accuracy_low", "accuracy_high", "drop",
           "macro_recall", "macro_f1", "ece", "per_class_recall", *SPEED, "parameters", "input_size",
           "size_bytes", "seed", "sha256", "selected_by"]  # fmt: skip
LATER = {"drop", *SPEED[1:], "parameters", "input_size", "selected_by"}  # files of older versions lack these


def row_of(
    metrics: Metrics,
    *,
    run: str,
    stage: str,
    seed: int | str = "",
    size_bytes: int | str = "",
    latency_ms: float | str = "",
    reference: Metrics | None = None,
    parameters: int | str = "",
    input_size: int | str = "",
    selected_by: str = "",
) -> dict:
    """A row from metrics. Fractions with six digits; size in bytes; latency in milliseconds for one picture.

    reference: the Keras model's metrics on the same pictures; `drop` is the accuracy lost since. input_size: side, pixels.
    selected_by: the validated run that a run on all of train repeats, under whose name its validation stands.
    """
    origin = _origin(run, stage)
    low, high = metrics.accuracy_ci95
    numbers = {name: getattr(metrics, name) for name in ("accuracy", "macro_recall", "macro_f1", "ece")} | {
        "accuracy_low": low,
        "accuracy_high": high,
    }
    recalls = " ".join(f"{name}={value:.4f}" for name, value in metrics.per_class_recall.items() if value is not None)
    return {
        **origin,
        **{name: getattr(metrics, name) for name in ("data", "split", "count", "sha256")},
        **{name: f"{value:.6f}" for name, value in numbers.items()},
        "drop": f"{reference.accuracy - metrics.accuracy:.6f}" if reference else "",
        "per_class_recall": recalls,
        "latency_ms": f"{latency_ms:.3f}" if latency_ms else "",
        "parameters": parameters,
        "input_size": input_size,
        "size_bytes": size_bytes,
        "seed": seed,
        "selected_by": selected_by,
    }


def speed_row(speed: dict, *, run: str, stage: str, size_bytes: int) -> dict:
    """A row of a model's speed. It was measured on no data set: data, split and accuracy stay empty.

    speed: latency_ms (median), latency_p95_ms, latency_p99_ms: of one picture, milliseconds; images_per_s_1, images_per_s_8: with one
    and eight pictures a call; memory_mib: the most that the process held, MiB, None where the system does not tell.
    """
    numbers = {name: "" if speed[name] is None else f"{speed[name]:.3f}" for name in SPEED}
    return {**_origin(run, stage), **numbers, "size_bytes": size_bytes}


def add_rows(path: Path | str, rows: list[dict]) -> int:
    """Append rows that the file does not hold yet, under a lock, atomically. Returns how many were new."""
    path = Path(path)
    with locked(path.with_name(f".{path.name}.lock")):
        present = _read(path) if path.exists() else []
        known = {tuple(str(row.get(name, "")) for name in COLUMNS) for row in present}
        new = [row for row in rows if tuple(str(row.get(name, "")) for name in COLUMNS) not in known]
        write_csv(path, COLUMNS, present + new)
    return len(new)


def merge(path: Path | str, other: Path | str) -> int:
    """Join another machine's results.csv into `path`. Returns how many rows were new. Raises UserError where it holds none."""
    if not Path(other).is_file():
        raise UserError(f"no results at {other}")
    rows = _read(other)
    if not rows:
        raise UserError(f"{other} holds no results")
    return add_rows(path, rows)


def git_commit() -> str:
    """The checkout's commit, with + when files differ from it; empty outside a checkout."""
    here = checkout()
    if here is None:  # the repository around an installed library is another one
        return ""
    try:
        commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=here, capture_output=True, text=True, timeout=10)
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=here, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "") if commit.returncode == 0 else ""


def _origin(run: str, stage: str) -> dict:
    if stage not in STAGES:
        raise ValueError(f"stage must be one of {STAGES}, got {stage}")
    return {"date": time.strftime("%Y-%m-%dT%H:%M:%S"), "commit": git_commit(), "run": run, "stage": stage}


def _read(path: Path | str) -> list[dict]:
    try:
        rows = read_csv(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as results: {error}") from None
    if rows and set(rows[0]) | LATER != set(COLUMNS):
        raise UserError(f"{path} is no results file of this version: its columns are {', '.join(map(str, rows[0]))}")
    return rows
