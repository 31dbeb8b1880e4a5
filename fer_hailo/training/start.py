"""Begin a run, or go on with one: a training, or a fine-tuning for 8 bits."""

from __future__ import annotations

from pathlib import Path

from fer_hailo.common.calls import call
from fer_hailo.common.config import Config, load_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.runs import CONFIG, DONE, ENVIRONMENT, LABELS, cache_of
from fer_hailo.deploy.selection import SELECTION
from fer_hailo.training.fit import loop
from fer_hailo.training.quantise.finetune import resume_quantised, start_quantised


def start(config: Config, run: Path, count: int = 1) -> Path:
    """Train a new run in the folder `run` (which must not exist or be empty) on `count` devices. Returns the folder."""
    begun = {ENVIRONMENT, LABELS, SELECTION}  # all that a run has that was cut before it began
    if run.exists() and not (run.is_dir() and {path.name for path in run.iterdir()} <= begun):
        raise UserError(f"{run} is not an empty folder: choose another --out, or go on with --resume {run}")
    if config.quantise:
        _check_single(count)
        return start_quantised(config, run, cache_of(run))
    return loop.start(config, run, count)


def resume(run: Path, overrides: dict, count: int = 1) -> Path:
    """Go on with an interrupted run. `overrides` may repeat its configuration, not change it, but for where its data lies."""
    if not (run / CONFIG).is_file():
        raise UserError(f"{run} is no run folder (it has no {CONFIG}): nothing to resume")
    own, wanted = load_config(run / CONFIG).to_dict(), load_config(run / CONFIG, overrides)
    for name, value in wanted.to_dict().items():
        if value != own[name] and name != "data":
            raise UserError(f"{run} was trained with {name} {own[name]}, not {value}: resume without it, or start a new run")
    if (run / DONE).exists():
        raise UserError(f"{run} is complete: evaluate it with {call('evaluate')} {run}")
    if wanted.quantise:
        _check_single(count)
        return resume_quantised(run, wanted, cache_of(run))
    return loop.resume(run, wanted, count)


def _check_single(count: int) -> None:
    if count != 1:
        raise UserError(f"fine-tuning for 8 bits takes one device, not {count}: leave --devices out")
