"""Networks by name: what builds the backbone, and what is known about it. The head is common to all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras

from fer_hailo.cli import nearest
from fer_hailo.errors import UserError
from fer_hailo.models import applications, mini_xception, mobilenet_v3, resnet


@dataclass(frozen=True)
class Network:
    """build: backbone(input_size, weights), a Functional model from (I, I, 3) floats in [-1, 1] to a feature map, with the same graph
    whatever the weights (a path, "imagenet" or None). licence: of its ImageNet weights, empty where Keras has none. hailo: what Hailo-8
    makes of it. tflite: whether convert_tflite.py takes it."""

    build: Callable[[int, str | None], keras.Model]
    licence: str
    hailo: str
    tflite: str = "yes"


ZOO = "yes: Hailo's model zoo has it"
ARCHITECTURES: dict[str, Network] = {
    "mobilenet_v3_small": Network(mobilenet_v3.small, "Apache 2.0", "yes; h-swish and squeeze-and-excite may need 16 bits"),
    "mobilenet_v3_small_minimalistic": Network(mobilenet_v3.small_minimalistic, "Apache 2.0", "yes"),
    "densenet121": Network(applications.densenet121, "BSD 3-clause", "unsure: its batch norms before the convolutions do not fold"),
    "nasnet_mobile": Network(applications.nasnet_mobile, "Apache 2.0", "unlikely: crops and pads feature maps, 750 small layers"),
    "vgg19": Network(applications.vgg19, "CC BY 4.0", "likely: plain convolutions; untried"),
    "resnet18": Network(resnet.resnet18, "", ZOO),
    "resnet50": Network(applications.resnet50, "MIT", ZOO),
    "efficientnet_b0": Network(applications.efficientnet_b0, "Apache 2.0", "unsure: swish; the zoo has the lite variant, with ReLU6"),
    "mini_xception": Network(mini_xception.mini_xception, "", "likely: separable convolutions; untried"),
}


def network(name: str) -> Network:
    """The network of this name. Raises UserError with the nearest known name."""
    if name not in ARCHITECTURES:
        raise UserError(f"unknown arch '{name}'{nearest(name, ARCHITECTURES)}: known are {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]
