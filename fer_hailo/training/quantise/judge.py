"""What happens after an epoch of fine-tuning for 8 bits: the rounded network is judged, and kept where it is
better.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.common.files import written
from fer_hailo.common.metrics import softmax
from fer_hailo.common.runs import MODEL
from fer_hailo.training.convert.quantise import judged
from fer_hailo.training.convert.trained_ranges import write_ranges
from fer_hailo.training.data.dataset import Part
from fer_hailo.training.data.rows import Images
from fer_hailo.training.evaluate.score import Scorer
from fer_hailo.training.fit.state import Progress, keras_numpy
from fer_hailo.training.quantise.fake import FakeQuantised


class Judge(keras.callbacks.Callback):
    """Scores the rounded network on the validation side, where there is one.

    Adds to an epoch's logs val_loss (the divergence from the float network's predictions, nats),
    val_accuracy, val_macro_recall and learning_rate; without a validation side the last alone. source: gives
    the float network's logits of cached images.
    """

    def __init__(self, scorer: Scorer, val: Part, source: Callable[[Images], np.ndarray]):
        super().__init__()
        self.scorer, self.val = scorer, val
        self.wanted = softmax(source(val.images)) if len(val) else None

    def scores(self) -> dict[str, float]:
        """Of the network as it is now."""
        if self.wanted is None:
            return {}
        logits, labels = self.scorer.logits(self.val.images), self.val.labels
        right = logits.argmax(axis=1) == labels
        macro = np.mean([right[labels == label].mean() for label in np.unique(labels)])
        apart = judged("", self.wanted, softmax(logits)).divergence
        return {"val_loss": apart, "val_accuracy": float(right.mean()), "val_macro_recall": float(macro)}

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        logs.update(self.scores())
        logs["learning_rate"] = float(keras_numpy(self.model.optimizer.learning_rate))


class Keep(keras.callbacks.Callback):
    """Saves the float network and its ranges: the best on validation; without a validation side those of
    every epoch.
    """

    def __init__(self, folder: Path, quantised: FakeQuantised, progress: Progress):
        super().__init__()
        self.folder, self.quantised, self.progress = folder, quantised, progress

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        self.offer(logs.get("val_accuracy"))

    def offer(self, accuracy: float | None) -> None:
        """Keep the network where its accuracy is the best yet, or None.

        Raises UserError where its weights are not finite.
        """
        if accuracy is not None and accuracy <= self.progress.best:
            return
        if not all(np.isfinite(weight).all() for weight in self.quantised.get_weights()):
            raise UserError(
                "the weights are no numbers any more: the model before is kept; start again with a lower "
                "--stage2-lr"
            )
        self.progress.best = accuracy or 0.0
        with written(self.folder / MODEL) as beside:
            self.quantised.network.save(beside)
        write_ranges(self.folder, self.quantised.tensor_limits())
