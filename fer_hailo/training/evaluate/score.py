"""Score a model on one side of a data set."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.common.metrics import Metrics, compute_metrics, softmax
from fer_hailo.common.preprocess import PreprocessSpec, prepare
from fer_hailo.common.progress import track
from fer_hailo.deploy.scoring import logits_of
from fer_hailo.predict.predictor import Predictor
from fer_hailo.training.data.dataset import Part
from fer_hailo.training.data.rows import Images
from fer_hailo.training.models.inputs import FaceInput

BATCH = 64  # more make arrays that leave the processor's cache


class Scorer:
    """Logits of a network for cached images; compiled once, follows later changes of the network's
    weights.
    """

    def __init__(self, network: keras.Model, spec: PreprocessSpec):
        if not network.built or len(network.outputs) != 1 or len(network.output_shape) != 2:
            raise UserError("the model is not a classifier that gives one row of logits for an image")
        wanted = (spec.input_size, spec.input_size, 3)
        if len(network.inputs) != 1 or network.input_shape[1:] != wanted:
            raise UserError(
                f"the model takes inputs of shape {network.input_shape}, the preprocessing makes {wanted}: "
                "check input_size"
            )
        inputs = keras.Input(spec.source_shape, dtype="uint8")
        self._model = keras.Model(inputs, network(FaceInput(spec, dtype="float32")(inputs)))

    def logits(self, images: Images, label: str = "") -> np.ndarray:
        """uint8 (N, S, S[, 3]) to float32 (N, C). label: what a line says of how far it is."""
        # Not `predict`: on TensorFlow it waits at its end for tf.data's autotuner, see
        # fer_hailo.training.data.feed.
        starts = range(0, len(images), BATCH)
        places = track(starts, len(images), label, each=BATCH) if label else starts
        parts = [self._model.predict_on_batch(images[i : i + BATCH]) for i in places]
        return np.concatenate([np.asarray(part) for part in parts])


def evaluate_model(
    network: keras.Model, part: Part, names: Sequence[str], spec: PreprocessSpec, *, data: str, split: str
) -> tuple[Metrics, np.ndarray]:
    """Score a network that gives logits.

    Returns (metrics, probabilities): probabilities float64 (N, C).
    Raises UserError when the network's outputs do not fit the names, or its values are not finite.
    """
    logits = scorer_of(network, names, spec).logits(part.images, f"scoring {split}")
    return metrics_of(logits, part, names, data=data, split=split), softmax(logits)


def metrics_of(logits: np.ndarray, part: Part, names: Sequence[str], *, data: str, split: str) -> Metrics:
    """Of logits (N, C) for a side's images. Raises UserError where they are not finite."""
    return _metrics(softmax(logits), part, names, data, split)


def scorer_of(network: keras.Model, names: Sequence[str], spec: PreprocessSpec) -> Scorer:
    """Of a network that gives logits. Raises UserError when its outputs do not fit the names."""
    scorer = Scorer(network, spec)
    if network.output_shape[-1] != len(names):
        raise UserError(
            f"the model tells {network.output_shape[-1]} classes apart, the labels name {len(names)}: "
            f"{', '.join(names)}"
        )
    return scorer


def evaluate_predictor(
    predictor: Predictor, part: Part, *, data: str, split: str
) -> tuple[Metrics, np.ndarray]:
    """As `evaluate_model`, of a converted model, for which each cached image is prepared as for the board."""

    def logits(images: np.ndarray) -> np.ndarray:
        return predictor.logits(np.stack([prepare(image, predictor.spec) for image in images]))

    probabilities = softmax(
        logits_of(logits, part.images, len(predictor.labels), f"scoring {predictor.path.name}")
    )
    return _metrics(probabilities, part, predictor.labels, data, split), probabilities


def _metrics(probabilities: np.ndarray, part: Part, names: Sequence[str], data: str, split: str) -> Metrics:
    try:
        return compute_metrics(
            probabilities, part.labels, names, data=data, split=split, sha256=part.sha256()
        )
    except ValueError as error:
        raise UserError(str(error)) from None
