"""What one training step computes: the model with its augmentation, the loss, the optimizer."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from fer_hailo.common.config import Config
from fer_hailo.training.data.balance import compute_class_weights_effective
from fer_hailo.training.fit.distill import Distillation, Teachers
from fer_hailo.training.fit.losses import FocalLoss
from fer_hailo.training.fit.sam import SharpnessAware
from fer_hailo.training.fit.schedules import WarmupCosine, WarmupSteps
from fer_hailo.training.models.inputs import augmented_faces
from fer_hailo.training.networks.record import Setting
from fer_hailo.training.networks.registry import objective


def training_model(
    network: keras.Model, setting: Setting, teachers: Sequence[keras.Model] = ()
) -> keras.Model:
    """The compiled step's model: uint8 images and MixUp weights in (and targets, where a method asks for
    them), augmentation inside, logits out. Added to the losses: what the paper of the network or of the
    method adds, and how far the teachers' answers on the same augmented images are. These are asked for, or,
    with views, one more input, "answers".
    """
    config, method = setting.config, objective(setting.config)
    images = keras.Input(config.preprocess.source_shape, dtype="uint8", name="images")
    mix = keras.Input((1,), name="mix")
    faces = augmented_faces(config, images, mix)
    inputs = {"images": images, "mix": mix}
    if method.labelled:
        inputs["targets"] = keras.Input((len(setting.counts),), name="targets")
    logits = method.answer(network, faces, inputs.get("targets"), setting)
    if config.loss.views:
        inputs["answers"] = keras.Input((len(config.loss.teacher), len(config.data.classes)), name="answers")
    if config.loss.teacher:
        answers = inputs["answers"] if config.loss.views else Teachers(teachers)(faces)
        logits = Distillation(config.loss.temperature, config.loss.distill_weight)(answers, logits)
    if not config.optimiser.sam_rho:
        return keras.Model(inputs, logits)
    model = SharpnessAware(inputs, logits)
    model.rho = config.optimiser.sam_rho
    return model


def make_loss(config: Config, counts: np.ndarray) -> FocalLoss:
    """The focal loss, weighted by the class counts (C,) of what is learnt from, before oversampling."""
    weights = (
        compute_class_weights_effective(counts, config.loss.class_weight_beta)
        if config.loss.class_weight_beta
        else None
    )
    spread = objective(config).spread
    return FocalLoss(
        config.loss.focal_gamma, weights, config.loss.label_smoothing, spread(counts) if spread else None
    )


def make_optimizer(config: Config, stage: int, steps: int) -> keras.optimizers.Optimizer:
    """Stage 1 has a constant rate, stage 2 warm-up and cosine, or a step every few epochs, of `steps`
    each.
    """
    rate, warmup = config.schedule.stage1_lr, config.schedule.stage2_warmup_epochs * steps
    if stage == 2 and config.schedule.stage2_schedule == "step":
        rate = WarmupSteps(
            config.schedule.stage2_lr,
            config.schedule.stage2_decay,
            config.schedule.stage2_decay_epochs * steps,
            warmup,
        )
    elif stage == 2:
        rate = WarmupCosine(
            config.schedule.stage2_lr,
            config.schedule.stage2_floor_lr,
            warmup,
            config.schedule.stage2_epochs * steps,
        )
    options = {"clipnorm": config.optimiser.clipnorm or None}
    if config.optimiser.ema:
        options |= {"use_ema": True, "ema_momentum": config.optimiser.ema}
    if config.optimiser.name == "sgd":
        options |= {"momentum": config.optimiser.momentum, "nesterov": bool(config.optimiser.momentum)}
    if config.optimiser.name == "adam":
        optimizer = keras.optimizers.Adam(rate, **options)
    else:
        kind = {"adamw": keras.optimizers.AdamW, "sgd": keras.optimizers.SGD}[config.optimiser.name]
        optimizer = kind(rate, weight_decay=config.optimiser.weight_decay, **options)
        # Decaying these would shift statistics; it regularises nothing.
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    # Keras adds loss scaling by the policy of the compiled model, and ours is a float32 frame around the
    # network.
    return (
        keras.optimizers.LossScaleOptimizer(optimizer)
        if config.optimiser.precision == "mixed_float16"
        else optimizer
    )
