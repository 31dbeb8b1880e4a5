"""One interface to a classifier, whatever file it comes in: .keras, .tflite or .hef."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from fer_hailo.common.confidence import PLAIN, Confidence
from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.deploy.home import Format, Home


class Backend(Protocol):
    """What runs a network."""

    @property
    def stage(self) -> str:
        """keras, tflite, tflite-int8 or hef, as in results.csv."""

    def logits(self, images: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
        """uint8 (N, I, I, 3) RGB as `prepare` makes them, N >= 1, to float32 (N, C)."""

    def close(self) -> None:
        """Give back what the network holds (a device)."""


class NoAnswer(UserError):
    """A network gave values that are no predictions."""


class Predictor:
    """A classifier of prepared faces, for `with`.

    path: the model file. labels: class names in the order of the outputs. spec: how faces are prepared.
    confidence: how its logits become probabilities. One thread at a time.
    """

    def __init__(
        self,
        path: Path,
        backend: Backend,
        labels: tuple[str, ...],
        spec: PreprocessSpec,
        confidence: Confidence = PLAIN,
    ):
        self.path, self.backend, self.labels, self.spec, self.confidence = (
            path,
            backend,
            labels,
            spec,
            confidence,
        )

    @property
    def stage(self) -> str:
        return self.backend.stage

    def logits(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, I, I, 3) RGB, values 0..255 as `prepare` makes them, to float32 (N, C).

        Raises ValueError for anything else.
        """
        side = self.spec.input_size
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (side, side, 3):
            raise ValueError(
                f"images must be uint8 (N, {side}, {side}, 3), got {images.dtype} {images.shape}"
            )
        if not len(images):
            return np.empty((0, len(self.labels)), np.float32)
        return self.backend.logits(np.ascontiguousarray(images), self.spec)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """As `logits`, to probabilities float64 (N, C). Raises NoAnswer for values that are not finite."""
        logits = self.logits(images)
        if not np.isfinite(logits).all():
            raise NoAnswer("the network gave no answer (NaN or infinity): is the model file whole?")
        return self.confidence.probabilities(logits)

    def close(self) -> None:
        self.backend.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *problem) -> None:
        self.close()


def load(home: Home, threads: int = 1, batch: int = 8) -> Predictor:
    """Open a model file. threads: of the CPU, for TFLite. batch: images that a Hailo device takes at once.

    Labels and preprocessing come from the files that lie with the model. Raises UserError where something is
    missing or does not fit, before a device is touched.
    """
    path, labels, spec = home.model, home.labels, home.spec
    confidence = home.confidence or PLAIN
    if home.format is Format.TFLITE:
        from fer_hailo.deploy.bundle import check_network
        from fer_hailo.formats.tflite import read_tflite
        from fer_hailo.predict.litert import LiteRT

        check_network(read_tflite(path), path, spec, labels)
        backend: Backend = LiteRT(path, threads)
    elif home.format is Format.HEF:
        from fer_hailo.predict.hailort import HailoRT

        backend = HailoRT(path, spec, labels, batch)
    else:
        from fer_hailo.predict.keras_model import KerasModel

        backend = KerasModel(path, spec, labels)
    return Predictor(path, backend, labels, spec, confidence)
