"""What a run needs to go on exactly where it was: every variable, the counters, and the history, in one file.

Keras' `.weights.h5` and BackupAndRestore leave out the states of random generators and callbacks, so that a
resumed run would draw other dropout masks and stop at another epoch.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.common.files import written
from fer_hailo.common.reading import reading


@dataclass
class Progress:
    """How far a run is.

    stage, epoch: the stage (0: none has begun), and the epochs done in it. finished: the stage ended early.
    wait, stage_best: early stopping's epochs since the stage's best validation accuracy, and that accuracy.
    best: the run's best, whose model is on disk; 0 where all of train is learnt from and the model on disk is
    the last. data_key: the data set it belongs to. history: one row an epoch.
    """

    data_key: str
    stage: int = 0
    epoch: int = 0
    finished: bool = False
    wait: int = 0
    stage_best: float | None = None
    best: float = -1.0
    history: list[dict] = field(default_factory=list)

    def begin(self, stage: int) -> None:
        """Count for a new stage."""
        self.stage, self.epoch, self.finished, self.wait, self.stage_best = stage, 0, False, 0, None


def save_state(path: Path, progress: Progress, variables: list) -> None:
    """Write progress and variables to one .npz, atomically."""
    arrays: dict[str, Any] = {f"v{i:05d}": np.asarray(keras_numpy(v)) for i, v in enumerate(variables)}
    with written(path) as beside:
        np.savez(beside, progress=json.dumps(asdict(progress)), **arrays)


def load_progress(path: Path) -> Progress | None:
    """The progress in a state file; None when there is no file. Raises UserError when it is damaged."""
    if not path.exists():
        return None
    return _read(path, lambda file: Progress(**json.loads(str(file["progress"]))))


def load_variables(path: Path, variables: list) -> None:
    """Put the saved values back. Raises UserError when they are damaged or of another model."""
    values = _read(path, lambda file: [file[name] for name in sorted(file.files) if name.startswith("v")])
    if [value.shape for value in values] != [tuple(variable.shape) for variable in variables]:
        raise UserError(f"{path} was written by another model or version: start a new run")
    for value, variable in zip(values, variables, strict=True):
        variable.assign(value)


def _read(path: Path, take: Callable):
    with (
        reading(path, "is damaged", "remove its folder to start this run again"),
        np.load(path, allow_pickle=False) as file,
    ):
        return take(file)


def keras_numpy(variable: Any) -> np.ndarray:
    """The value of a Keras variable on any backend and device."""
    import keras

    return keras.ops.convert_to_numpy(variable)
