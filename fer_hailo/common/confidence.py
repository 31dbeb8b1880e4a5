"""How far a prediction can be trusted: a temperature for the probabilities, and the probability below which
to call it unsure.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from fer_hailo.common.metrics import softmax

RIGHT = 0.9  # part of the predictions that are to be right among those that are sure


@dataclass(frozen=True)
class Confidence:
    """temperature: logits are divided by it (Guo et al. 2017). unsure_below: a prediction whose probability
    is lower is unsure.
    """

    temperature: float = 1.0
    unsure_below: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.temperature < np.inf and 0 <= self.unsure_below <= 1):
            raise ValueError(
                f"temperature must be above 0 and unsure_below from 0 to 1, got {self.temperature} and "
                f"{self.unsure_below}"
            )

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Logits (N, C) to probabilities float64 (N, C)."""
        return softmax(np.asarray(logits, np.float64) / self.temperature)

    def to_dict(self) -> dict:
        return asdict(self)


PLAIN = Confidence()  # of a model about which nothing is known


def fit_confidence(logits: np.ndarray, labels: np.ndarray, right: float = RIGHT) -> Confidence:
    """The temperature of the greatest likelihood, and the least threshold above which `right` of the
    predictions are right.

    logits: float (N, C); labels: int (N,): of images that were not trained on. 1.0 is the threshold where no
    other reaches it.
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
