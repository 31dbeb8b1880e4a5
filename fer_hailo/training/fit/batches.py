"""The batches of a stage: which images, how often, in which order, and what goes with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fer_hailo.common.config import Config
from fer_hailo.training.data.balance import balanced_weights, oversample_minority_classes
from fer_hailo.training.data.dataset import Part
from fer_hailo.training.data.feed import TrainingBatches
from fer_hailo.training.fit.devices import Devices
from fer_hailo.training.networks.registry import objective


def training_batches(
    config: Config,
    lessons: Part,
    targets: np.ndarray,
    stage: int,
    place: Devices,
    answers: Sequence[Sequence[np.ndarray]] = (),
) -> TrainingBatches:
    """What a network learns in a stage, 1 or 2.

    targets: float32 (N, C), of the lessons. answers: the teachers', as TrainingBatches takes them. With views
    all is drawn by their own seed, so that runs of other seeds, and both stages, are shown the same.
    """
    views = config.loss.views
    chosen, order = (config.loss.views_seed,) * 2 if views else (config.seed, config.seed + stage)
    indices = np.arange(len(lessons))
    if config.data.oversample_ratio:
        indices = oversample_minority_classes(indices, lessons.labels, config.data.oversample_ratio, chosen)
    return TrainingBatches(
        lessons.images,
        targets,
        targets.shape[1],
        config.optimiser.batch_size,
        order,
        indices=indices,
        mixup_alpha=config.augmentation.mixup_alpha,
        mixup_share=config.augmentation.mixup_share,
        multiple=place.count,
        parts=place.parts,
        share=place.share,
        labelled=objective(config).labelled,
        weights=balanced_weights(lessons.labels) if config.data.sampling == "balanced" else None,
        answers=answers,
    )
