"""A network of a few layers for tests of the training loop, which cost mostly the tracing of MobileNetV3's
156.

Importing this registers it as `--arch tiny`; TRAIN runs train.py in a process of its own that knows it.
"""

import sys

import keras

from fer_hailo.training.networks.record import Network
from fer_hailo.training.networks.registry import ARCHITECTURES

TRAIN = [sys.executable, "-c", "import sys, tiny, train; sys.exit(train.run(train.main, sys.argv[1:]))"]


def backbone(input_size: int, weights: str | None) -> keras.Model:
    inputs = keras.Input((input_size, input_size, 3))
    x = inputs
    for number, filters in enumerate((8, 16)):
        x = keras.layers.Conv2D(filters, 3, strides=2, use_bias=False, name=f"conv{number}")(x)
        x = keras.layers.BatchNormalization(name=f"norm{number}")(x)
        x = keras.layers.Activation("hard_swish", name=f"act{number}")(x)
    return keras.Model(inputs, x)


ARCHITECTURES["tiny"] = Network(backbone, licence="", hailo="yes")
