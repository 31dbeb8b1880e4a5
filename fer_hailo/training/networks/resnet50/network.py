"""ResNet-50 as keras.applications builds it."""

from __future__ import annotations

import keras
import numpy as np

from fer_hailo.training.networks.applications import CAFFE_MEAN, shifted


def resnet50(input_size: int, weights: str | None) -> keras.Model:
    """ResNet-50 (He et al. 2016)."""
    return shifted(
        keras.applications.ResNet50, "conv1_conv", input_size, weights, CAFFE_MEAN, np.ones(3), bgr=True
    )
