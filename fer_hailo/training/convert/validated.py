"""What the conversion of a network that was trained on all of train takes from the validated run whose
settings it repeats.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fer_hailo.common.calls import call
from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.common.runs import RUNS, cache_of
from fer_hailo.deploy.bundle import SCRIPT
from fer_hailo.deploy.home import Home
from fer_hailo.deploy.selection import Selection, read_selection
from fer_hailo.training.convert.facts import CONVERSION, read_candidates
from fer_hailo.training.data.dataset import Part, load_dataset


def selected(subject: Home) -> Selection | None:
    """The validated run of a subject, with the scores of its conversion and its model script; None where it
    has a validation side.

    Raises UserError where that run was not converted: nothing else can tell what INT8 loses.
    """
    selection = read_selection(subject.run) if subject.run else None
    if selection is None or selection.script:
        return selection
    run = Path(subject.config.data.selected_by)
    try:
        converted = {
            candidate.stage: candidate.metrics["val"] for candidate in read_candidates(run / CONVERSION)
        }
        script = (run / "deploy" / SCRIPT).read_text(encoding="utf-8")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{subject.run} repeats {run} on all of train, and the validation side of that one tells what is "
            "lost: "
            f"run {call('convert')} {run} first"
        ) from None
    return replace(selection, metrics=selection.metrics | converted, script=script)


def validated_side(config: Config, selection: Selection, spec: PreprocessSpec, run: Path | None) -> Part:
    """The validation side of the validated run, which this network has learnt: for checks that ask whether
    two networks answer alike, and for nothing else.
    """
    split = config.change(
        input_size=spec.input_size, validation_fraction=selection.validation_fraction, selected_by=""
    )
    return load_dataset(split, cache_of(run) if run else RUNS / "cache").part("val")
