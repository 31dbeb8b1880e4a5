"""The loss: Keras' categorical focal cross-entropy, on logits, with a weight per class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("fer_hailo")
class FocalLoss(keras.losses.CategoricalFocalCrossentropy):
    """Focal loss (Lin et al. 2017): -sum_c weight_c y_c (1 - p_c)^gamma log p_c, averaged over the batch.

    Takes one-hot or mixed labels (B, C) and logits (B, C). class_weights: C numbers, or None for ones. gamma
    0 is the cross-entropy. spread: (C, C), by which labels are multiplied, or None.
    """

    def __init__(
        self,
        gamma: float = 0.5,
        class_weights: Sequence[float] | np.ndarray | None = None,
        label_smoothing: float = 0.0,
        spread: Sequence[Sequence[float]] | np.ndarray | None = None,
        name: str = "focal_loss",
        **options: Any,
    ):
        self.class_weights = None if class_weights is None else [float(w) for w in class_weights]
        self.spread = None if spread is None else [[float(part) for part in row] for row in spread]
        options.setdefault("reduction", "sum_over_batch_size")
        super().__init__(
            alpha=1.0 if class_weights is None else self.class_weights,
            gamma=gamma,
            from_logits=True,
            label_smoothing=label_smoothing,
            name=name,
            **options,
        )

    def call(self, targets: Any, logits: Any) -> Any:
        if self.spread is not None:
            targets = ops.matmul(ops.cast(targets, "float32"), ops.convert_to_tensor(self.spread, "float32"))
        return super().call(targets, logits)

    def get_config(self) -> dict:
        config = super().get_config()
        kept = {
            key: config[key] for key in ("name", "reduction", "gamma", "label_smoothing") if key in config
        }
        return {**kept, "class_weights": self.class_weights, "spread": self.spread}
