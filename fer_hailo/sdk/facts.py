"""What is known at the end of a compilation, or of its rehearsal: the content of compile_report.json."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fer_hailo.common.metrics import Scores, Splits, scores_to_dict, to_dicts
from fer_hailo.emulation.stages import EmulationFacts
from fer_hailo.sdk.rehearsal import CalibrationFacts, SpeedBound
from fer_hailo.sdk.verdict import Verdict


@dataclass(frozen=True)
class Compiled:
    """What only the SDK tells. sdk_version: of the first step. parsed: the TFLite that it took, empty where
    that was not recorded. agreement: by stage, the part of the
    predictions that are the float TFLite's. hef: as its `to_dict` gives it, None where there is none yet.
    """

    sdk_version: str
    parsed: str
    agreement: dict[str, float]
    hef: dict[str, Any] | None


@dataclass(frozen=True)
class Rehearsed:
    """What only a rehearsal tells. emulation: None where the network is not emulated."""

    emulation: EmulationFacts | None
    calibration: CalibrationFacts
    speed: SpeedBound


@dataclass(frozen=True)
class Facts:
    """bundle: its name; bundle_sha256: of its manifest. quick: images that were scored, None for all. date:
    of the report.

    metrics: of the stages that were scored. reference: the Keras model's, where it was scored on the same
    images. judged: the metrics that the verdict is of. noise: by layer, dB. settings: as
    fer_hailo.script.settings gives them. script: its text. seconds: that each part took.
    """

    bundle: str
    bundle_sha256: str
    hw_arch: str
    date: str
    quick: int | None
    metrics: Scores
    reference: Splits
    verdict: Verdict
    judged: Scores
    warnings: list[str]
    versions: dict[str, str]
    noise: dict[str, float]
    settings: dict[str, str]
    script: str
    seconds: dict[str, float]
    outcome: Compiled | Rehearsed

    @property
    def title(self) -> str:
        return f"{self.bundle} for {self.hw_arch}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = {
            "title": self.title,
            "bundle": self.bundle,
            "bundle_sha256": self.bundle_sha256,
            "hw_arch": self.hw_arch,
            "date": self.date,
            "quick": self.quick,
            "metrics": scores_to_dict(self.metrics),
            "reference": to_dicts(self.reference),
            "verdict": self.verdict.to_dict(),
            "judged": scores_to_dict(self.judged),
            "warnings": self.warnings,
            "versions": self.versions,
        }
        run = {"settings": self.settings, "script": self.script, "seconds": self.seconds}
        if isinstance(self.outcome, Compiled):
            values |= {"agreement": self.outcome.agreement, "rehearsal": False, "noise": self.noise}
            return values | run | {"hef": self.outcome.hef}
        emulation = asdict(self.outcome.emulation) if self.outcome.emulation else None
        values |= {"rehearsal": True, "noise": self.noise, "emulation": emulation}
        return (
            values
            | {"calibration": asdict(self.outcome.calibration), "speed": self.outcome.speed.to_dict()}
            | run
        )
