"""Run folders: their names, which is the newest, and what a run records about its surroundings."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import sys
import time
from pathlib import Path

from fer_hailo.common.calls import call, program
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import in_use, write_json
from fer_hailo.common.reading import read_json, read_text, reading
from fer_hailo.common.resources import resource
from fer_hailo.common.results import git_commit

RUNS = Path(os.environ.get("FER_HAILO_HOME") or "fer2013_keras_hailo")
MODEL, CONFIG, LABELS, ENVIRONMENT, DONE = (
    "best_model_float32.keras",
    "config.yaml",
    "labels.txt",
    "environment.json",
    "DONE",
)
CONFIDENCE = "confidence.json"
CURVES = "training_curves.png"  # history.csv, drawn
DROPPED = "dropped.csv"  # a run's own copy of the list of images that it leaves out
SYNTHETIC = "synthetic sample set"  # what data of drawn faces is called, wherever data is named
LOCK, STEPS_LOCK = ".lock", ".steps.lock"  # held by the process that trains the run, or its steps
STEPS = "steps.yaml"  # of a run of several steps: all their configurations
PACKAGES = (
    "fer-hailo",
    "tensorflow",
    "keras",
    "jax",
    "torch",
    "numpy",
    "opencv-python",
    "scikit-learn",
    "pillow",
    "ai-edge-litert",
    "ai-edge-quantizer",
)
NAME = re.compile(r"\d{8}-\d{6}_.+_s\d+")


def new_run(arch: str, seed: int, parent: Path = RUNS) -> Path:
    """A name for a run that starts now; a run of the same second and seed waits for the next."""
    while (path := parent / f"{time.strftime('%Y%m%d-%H%M%S')}_{arch}_s{seed}").exists():
        time.sleep(0.2)
    return path


def cache_of(run: Path) -> Path:
    """Where decoded data is kept for a run: one folder for all runs below RUNS, else beside the run.

    A step of a run has its run's.
    """
    if (run.parent / STEPS).is_file():
        run = run.parent
    inside = RUNS.absolute() in run.absolute().parents
    return (RUNS if inside else beside(run)) / "cache"


def beside(folder: Path) -> Path:
    """The folder for what goes beside a run: its parent, but RUNS for a released model of the library.

    That one's place may belong to another user, and goes with the next installation.
    """
    own = resource("fer2013_keras_hailo")
    return RUNS if folder.absolute().parent == own.absolute() else folder.parent


def newest_run(done: bool, parent: Path = RUNS, real: bool = False) -> Path:
    """The latest run that is complete, or the latest that is not: of these one that no process trains, if
    there is any. Raises UserError when there is none.

    real: runs that learnt drawn faces are passed over.
    """
    runs = (p for p in parent.glob("*") if NAME.fullmatch(p.name))
    names = sorted(p for p in runs if _is_begun(p) and (p / DONE).exists() == done)
    names = [p for p in names if not (real and learnt_drawn(p))]
    if not names:
        raise UserError(
            f"no {'complete' if done else 'unfinished'} run in {parent}: "
            + (f"train one with {call('train')}" if done else "nothing to resume")
        )
    idle = names if done else [p for p in names if not any(in_use(p / lock) for lock in (LOCK, STEPS_LOCK))]
    return (idle or names)[-1]


def _is_begun(run: Path) -> bool:
    return (run / CONFIG).is_file() or (run / STEPS).is_file()


def read_labels(path: Path | str) -> tuple[str, ...]:
    """The class names of labels.txt, in label order."""
    try:
        names = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the labels {path}: {error}") from None
    if len(names) < 2 or len(set(names)) != len(names):
        raise UserError(f"{path} must name two or more different classes, one a line")
    return names


def data_key(run: Path) -> str:
    """The key of the data that a run was trained on.

    Raises UserError where its environment.json tells none.
    """
    path = run / ENVIRONMENT
    with reading(path, f"does not tell which data {run} was trained on", "copy the folder again"):
        return str(read_json(path)["data"]["key"])


def learnt_drawn(run: Path) -> bool:
    """Whether a run's data were drawn faces; False where it does not tell."""
    path = run / ENVIRONMENT
    with contextlib.suppress(UserError), reading(path, "tells no data", "copy the folder again"):
        return bool(read_json(path)["data"]["name"] == SYNTHETIC)
    return False


def taught_by(run: Path) -> list[str] | None:
    """SHA-256 of each teacher that a run began with; None of a run of the time when that was not noted.

    Raises UserError for a damaged file.
    """
    path = run / ENVIRONMENT
    with reading(path, "does not tell how this run began", "start a new run"):
        return read_json(path).get("teachers")


def note_resumed(run: Path) -> None:
    """Add this process to those that environment.json says a run was resumed by.

    Raises UserError for a damaged file.
    """
    path = run / ENVIRONMENT
    with reading(path, "does not tell how this run began", "start a new run"):
        record = read_json(path)
        resumed = record | {"resumed": [*record["resumed"], environment()]}
    write_json(path, resumed)


def environment() -> dict:
    """Git commit, package versions, machine and command: what somebody needs to repeat a run."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "git_commit": git_commit(),
        "command": [program(), *sys.argv[1:]],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "keras_backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "versions": versions,
    }
