"""How far an answer can be trusted: a temperature for the probabilities, and the probability below which to call it unsure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fer_hailo.errors import UserError
from fer_hailo.hailo.bundle import MANIFEST, bundle_near
from fer_hailo.metrics import softmax
from fer_hailo.runs import CONFIDENCE

RIGHT = 0.9  # part of the answers that are to be right among those that are sure


@dataclass(frozen=True)
class Confidence:
    """temperature: logits are divided by it (Guo et al. 2017). unsure_below: an answer whose probability is lower is unsure."""

    temperature: float = 1.0
    unsure_below: float = 0.0

    def __post_init__(self):
        if not (0 < self.temperature < np.inf and 0 <= self.unsure_below <= 1):
            raise ValueError(f"temperature must be above 0 and unsure_below from 0 to 1, got {self.temperature} and {self.unsure_below}")

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Logits (N, C) to probabilities float64 (N, C)."""
        return softmax(np.asarray(logits, np.float64) / self.temperature)

    def to_dict(self) -> dict:
        return asdict(self)


PLAIN = Confidence()  # of a model about which nothing is known


def read_confidence(model: Path) -> Confidence | None:
    """What lies with a model file: in the manifest.json beside it or one folder up, else in its run's confidence.json.

    None where nothing is known. Raises UserError where a file is damaged.
    """
    folder = bundle_near(model)
    path = folder / MANIFEST if folder else model.parent / CONFIDENCE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content = content.get("confidence") if folder else content
        return None if content is None else Confidence(**content)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} does not tell how sure answers are ({' '.join(str(error).split())[:80]}): copy its folder again") from None


def fit_confidence(logits: np.ndarray, labels: np.ndarray, right: float = RIGHT) -> Confidence:
    """The temperature of the greatest likelihood, and the least threshold above which `right` of the answers are right.

    logits: float (N, C); labels: int (N,): of pictures that were not trained on. 1.0 is the threshold where no other reaches it.
    """
    from scipy.optimize import minimize_scalar

    logits, rows = np.asarray(logits, np.float64), np.arange(len(labels))

    def surprise(log_temperature: float) -> float:
        shares = softmax(logits / np.exp(log_temperature))
        return float(-np.log(np.maximum(shares[rows, labels], 1e-300)).mean())

    temperature = float(np.exp(minimize_scalar(surprise, bounds=(-3, 3), method="bounded").x))
    shares = softmax(logits / temperature)
    order = np.argsort(-shares.max(axis=1), kind="stable")
    hits = np.cumsum(shares.argmax(axis=1)[order] == labels[order]) / (rows + 1)
    enough = np.flatnonzero(hits >= right)
    return Confidence(temperature, float(shares.max(axis=1)[order[enough[-1]]]) if len(enough) else 1.0)
