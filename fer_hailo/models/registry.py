"""Networks by name. A network is a function that builds its backbone; the head is common to all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fer_hailo.cli import nearest
from fer_hailo.errors import UserError
from fer_hailo.models import mobilenet_v3


@dataclass(frozen=True)
class Architecture:
    """backbone(input_size, weights) gives a Functional model from (I, I, 3) floats in [-1, 1] to a feature map."""

    backbone: Callable
    summary: str


ARCHITECTURES = {
    "mobilenet_v3_small": Architecture(mobilenet_v3.small, "MobileNetV3Small: h-swish and squeeze-and-excite"),
    "mobilenet_v3_small_minimalistic": Architecture(mobilenet_v3.small_minimalistic, "its ReLU twin, friendlier to 8 bits"),
}


def architecture(name: str) -> Architecture:
    """The network called `name`. Raises UserError with the nearest known name."""
    if name not in ARCHITECTURES:
        raise UserError(f"unknown arch '{name}'{nearest(name, ARCHITECTURES)}: known are {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]
