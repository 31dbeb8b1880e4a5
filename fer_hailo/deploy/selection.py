"""What a run that was trained on all of train takes from the validated run whose settings it repeats.

Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fer_hailo.common.confidence import Confidence
from fer_hailo.common.files import write_json
from fer_hailo.common.metrics import Metrics, Scores, from_dicts, to_dicts
from fer_hailo.common.reading import read_json, reading

SELECTION = "selection.json"


@dataclass(frozen=True)
class Selection:
    """The validated run, whose own validation side chose settings and lengths.

    name: the run. validation_fraction: of train that it kept. epochs: how many of stage 1 and of stage 2 led
    to its best model. confidence: temperature and threshold, fitted on its validation side. metrics: of that
    side, by stage; the converted stages are there once it was converted, and with them script, its model
    script.
    """

    name: str
    validation_fraction: float
    epochs: tuple[int, int]
    confidence: Confidence
    metrics: dict[str, Metrics]
    script: str = ""

    def to_dict(self) -> dict:
        plain = {
            "confidence": self.confidence.to_dict(),
            "epochs": list(self.epochs),
            "metrics": to_dicts(self.metrics),
        }
        return vars(self) | plain

    @staticmethod
    def from_dict(values: dict) -> Selection:
        """Raises AttributeError, KeyError, TypeError or ValueError where `values` is none."""
        metrics = from_dicts(values["metrics"])
        if "keras" not in metrics:
            raise ValueError("it lacks the validation scores")
        first, second = map(int, values["epochs"])
        return Selection(
            str(values["name"]), float(values["validation_fraction"]),
            (first, second),
            Confidence(**values["confidence"]), metrics,
            str(values.get("script", "")),
        )  # fmt: skip

    def splits(self) -> Scores:
        """Its metrics as those of a bundle: {stage: {"val": metrics}}."""
        return {stage: {"val": metrics} for stage, metrics in self.metrics.items()}


def write_selection(folder: Path, selection: Selection) -> None:
    """Write FOLDER/selection.json."""
    write_json(folder / SELECTION, selection.to_dict())


def read_selection(folder: Path) -> Selection | None:
    """Of a run folder, or a released one; None where it has a validation side of its own.

    Raises UserError for a damaged file.
    """
    path = folder / SELECTION
    if not path.is_file():
        return None
    with reading(path, "does not tell which run chose the settings", "copy the folder again"):
        return Selection.from_dict(read_json(path))
