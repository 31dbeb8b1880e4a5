"""The learning-rate schedules of stage 2: Keras' cosine decay with its linear warm-up, and a step every few
epochs.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("fer_hailo")
class WarmupCosine(keras.optimizers.schedules.CosineDecay):
    """Linear from `floor` to `peak` over `warmup_steps`, then a half cosine back to `floor` at `total_steps`,
    and flat after.
    """

    def __init__(self, peak: float, floor: float, warmup_steps: int, total_steps: int):
        if not 0 <= warmup_steps < total_steps:
            raise ValueError(f"warmup_steps must be in [0, total_steps), got {warmup_steps} of {total_steps}")
        self.arguments = {
            "peak": peak,
            "floor": floor,
            "warmup_steps": warmup_steps,
            "total_steps": total_steps,
        }
        super().__init__(
            initial_learning_rate=floor if warmup_steps else peak,
            decay_steps=total_steps - warmup_steps,
            alpha=floor / peak,
            warmup_target=peak if warmup_steps else None,
            warmup_steps=warmup_steps,
        )

    def get_config(self) -> dict:
        return dict(self.arguments)


@keras.saving.register_keras_serializable("fer_hailo")
class WarmupSteps(keras.optimizers.schedules.LearningRateSchedule):
    """Linear to `peak` over `warmup_steps`, then `peak` times `factor` to the power of how many times `every`
    steps have passed since.
    """

    def __init__(self, peak: float, factor: float, every: int, warmup_steps: int):
        self.arguments = {"peak": peak, "factor": factor, "every": every, "warmup_steps": warmup_steps}
        self.falling = keras.optimizers.schedules.ExponentialDecay(peak, every, factor, staircase=True)

    def __call__(self, step: Any) -> Any:
        peak, warmup = self.arguments["peak"], self.arguments["warmup_steps"]
        step = ops.cast(step, "float32")
        return ops.where(
            step < warmup, peak * step / max(warmup, 1), self.falling(ops.maximum(step - warmup, 0))
        )

    def get_config(self) -> dict:
        return dict(self.arguments)
