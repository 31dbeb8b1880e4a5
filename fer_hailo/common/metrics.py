"""Scores of a classifier: numpy only, so that training machine, SDK machine and board compute the same
numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_hailo.common.calls import tool
from fer_hailo.common.reading import read_json, reading

Z95 = 1.959963984540054  # the normal distribution's 97.5 % point
ECE_BINS = 15


@dataclass(frozen=True)
class Metrics:
    """What every stage is scored by. Fractions, not percent. data, split and sha256 say what was scored.

    accuracy_ci95: Wilson's interval. per_class_recall: by label, None for a class without images.
    confusion_matrix: a row for each true class. ece: expected calibration error. count: of images. labels: in
    the order of the outputs.
    """

    accuracy: float
    accuracy_ci95: tuple[float, float]
    macro_recall: float
    macro_f1: float
    per_class_recall: dict[str, float | None]
    confusion_matrix: tuple[tuple[int, ...], ...]
    ece: float
    count: int
    labels: tuple[str, ...]
    data: str
    split: str
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        rows = [list(row) for row in self.confusion_matrix]
        lists = {
            "accuracy_ci95": list(self.accuracy_ci95),
            "confusion_matrix": rows,
            "labels": list(self.labels),
        }
        return vars(self) | lists

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Metrics:
        """Raises KeyError, TypeError or ValueError where `values` are no metrics."""
        low, high = map(float, values["accuracy_ci95"])
        return Metrics(
            accuracy=float(values["accuracy"]),
            accuracy_ci95=(low, high),
            macro_recall=float(values["macro_recall"]),
            macro_f1=float(values["macro_f1"]),
            per_class_recall=dict(values["per_class_recall"]),
            confusion_matrix=tuple(tuple(map(int, row)) for row in values["confusion_matrix"]),
            ece=float(values["ece"]),
            count=int(values["count"]),
            labels=tuple(map(str, values["labels"])),
            data=str(values["data"]),
            split=str(values["split"]),
            sha256=str(values["sha256"]),
        )


def read_metrics(path: Path) -> Metrics:
    """Of a metrics_SPLIT.json. Raises UserError where it holds none."""
    with reading(path, "holds no metrics", f"{tool('evaluate')} writes them again"):
        return Metrics.from_dict(read_json(path))


Splits = dict[str, Metrics]  # by split: "train", "val" or "test"
Scores = dict[str, Splits]  # by stage, see fer_hailo.common.results


def to_dicts(named: Mapping[str, Metrics]) -> dict[str, dict[str, Any]]:
    """Plain JSON values of metrics that are named by split or by stage."""
    return {name: metrics.to_dict() for name, metrics in named.items()}


def from_dicts(values: Mapping[str, Any]) -> dict[str, Metrics]:
    """Raises AttributeError, KeyError, TypeError or ValueError where `values` are none."""
    return {name: Metrics.from_dict(metrics) for name, metrics in values.items()}


def scores_to_dict(scores: Scores) -> dict[str, dict[str, Any]]:
    """{stage: {split: plain JSON values}}."""
    return {stage: to_dicts(splits) for stage, splits in scores.items()}


def scores_from_dict(values: Mapping[str, Any]) -> Scores:
    """Raises AttributeError, KeyError, TypeError or ValueError where `values` are none."""
    return {stage: from_dicts(splits) for stage, splits in values.items()}


@dataclass(frozen=True)
class Bin:
    """Predictions whose confidence (largest probability) lies above low and not above high: how many, their
    mean confidence and their accuracy; None of an empty bin.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Bin:
        """Raises KeyError or TypeError where `values` are none."""
        return Bin(values["low"], values["high"], values["count"], values["confidence"], values["accuracy"])

    @property
    def gap(self) -> float:
        """Between accuracy and confidence, weighted by the count; 0 of an empty bin."""
        if self.accuracy is None or self.confidence is None:
            return 0.0
        return self.count * abs(self.accuracy - self.confidence)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, float64."""
    shifted = np.asarray(logits, np.float64)
    powers = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927), fractions. (0, 1) when count is 0."""
    if count == 0:
        return 0.0, 1.0
    share, z2 = hits / count, Z95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(0.0, centre - half), min(1.0, centre + half)


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """int64 (C, C): rows are the truth, columns the prediction."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> list[Bin]:
    """The bins of a reliability diagram: equal widths of confidence (largest probability), open below, closed
    above.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    number = np.clip(np.ceil(confidence * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    bins = []
    for i in range(ECE_BINS):
        inside = number == i
        count = int(inside.sum())
        means = (float(confidence[inside].mean()), float(right[inside].mean())) if count else (None, None)
        bins.append(Bin(i / ECE_BINS, (i + 1) / ECE_BINS, count, *means))
    return bins


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean gap between confidence and accuracy over the bins of `reliability`, weighted by their counts (Guo
    et al. 2017).
    """
    return sum(b.gap for b in reliability(probabilities, labels)) / len(labels)


def compute_metrics(
    probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str], *, data: str, split: str, sha256: str
) -> Metrics:
    """Score predictions.

    probabilities: float (N, C), rows sum to 1; labels: int (N,), N >= 1. data, split and sha256 say what was
    scored. A class without images has recall None and is left out of the macro averages. Raises ValueError
    for no images, or probabilities that are not finite.
    """
    if len(labels) == 0:
        raise ValueError("no images to score")
    if not np.isfinite(probabilities).all():
        raise ValueError("the model gives values that are not finite (NaN or infinity)")
    matrix = confusion_matrix(labels, probabilities.argmax(axis=1), len(names))
    hits, truth, guessed = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    present = truth > 0
    recall = hits[present] / truth[present]
    f1 = 2 * hits[present] / (truth + guessed)[present]
    return Metrics(
        accuracy=int(hits.sum()) / len(labels),
        accuracy_ci95=wilson(int(hits.sum()), len(labels)),
        macro_recall=float(recall.mean()),
        macro_f1=float(f1.mean()),
        per_class_recall={
            name: int(h) / int(t) if t else None for name, h, t in zip(names, hits, truth, strict=True)
        },
        confusion_matrix=tuple(map(tuple, matrix.tolist())),
        ece=float(expected_calibration_error(probabilities, labels)),
        count=len(labels),
        labels=tuple(names),
        data=data,
        split=split,
        sha256=sha256,
    )


def format_metrics(metrics: Metrics) -> str:
    """The metrics as people read them: percent, confusion matrix, a verdict a class (OK from 80 %, WARN from
    70 %, else LOW).
    """
    low, high = metrics.accuracy_ci95
    names, matrix = metrics.labels, metrics.confusion_matrix
    width = max(9, *(len(name) for name in names)) + 1
    lines = [
        f"{metrics.data}, {metrics.split}: {metrics.count:,} images",
        f"accuracy {metrics.accuracy:.2%} [{low:.2%}, {high:.2%}]   "
        f"macro recall {metrics.macro_recall:.2%}   "
        f"macro F1 {metrics.macro_f1:.2%}   calibration error {metrics.ece:.2%}",
        "confusion matrix (rows: truth)",
        " " * width + "".join(f"{name:>{width}}" for name in names),
    ]
    for name, row in zip(names, matrix, strict=True):
        lines.append(f"{name:<{width}}" + "".join(f"{value:>{width},}" for value in row))
    lines.append("per class")
    for i, name in enumerate(names):
        count = sum(matrix[i])
        if not count:
            lines.append(f"  {name:<{width}}no images")
            continue
        low, high = wilson(matrix[i][i], count)
        share = matrix[i][i] / count
        verdict = "OK" if share >= 0.8 else "WARN" if share >= 0.7 else "LOW"
        lines.append(
            f"  {name:<{width}}{share:7.2%} [{low:6.2%}, {high:6.2%}]  {matrix[i][i]:,} of {count:,}  "
            f"{verdict}"
        )
    lines.append(f"  {'macro':<{width}}{metrics.macro_recall:7.2%}")
    return "\n".join(lines)
