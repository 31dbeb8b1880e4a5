"""VGG-19 as keras.applications builds it."""

from __future__ import annotations

import keras
import numpy as np

from fer_hailo.training.networks.applications import CAFFE_MEAN, shifted


def vgg19(input_size: int, weights: str | None) -> keras.Model:
    """VGG-19 (Simonyan and Zisserman 2015), without its dense layers."""
    return shifted(
        keras.applications.VGG19, "block1_conv1", input_size, weights, CAFFE_MEAN, np.ones(3), bgr=True
    )
