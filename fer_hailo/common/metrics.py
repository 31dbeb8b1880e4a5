"""Scores of a classifier: numpy only, so that training machine, SDK machine and board compute the same numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Z95 = 1.959963984540054  # the normal distribution's 97.5 % point
ECE_BINS = 15


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


def reliability(probabilities: np.ndarray, labels: np.ndarray) -> list[dict]:
    """The bins of a reliability diagram: equal widths of confidence (largest probability), open below, closed above.

    Returns a dictionary a bin: low, high, count, confidence (mean) and accuracy; None for an empty bin.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    number = np.clip(np.ceil(confidence * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    bins = []
    for i in range(ECE_BINS):
        inside = number == i
        count = int(inside.sum())
        means = (float(confidence[inside].mean()), float(right[inside].mean())) if count else (None, None)
        bins.append({"low": i / ECE_BINS, "high": (i + 1) / ECE_BINS, "count": count, "confidence": means[0], "accuracy": means[1]})
    return bins


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean gap between confidence and accuracy over the bins of `reliability`, weighted by their counts (Guo et al. 2017)."""
    bins = [b for b in reliability(probabilities, labels) if b["count"]]
    return sum(b["count"] * abs(b["accuracy"] - b["confidence"]) for b in bins) / len(labels)


def compute_metrics(probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str], *, data: str, split: str, sha256: str) -> dict:
    """The metrics object of every stage. Fractions, not percent.

    probabilities: float (N, C), rows sum to 1; labels: int (N,), N >= 1. data, split and sha256 say what was scored.
    A class without pictures has recall None and is left out of the macro averages.
    Raises ValueError for no pictures, or probabilities that are not finite.
    """
    if len(labels) == 0:
        raise ValueError("no pictures to score")
    if not np.isfinite(probabilities).all():
        raise ValueError("the model gives values that are not finite (NaN or infinity)")
    matrix = confusion_matrix(labels, probabilities.argmax(axis=1), len(names))
    hits, truth, guessed = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    present = truth > 0
    recall = hits[present] / truth[present]
    f1 = 2 * hits[present] / (truth + guessed)[present]
    return {
        "accuracy": int(hits.sum()) / len(labels),
        "accuracy_ci95": list(wilson(int(hits.sum()), len(labels))),
        "macro_recall": float(recall.mean()),
        "macro_f1": float(f1.mean()),
        "per_class_recall": {name: int(h) / int(t) if t else None for name, h, t in zip(names, hits, truth, strict=True)},
        "confusion_matrix": matrix.tolist(),
        "ece": float(expected_calibration_error(probabilities, labels)),
        "count": len(labels),
        "labels": list(names),
        "data": data,
        "split": split,
        "sha256": sha256,
    }


def format_metrics(metrics: dict) -> str:
    """The metrics as people read them: percent, confusion matrix, a verdict a class (OK from 80 %, WARN from 70 %, else LOW)."""
    low, high = metrics["accuracy_ci95"]
    names, matrix = metrics["labels"], metrics["confusion_matrix"]
    width = max(9, *(len(name) for name in names)) + 1
    lines = [
        f"{metrics['data']}, {metrics['split']}: {metrics['count']:,} pictures",
        f"accuracy {metrics['accuracy']:.2%} [{low:.2%}, {high:.2%}]   macro recall {metrics['macro_recall']:.2%}   "
        f"macro F1 {metrics['macro_f1']:.2%}   calibration error {metrics['ece']:.2%}",
        "confusion matrix (rows: truth)",
        " " * width + "".join(f"{name:>{width}}" for name in names),
    ]
    for name, row in zip(names, matrix, strict=True):
        lines.append(f"{name:<{width}}" + "".join(f"{value:>{width},}" for value in row))
    lines.append("per class")
    for i, name in enumerate(names):
        count = sum(matrix[i])
        if not count:
            lines.append(f"  {name:<{width}}no pictures")
            continue
        low, high = wilson(matrix[i][i], count)
        share = matrix[i][i] / count
        verdict = "OK" if share >= 0.8 else "WARN" if share >= 0.7 else "LOW"
        lines.append(f"  {name:<{width}}{share:7.2%} [{low:6.2%}, {high:6.2%}]  {matrix[i][i]:,} of {count:,}  {verdict}")
    lines.append(f"  {'macro':<{width}}{metrics['macro_recall']:7.2%}")
    return "\n".join(lines)
