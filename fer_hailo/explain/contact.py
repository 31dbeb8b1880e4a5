"""A contact sheet of an evaluation: of each class some faces that are right, and the surest mistakes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fer_hailo.explain.explainer import Explainer
from fer_hailo.explain.sheet import sheet, strip
from fer_hailo.predict.predictor import Predictor

EACH = 3  # faces of a class that are right, and as many that are wrong
SIDE = 112


def contact_sheet(
    predictor: Predictor, face_of: Callable[[int], np.ndarray], labels: np.ndarray, probabilities: np.ndarray
) -> np.ndarray:
    """uint8 (H, W, 3): a row for each true class, first EACH that are right, then EACH that are wrong, the
    surest of both, each with the heat map of what was predicted.

    face_of: image i as the network takes it, uint8 (I, I, 3). labels: int (N,). probabilities: (N, C).
    """
    explainer, names, predicted = Explainer(predictor), predictor.labels, probabilities.argmax(axis=1)
    rows = []
    for label, name in enumerate(names):
        row: list[np.ndarray | None] = []
        for places in choose(labels, probabilities, label):
            faces = [face_of(i) for i in places]
            found = explainer.explain(np.stack(faces), predicted[places]) if faces else []
            for i, explanation in zip(places, found, strict=True):
                said = f"{names[predicted[i]]} {probabilities[i].max():.0%}"
                caption = said if predicted[i] == label else f"{name}, taken for {said}"
                row.append(strip(explanation, caption, SIDE))
            row += [None] * (EACH - len(places))
        rows.append(row)
    return sheet(rows)


def choose(labels: np.ndarray, probabilities: np.ndarray, label: int) -> tuple[list[int], list[int]]:
    """Of the images of a class the EACH surest that are right, and the EACH surest that are wrong."""
    predicted, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    order = np.argsort(-sure, kind="stable")
    own = order[labels[order] == label]
    right = predicted[own] == label
    return own[right][:EACH].tolist(), own[~right][:EACH].tolist()
