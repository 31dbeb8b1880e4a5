"""Run a .keras file: the training machine's way."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fer_hailo.common.calls import install
from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec, normalise

BATCH = 64


class KerasModel:
    """A Keras classifier that gives logits, on the backend of KERAS_BACKEND.

    model: the network itself. Raises UserError where Keras is missing, or the model's shapes do not fit
    `spec` and `labels`.
    """

    stage = "keras"

    def __init__(self, path: Path, spec: PreprocessSpec, labels: tuple[str, ...]):
        try:
            from fer_hailo.training.models.build import load_model
        except ImportError as error:
            raise UserError(
                f"{path} needs Keras, which cannot be imported ({error}): {install('train')}, or use a "
                ".tflite"
            ) from None
        self.model = load_model(path)
        shapes, wanted = (
            (self.model.input_shape, self.model.output_shape),
            (spec.input_size, spec.input_size, 3),
        )
        if shapes[0][1:] != wanted or shapes[1][1:] != (len(labels),):
            raise UserError(
                f"{path} maps {shapes[0]} to {shapes[1]}; its files promise {wanted} and {len(labels)} "
                "classes"
            )

    def logits(self, images: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
        """uint8 (N, I, I, 3) to float32 (N, C)."""
        # Not `predict`: on TensorFlow it waits at its end for tf.data's autotuner, see
        # fer_hailo.training.data.feed.
        parts = [
            self.model.predict_on_batch(normalise(images[i : i + BATCH], spec))
            for i in range(0, len(images), BATCH)
        ]
        return np.concatenate([np.asarray(part) for part in parts])

    def close(self) -> None:
        """Nothing is held but memory."""
