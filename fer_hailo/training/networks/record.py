"""What is known about a network or a method: its folder states it, the registry lists it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import keras
import numpy as np

from fer_hailo.common.config import Config
from fer_hailo.training.networks.weights import Kind


@dataclass(frozen=True)
class Setting:
    """What a loss may need to know.

    config: of the run. counts: images of each class, (C,). steps: of an epoch. own: the part of the loss that
    comes from the labels, the rest being a teacher's.
    """

    config: Config
    counts: np.ndarray
    steps: int
    own: float = 1.0


@dataclass(frozen=True)
class Objective:
    """What a paper adds to the loss.

    answer(network, faces, targets, setting): the logits of faces (B, I, I, 3), after `add_loss` of what is
    added. labelled: whether that takes the targets (B, C), None otherwise. outside: the part of the usual
    loss that stays. spread: counts (C,) to a matrix (C, C) by which labels are softened. one_dense: whether
    the head must be a single dense layer.
    """

    answer: Callable
    labelled: bool = False
    outside: float = 1.0
    spread: Callable[[np.ndarray], np.ndarray] | None = None
    one_dense: bool = False


PLAIN = Objective(lambda network, faces, targets, setting: network(faces))


@dataclass(frozen=True)
class Network:
    """A backbone, to which the common head is added.

    build: backbone(input_size, weights), a Functional model from (I, I, 3) floats in [-1, 1] to a feature
    map, with the same graph whatever the weights (a path, "imagenet" or None). licence: of the weights that
    it can start from, empty where none are published for it. hailo: what Hailo-8 makes of it. tflite:
    whether convert_tflite.py takes it. own: the kinds of file in which its weights are published, where
    they are not Keras' .h5. Those come without the statistics of batch norms: training measures them first.
    """

    build: Callable[[int, str | None], keras.Model]
    licence: str
    hailo: str
    tflite: str = "yes"
    own: tuple[Kind, ...] = ()


@dataclass(frozen=True)
class System:
    """A whole classifier with a head of its own, as a paper has it.

    Its layers are called as its official code calls its modules, with - for the dot.

    build: classifier(input_size, logits), from (I, I, 3) floats in [-1, 1] to logits. hailo, tflite: as of
    a Network; there are no ImageNet weights. objective: what its paper adds to the loss. training: what
    trains in its stead, if anything else does, of which the first output is the classifier's; its layers
    that begin with twin[0] start as those that begin with twin[1]. renamed: {the beginning of a name in the
    checkpoint of a backbone: where that stands in the network}. multiple: what the input size must be
    divisible by. settings: {argument of build: the key of the configuration that gives it}. orders: {data
    set: its classes in the order of the outputs of the official checkpoint}.
    """

    build: Callable[..., keras.Model]
    hailo: str
    licence: str = ""
    tflite: str = "yes"
    objective: Objective = PLAIN
    training: Callable[[int, int], keras.Model] | None = None
    twin: tuple[str, str] = ("", "")
    renamed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    multiple: int = 1
    settings: Mapping[str, str] = field(default_factory=dict)
    orders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A way to train any network with the common head.

    pair(model, backbone, features, copied): what trains in the stead of the classifier, if anything else
    does, of which the first output is the classifier's. backbone: its layers before the head. features:
    what the head begins with, (B, D). copied: whether the backbone starts from weights.
    """

    objective: Objective
    pair: Callable[..., keras.Model] | None = None
