"""conversion.json: what a conversion did, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fer_hailo.common.metrics import Splits, from_dicts, to_dicts
from fer_hailo.common.reading import read_json
from fer_hailo.deploy.manifest import Calibration
from fer_hailo.deploy.selection import Selection
from fer_hailo.formats.tflite import Layer
from fer_hailo.training.convert.cleanup import Change
from fer_hailo.training.convert.equalise import Equalised
from fer_hailo.training.convert.parity import Parity
from fer_hailo.training.convert.quantise import Trial
from fer_hailo.training.convert.ranges import TensorFacts
from fer_hailo.training.convert.second_road import SecondRoad

CONVERSION = "conversion.json"


@dataclass(frozen=True)
class Scored:
    """A model file that was scored. size_bytes: of the file. latency_ms: of one image on one thread, None of
    the Keras model.
    """

    stage: str
    size_bytes: int
    latency_ms: float | None
    metrics: Splits

    def to_dict(self) -> dict[str, Any]:
        return vars(self) | {"metrics": to_dicts(self.metrics)}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Scored:
        """Raises AttributeError, KeyError, TypeError or ValueError where `values` are none."""
        latency = values.get("latency_ms")
        return Scored(
            str(values["stage"]),
            int(values["size_bytes"]),
            None if latency is None else float(latency),
            from_dicts(values["metrics"]),
        )


@dataclass(frozen=True)
class Conversion:
    """model: path of the .keras file. parity: float TFLite against Keras. kernels_raised: channels, see
    `raise_small_kernels`.

    unexpected: layers that the Dataflow Compiler may not take. second_road: text says why there is none.
    quantised_from: the run that was fine-tuned
    for 8 bits, else empty. trials: the first was taken; none where there is no INT8 network. ranges: the
    worst used first.
    """

    model: str
    parity: Parity
    changes: tuple[Change, ...]
    equalised: Equalised
    kernels_raised: int
    unexpected: tuple[Layer, ...]
    second_road: SecondRoad | str
    quantised_from: str
    trials: tuple[Trial, ...]
    candidates: tuple[Scored, ...]
    keras: Scored
    ranges: tuple[TensorFacts, ...]
    calibration: Calibration
    selection: Selection | None

    @property
    def scored(self) -> tuple[Scored, ...]:
        return (self.keras, *self.candidates)

    @property
    def lost(self) -> float:
        """Points of validation accuracy that INT8 is behind the Keras model; of a network that was trained on
        all of train, its validated run's. 0 where either was not scored.
        """
        held = {entry.stage: entry.metrics["val"] for entry in self.scored if "val" in entry.metrics}
        if self.selection:
            held = self.selection.metrics
        if not {"keras", "tflite-int8"} <= held.keys():
            return 0.0
        return 100 * (held["keras"].accuracy - held["tflite-int8"].accuracy)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "model": self.model,
            "parity": asdict(self.parity),
            "changes": [asdict(change) for change in self.changes],
            "equalised": asdict(self.equalised),
            "kernels_raised": self.kernels_raised,
            "unexpected_operators": [
                {"name": layer.name, "operator": layer.operator} for layer in self.unexpected
            ],
            "second_road": self.second_road
            if isinstance(self.second_road, str)
            else asdict(self.second_road),
            "quantised_from": self.quantised_from,
            "trials": [asdict(trial) for trial in self.trials],
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "keras": {"size_bytes": self.keras.size_bytes, "metrics": to_dicts(self.keras.metrics)},
            "ranges": [asdict(tensor) for tensor in self.ranges],
            "calibration": self.calibration.to_dict(),
            "selection": self.selection.to_dict() if self.selection else None,
        }


def read_candidates(path: Path) -> tuple[Scored, ...]:
    """The converted files that a conversion.json tells of.

    Raises AttributeError, KeyError, OSError, TypeError or ValueError where it tells of none.
    """
    return tuple(Scored.from_dict(values) for values in read_json(path)["candidates"])
