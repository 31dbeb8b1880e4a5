"""Whether a model from elsewhere was trained on the normalisation, and in the order of the classes, that are
taken for its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import keras
import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.common.metrics import confusion_matrix, wilson
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
    *,
    ordered: bool,
    scaled: bool,
) -> None:
    """Score the model under the other usual normalisations, and, unless it is stated, orders of its classes.

    matrix: int (C, C), the confusion matrix as it is taken: images by true class and by output. ordered: the
    order of its outputs was stated; scaled: its normalisation was. Raises UserError where the best
    normalisation or an order is clearly better; of a stated normalisation it is said only.
    """
    orders = {"": tuple(names)} | ({} if ordered else usual_orders(names))

    def right(matrix: np.ndarray) -> int:
        return round(len(val) * max(accuracy_in(matrix, names, order) for order in orders.values()))

    count, others = right(matrix), {}
    for mean, scale in USUAL:
        if (mean, scale) != (spec.mean, spec.scale):
            logits = Scorer(model, replace(spec, mean=mean, scale=scale)).logits(val.images)
            others[mean, scale] = right(confusion_matrix(val.labels, logits.argmax(axis=1), len(names)))
    (mean, scale), most = max(others.items(), key=lambda other: other[1])
    if most - count > CLEARLY * len(val) and wilson(most, len(val))[0] > wilson(count, len(val))[1]:
        found = (
            f"with (value - {spec.mean:g}) / {spec.scale:g} this model is right on {count / len(val):.1%} of "
            f"the validation images, with (value - {mean:g}) / {scale:g} on {most / len(val):.1%}"
        )
        if not scaled:
            raise UserError(
                f"{found}: it was trained on the latter, so add --mean {mean:g} --scale {scale:g} "
                f"(or, if you know better, --mean {spec.mean:g} --scale {spec.scale:g})"
            )
        print(f"note: {found}; taken as you say", flush=True)
    if not ordered:
        check_order(matrix, names)
