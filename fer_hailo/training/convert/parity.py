"""Whether the TFLite gives what the Keras model gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec, normalise
from fer_hailo.predict.litert import LiteRT

COUNT = 256
MOST = 1e-3
RELATIVE = 1e-4  # of the largest logit, where logits are far beyond the usual ten


@dataclass(frozen=True)
class Parity:
    """Compared on `count` images: equal predictions, largest difference of a logit."""

    count: int
    same: int
    difference: float


def check_parity(model: keras.Model, path: Path, images: np.ndarray, spec: PreprocessSpec) -> Parity:
    """Compare logits on prepared images, uint8 (N, I, I, 3). Raises UserError when one differs by more than
    1e-3 and a ten-thousandth of the largest, or a prediction.
    """
    expected = np.asarray(model.predict_on_batch(normalise(images, spec)))
    found = LiteRT(path).logits(images, spec)
    parity = Parity(
        len(images), int((expected.argmax(1) == found.argmax(1)).sum()), float(np.abs(expected - found).max())
    )
    most = max(MOST, RELATIVE * float(np.abs(expected).max()))
    if parity.same < parity.count or not parity.difference <= most:
        raise UserError(
            f"the TFLite does not give what the Keras model gives: {parity.same} of {parity.count} "
            "predictions are equal, the largest "
            f"difference of a logit is {parity.difference:.2g} (at most {most:.1g}); nothing was written"
        )
    return parity
