"""From answers to scores: accuracy under each corruption, and what is lost against clean faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.common.metrics import Z95, Metrics, compute_metrics
from fer_hailo.robustness.faces import Faces
from fer_hailo.robustness.measure import CLEAN, Answers
from fer_hailo.robustness.models import Contender

Interval = tuple[float, float]


@dataclass(frozen=True)
class Scores:
    """Fractions. cells: a Metrics for each strength, by the corruption's name.

    losses: float64 (N,), of each image: 1 or 0 where the clean one is right or wrong, less the share of its
    corrupted ones that are right.
    """

    contender: Contender
    stage: str
    clean: Metrics
    cells: dict[str, tuple[Metrics, ...]]
    losses: np.ndarray

    def loss(self, name: str) -> tuple[float, ...]:
        """Accuracy lost at each strength of a corruption."""
        return tuple(self.clean.accuracy - cell.accuracy for cell in self.cells[name])

    @property
    def mean_loss(self) -> float:
        """Over all strengths of all corruptions."""
        return float(self.losses.mean())

    @property
    def interval(self) -> Interval:
        """Of `mean_loss`, 95 %, over images."""
        return _interval(self.losses)

    def more_than(self, other: Scores) -> tuple[float, Interval]:
        """By how much `mean_loss` is above another model's on the same images, with the paired interval."""
        difference = self.losses - other.losses
        return float(difference.mean()), _interval(difference)


def score(answers: Answers, faces: Faces, digest: str) -> Scores:
    """digest: of the clean faces, which names the corrupted ones too.

    Raises UserError where a model gave values that are not finite.
    """

    def metrics(probabilities: np.ndarray) -> Metrics:
        try:
            return compute_metrics(
                probabilities, faces.labels, faces.names, data=faces.data, split=faces.split, sha256=digest
            )
        except ValueError as error:
            raise UserError(f"{answers.contender.name}: {error}") from None

    cells = {name: tuple(map(metrics, kept)) for name, kept in answers.probabilities.items()}
    (clean,) = cells.pop(CLEAN)
    right = {name: kept.argmax(axis=2) == faces.labels for name, kept in answers.probabilities.items()}
    unharmed = right.pop(CLEAN)[0]
    losses = unharmed - np.concatenate(list(right.values())).mean(axis=0)
    return Scores(answers.contender, answers.stage, clean, cells, losses)


def _interval(values: np.ndarray) -> Interval:
    """95 % interval of a mean, by the normal distribution."""
    half = Z95 * float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 1.0
    return float(values.mean()) - half, float(values.mean()) + half
