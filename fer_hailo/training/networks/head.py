"""The head common to networks that have none of their own."""

from __future__ import annotations

import keras

from fer_hailo.common.config import Config

POOL = "head_pool"  # its first layer; all layers before it are the backbone


def head(features, config: Config, logits: int):
    """From a map (B, H, W, D) to logits (B, C): mean, batch norm, dense layers with dropout between."""
    layers, model = keras.layers, config.model
    penalty = keras.regularizers.L2(model.head_l2) if model.head_l2 else None
    x = layers.GlobalAveragePooling2D(name=POOL)(features)
    x = layers.BatchNormalization(name="head_norm")(x)
    x = layers.Dropout(model.head_dropout[0], seed=config.seed, name="head_dropout")(x)
    for i, (units, rate) in enumerate(zip(model.head_units, model.head_dropout[1:], strict=True), 1):
        x = layers.Dense(units, use_bias=False, kernel_regularizer=penalty, name=f"head_dense{i}")(x)
        x = layers.BatchNormalization(name=f"head_norm{i}")(x)
        x = layers.ReLU(name=f"head_relu{i}")(x)
        x = layers.Dropout(rate, seed=config.seed + i, name=f"head_dropout{i}")(x)
    # Logits in float32 also where the rest runs in half precision.
    return layers.Dense(logits, dtype="float32", name="logits")(x)
