"""A run of several steps. Each is a run of its own in a folder inside; the last is the run itself.

RUN/steps.yaml says what they are. It is there from the start, RUN/config.yaml only once the last step begins.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fer_hailo.common.calls import call
from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import locked
from fer_hailo.common.runs import CONFIG, DONE, STEPS, STEPS_LOCK
from fer_hailo.common.steps import in_folders, save_steps
from fer_hailo.training.fit import loop
from fer_hailo.training.fit.devices import CLUSTER


def start_steps(steps: Sequence[Config], run: Path, count: int = 1) -> Path:
    """Train one step after the other in the new folder `run`, on `count` devices. Returns the folder."""
    _check_alone()
    for config in steps:  # what the last step lacks is told now, not after hours
        loop.check(config, count)
    made = not run.exists()
    run.mkdir(parents=True, exist_ok=True)
    save_steps(steps, run / STEPS)
    try:
        return go_on(steps, run, count)
    finally:
        if not _begun(steps, run):  # a mistake, or an interruption, before anything could be kept
            (run / STEPS).unlink()
            (run / STEPS_LOCK).unlink(missing_ok=True)
            if made:
                with contextlib.suppress(OSError):
                    run.rmdir()


def go_on(steps: Sequence[Config], run: Path, count: int = 1) -> Path:
    """Train what is left of the steps. Returns the folder."""
    _check_alone()
    try:
        with locked(run / STEPS_LOCK, wait=False):
            for number, (folder, config) in enumerate(in_folders(steps, run), 1):
                if (folder / DONE).exists():
                    continue
                head = f"step {number} of {len(steps)}, at {config.face.input_size} px: {folder}"
                print(head, file=sys.stderr, flush=True)
                if (folder / CONFIG).is_file():
                    loop.resume(folder, config, count)
                else:
                    loop.start(config, folder, count)
    except KeyboardInterrupt:
        if not _begun(steps, run):
            raise
        how = f"{call('train')} --resume {run}"
        raise KeyboardInterrupt(f"every whole epoch is saved, go on with {how}") from None
    return run


def _check_alone() -> None:
    if CLUSTER in os.environ:  # the other processes keep no folder to find the model of the step before in
        instead = f"take ${CLUSTER} away, or train each step's recipe by itself"
        raise UserError(f"several steps work with one process: {instead}")


def _begun(steps: Sequence[Config], run: Path) -> bool:
    return (in_folders(steps, run)[0][0] / CONFIG).is_file()
