"""Begin a run, or go on with one: a training of one step or several, or a fine-tuning for 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fer_hailo.common.calls import call
from fer_hailo.common.config import Config, load_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.runs import CONFIG, DONE, DROPPED, ENVIRONMENT, LABELS, STEPS, cache_of
from fer_hailo.common.steps import load_steps
from fer_hailo.deploy.selection import SELECTION
from fer_hailo.training.fit import loop, steps
from fer_hailo.training.quantise.finetune import resume_quantised, start_quantised


def start(config: Config, run: Path, count: int = 1) -> Path:
    """Train a new run in the folder `run` (which must not exist or be empty) on `count` devices.

    Returns the folder.
    """
    _check_new(run)
    if config.model.quantise:
        _check_single(count)
        return start_quantised(config, run, cache_of(run))
    return loop.start(config, run, count)


def start_steps(configs: Sequence[Config], run: Path, count: int = 1) -> Path:
    """Train a new run of several steps, as `start` does."""
    _check_new(run)
    return steps.start_steps(configs, run, count)


def resume(run: Path, overrides: dict, count: int = 1) -> Path:
    """Go on with an interrupted run.

    `overrides` may repeat its configuration, not change it, but for where its data lies.
    """
    if (run / STEPS).is_file():
        return _resume_steps(run, overrides, count)
    if not (run / CONFIG).is_file():
        raise UserError(f"{run} is no run folder (it has no {CONFIG}): nothing to resume")
    wanted = load_config(run / CONFIG, overrides)
    _check_unfinished(run, load_config(run / CONFIG), wanted)
    if wanted.model.quantise:
        _check_single(count)
        return resume_quantised(run, wanted, cache_of(run))
    return loop.resume(run, wanted, count)


def _resume_steps(run: Path, overrides: dict, count: int) -> Path:
    own = load_steps(run / STEPS)
    if not own:
        raise UserError(f"{run / STEPS} lists no steps: copy it again, or start a new run")
    if "data" in overrides and len({step.data.source for step in own}) > 1:
        several = f"the steps of {run} learn from different data, which one --data cannot name"
        raise UserError(f"{several}: leave it where it was")
    wanted = load_steps(run / STEPS, overrides)
    for before, after in zip(own, wanted, strict=True):
        _check_unfinished(run, before, after)
    return steps.go_on(wanted, run, count)


def _check_new(run: Path) -> None:
    begun = {ENVIRONMENT, LABELS, SELECTION, DROPPED}  # all that a run has that was cut before it began
    if run.exists() and not (run.is_dir() and {path.name for path in run.iterdir()} <= begun):
        raise UserError(f"{run} is not an empty folder: choose another --out, or go on with --resume {run}")


def _check_unfinished(run: Path, own: Config, wanted: Config) -> None:
    """Raise UserError where there is nothing left to do, or `wanted` changes the run's own configuration."""
    before = own.to_dict()
    for name, value in wanted.to_dict().items():
        if value != before[name] and name != "data":
            raise UserError(
                f"{run} was trained with {name} {before[name]}, not {value}: resume without it, or start a "
                "new run"
            )
    if (run / DONE).exists():
        raise UserError(f"{run} is complete: evaluate it with {call('evaluate')} {run}")


def _check_single(count: int) -> None:
    if count != 1:
        raise UserError(f"fine-tuning for 8 bits takes one device, not {count}: leave --devices out")
