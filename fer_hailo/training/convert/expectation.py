"""Whether a model from elsewhere was trained on the normalisation, and in the order of the classes, that are
taken for its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import keras
import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.common.metrics import confusion_matrix
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.training.data.dataset import Part
from fer_hailo.training.evaluate.order import accuracy_in, check_order, usual_orders
from fer_hailo.training.evaluate.score import Scorer

# What people train on: [-1, 1], [0, 1], 0..255.
USUAL = ((127.5, 127.5), (0.0, 255.0), (0.0, 1.0))
CLEARLY = 0.05


def check_usual(
    model: keras.Model,
    val: Part,
    spec: PreprocessSpec,
    names: Sequence[str],
    matrix: np.ndarray,
    stated: bool,
) -> None:
    """Score the model under the other usual normalisations, and, unless it is stated, orders of its classes.

    matrix: int (C, C), the confusion matrix as it is taken: images by true class and by output. Raises
    UserError where a normalisation is better by more than 5 points, or an order clearly.
    """
    orders = {"": tuple(names)} | ({} if stated else usual_orders(names))

    def best(matrix: np.ndarray) -> float:
        return max(accuracy_in(matrix, names, order) for order in orders.values())

    accuracy = best(matrix)
    for mean, scale in USUAL:
        if (mean, scale) == (spec.mean, spec.scale):
            continue
        logits = Scorer(model, replace(spec, mean=mean, scale=scale)).logits(val.images)
        other = best(confusion_matrix(val.labels, logits.argmax(axis=1), len(names)))
        if other > accuracy + CLEARLY:
            raise UserError(
                f"with (value - {spec.mean:g}) / {spec.scale:g} this model is right on {accuracy:.1%} of the "
                "validation images, with "
                f"(value - {mean:g}) / {scale:g} on {other:.1%}: it was trained on the latter, so add --mean "
                f"{mean:g} --scale {scale:g}"
            )
    if not stated:
        check_order(matrix, names)
