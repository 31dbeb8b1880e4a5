"""What a run that was trained on all of train takes from the validated run whose settings it repeats. Standard library only."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from fer_hailo.common.confidence import Confidence
from fer_hailo.common.errors import UserError, one_line, with_class
from fer_hailo.common.files import write_json

SELECTION = "selection.json"


@dataclass(frozen=True)
class Selection:
    """The validated run, whose own validation side chose settings and lengths.

    name: the run. validation_fraction: of train that it kept. epochs: how many of stage 1 and of stage 2 led to its best model.
    confidence: temperature and threshold, fitted on its validation side. metrics: {stage: metrics object of that side};
    the converted stages are there once it was converted, and with them script, its model script.
    """

    name: str
    validation_fraction: float
    epochs: tuple[int, int]
    confidence: Confidence
    metrics: dict[str, dict]
    script: str = ""

    def to_dict(self) -> dict:
        return asdict(self)

    @staticmethod
    def from_dict(values: dict) -> Selection:
        """Raises TypeError, ValueError or KeyError where `values` is none."""
        metrics = {stage: dict(scores) for stage, scores in values["metrics"].items()}
        if not all("accuracy" in scores for scores in metrics.values()) or "keras" not in metrics:
            raise ValueError("it lacks the validation scores")
        first, second = map(int, values["epochs"])
        return Selection(
            str(values["name"]), float(values["validation_fraction"]), (first, second), Confidence(**values["confidence"]), metrics,
            str(values.get("script", "")),
        )  # fmt: skip

    def splits(self) -> dict[str, dict]:
        """Its metrics as those of a bundle: {stage: {"val": metrics object}}."""
        return {stage: {"val": metrics} for stage, metrics in self.metrics.items()}


def write_selection(folder: Path, selection: Selection) -> None:
    """Write FOLDER/selection.json."""
    write_json(folder / SELECTION, selection.to_dict())


def read_selection(folder: Path) -> Selection | None:
    """Of a run folder, or a released one; None where it has a validation side of its own. Raises UserError for a damaged file."""
    path = folder / SELECTION
    if not path.is_file():
        return None
    with _told(path):
        return Selection.from_dict(json.loads(path.read_text(encoding="utf-8")))


def selection_of(manifest: dict, path: Path) -> Selection | None:
    """Of a bundle's manifest, which lies at `path`. Raises UserError where what it says of the run cannot be read."""
    if "selection" not in manifest:
        return None
    with _told(path):
        return Selection.from_dict(manifest["selection"])


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = with_class(error, one_line(error, 80))
        raise UserError(f"{path} does not tell which run chose the settings ({reason}): copy the folder again") from None
