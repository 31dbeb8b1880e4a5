"""Whether a model from elsewhere was trained on the normalisation that is stated for it."""

from __future__ import annotations

from dataclasses import replace

import keras

from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.training.data.dataset import Part
from fer_hailo.training.evaluate.score import Scorer

# What people train on: [-1, 1], [0, 1], 0..255.
USUAL = ((127.5, 127.5), (0.0, 255.0), (0.0, 1.0))
CLEARLY = 0.05


def check_normalisation(model: keras.Model, val: Part, spec: PreprocessSpec, accuracy: float) -> None:
    """Score the model under the other usual normalisations.

    Raises UserError where one is better by more than 5 points.
    """
    for mean, scale in USUAL:
        if (mean, scale) == (spec.mean, spec.scale):
            continue
        logits = Scorer(model, replace(spec, mean=mean, scale=scale)).logits(val.images)
        other = float((logits.argmax(axis=1) == val.labels).mean())
        if other > accuracy + CLEARLY:
            raise UserError(
                f"with (value - {spec.mean:g}) / {spec.scale:g} this model is right on {accuracy:.1%} of the "
                "validation images, with "
                f"(value - {mean:g}) / {scale:g} on {other:.1%}: it was trained on the latter, so add --mean "
                f"{mean:g} --scale {scale:g}"
            )
