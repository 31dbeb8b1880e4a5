"""DenseNet-121 as keras.applications builds it."""

from __future__ import annotations

import keras

from fer_hailo.training.networks.applications import shifted
from fer_hailo.training.networks.blocks import DEVIATION, MEAN


def densenet121(input_size: int, weights: str | None) -> keras.Model:
    """DenseNet-121 (Huang et al. 2017)."""
    return shifted(keras.applications.DenseNet121, "conv1_conv", input_size, weights, MEAN, 1 / DEVIATION)
