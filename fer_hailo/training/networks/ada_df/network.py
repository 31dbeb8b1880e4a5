"""Ada-DF (Liu et al. 2023): two ResNet-18 that share their beginning.

The first learns the labels, and with that teaches the second.
"""

from __future__ import annotations

import keras
from keras import layers

from fer_hailo.training.networks.blocks import picture
from fer_hailo.training.networks.resnet18 import network as resnet

TWIN = ("branch_1_", "branch_2_")
RENAMED = resnet.renamed(
    "feature",
    {1: ("feature.4.",)} | {k: tuple(f"{branch}feature.{k - 2}." for branch in TWIN) for k in (2, 3, 4)},
)


def ada_df(input_size: int, logits: int) -> keras.Model:
    """What is left after training, from (I, I, 3) in [-1, 1] to logits: the second branch, a ResNet-18.

    Its gate is left out: it scales the logits of an image alike, so that the prediction is the same; the
    temperature is fitted afterwards.
    """
    image, x = _trunk(input_size)
    return keras.Model(image, _branch(x, 2, logits)[1], name="ada_df")


def ada_df_pair(input_size: int, logits: int) -> keras.Model:
    """What trains: from (I, I, 3) to the second and the first branch's logits, each times its gate, and the
    mean gate (B, 1).

    Layers are called as the official code calls its modules; for the losses see loss.py.
    """
    image, x = _trunk(input_size)
    return gated_pair(image, _branch(x, 1, logits), _branch(x, 2, logits), "ada_df")


def gated_pair(image, first: tuple, second: tuple, name: str) -> keras.Model:
    """Two branches as one network. first, second: features (B, D), of which each makes a gate, and logits (B,
    C).
    """
    answers, gates = [], []
    for number, (features, answer) in enumerate((first, second), 1):
        gate = layers.Dense(1, name=f"alpha_{number}-0", dtype="float32")(features)
        gates.append(layers.Activation("sigmoid", name=f"alpha_{number}", dtype="float32")(gate))
        answers.append(layers.Multiply(name=f"answer_{number}", dtype="float32")([answer, gates[-1]]))
    gate = layers.Average(name="attention_weights", dtype="float32")(gates)
    return keras.Model(image, [answers[1], answers[0], gate], name=name)


def _trunk(input_size: int):
    image, x = picture(input_size)
    x = resnet.stem(x, "feature-0", "feature-1")
    return image, resnet.stage(x, *resnet.STAGES[0], "feature-4")


def _branch(x, number: int, logits: int):
    for i, (filters, stride) in enumerate(resnet.STAGES[1:]):
        x = resnet.stage(x, filters, stride, f"branch_{number}_feature-{i}")
    x = layers.GlobalAveragePooling2D(name=f"branch_{number}_feature-3")(x)
    return x, layers.Dense(logits, name=f"branch_{number}_classifier", dtype="float32")(x)
