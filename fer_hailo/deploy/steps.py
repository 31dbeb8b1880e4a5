"""steps.json: what was recorded of each step of a compilation, beside the HEF.

Read on the SDK machine and the board.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fer_hailo.common.errors import UserError
from fer_hailo.common.files import write_json
from fer_hailo.common.metrics import Scores, scores_from_dict, scores_to_dict
from fer_hailo.common.reading import DAMAGED, read_json

RECORD = "steps.json"


@dataclass(frozen=True)
class Inputs:
    """What the result of a step depends on. bundle, script: SHA-256; the parse depends on no script."""

    bundle: str
    hw_arch: str
    script: str | None = None

    def to_dict(self) -> dict[str, str]:
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Finding:
    """What the SDK's log says that the user must know. line: the first that says it. count: of such lines.

    level: the optimization level that is left, where it says one.
    """

    what: str
    line: str
    count: int
    level: int | None


@dataclass(frozen=True)
class StepScores:
    """Of a step's artefact. quick: images that were scored, None for all. date: when. metrics: of its stages.

    agreement: by stage, the part of the predictions that are the float TFLite's. noise: by layer, dB.
    answers: SHA-256 of the file that keeps the INT8 predictions, where the step has them.
    """

    quick: int | None
    date: str
    metrics: Scores = field(default_factory=dict)
    agreement: dict[str, float] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)
    answers: str | None = None

    def to_dict(self) -> dict[str, Any]:
        values = vars(self) | {"metrics": scores_to_dict(self.metrics)}
        return {name: value for name, value in values.items() if name != "answers" or value is not None}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> StepScores:
        """Raises AttributeError, KeyError, TypeError or ValueError where `values` are none."""
        return StepScores(
            quick=values["quick"],
            date=str(values["date"]),
            metrics=scores_from_dict(values["metrics"]),
            agreement=dict(values["agreement"]),
            noise=dict(values["noise"]),
            answers=values.get("answers"),
        )


@dataclass(frozen=True)
class Step:
    """A step that is done. sha256: of its artefact. scores: None until it was scored.

    output_snr: of the outputs, dB, where the step's log tells it.

    What the step found out, None of the others: notes, sentences; layers (how many) of the parse, and the
    file that was parsed; script, with the names of the parsed layers, of the optimization; hef, as its
    `to_dict` gives it, of the compilation.
    """

    inputs: Inputs
    sha256: str
    seconds: float
    log: tuple[Finding, ...]
    sdk_version: str
    scores: StepScores | None = None
    output_snr: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] | None = None
    layers: int | None = None
    parsed: str | None = None
    script: str | None = None
    hef: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "notes": None if self.notes is None else list(self.notes),
            "layers": self.layers,
            "parsed": self.parsed,
        }
        found |= {"script": self.script, "hef": self.hef, "output_snr": self.output_snr or None}
        return {
            "inputs": self.inputs.to_dict(),
            "sha256": self.sha256,
            "seconds": self.seconds,
            "log": [asdict(finding) for finding in self.log],
            "sdk_version": self.sdk_version,
            "scores": self.scores.to_dict() if self.scores else {},
            **{name: value for name, value in found.items() if value is not None},
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Step:
        """Raises AttributeError, KeyError, TypeError or ValueError where `values` are none."""
        scores, notes = values["scores"], values.get("notes")
        return Step(
            inputs=Inputs(**values["inputs"]),
            sha256=str(values["sha256"]),
            seconds=values["seconds"],
            log=tuple(Finding(**finding) for finding in values["log"]),
            sdk_version=str(values["sdk_version"]),
            scores=StepScores.from_dict(scores) if scores else None,
            output_snr=dict(values.get("output_snr") or {}),
            notes=None if notes is None else tuple(notes),
            layers=values.get("layers"),
            parsed=values.get("parsed"),
            script=values.get("script"),
            hef=values.get("hef"),
        )


def write_steps(path: Path, steps: Mapping[str, Step]) -> None:
    """Write the record of the steps, by name, atomically."""
    write_json(path, {name: step.to_dict() for name, step in steps.items()})


def read_steps(path: Path) -> dict[str, Step]:
    """The steps that a record tells of; none of a damaged file.

    What another version wrote is left out: it costs time only.
    """
    try:
        entries = list(read_json(path).items())
    except (UserError, *DAMAGED):
        return {}
    steps = {}
    for name, values in entries:
        try:
            steps[name] = Step.from_dict(values)
        except (AttributeError, KeyError, TypeError, ValueError):
            continue
    return steps
