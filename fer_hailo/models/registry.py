"""Networks by name: each a function that builds a backbone. The head is common to all."""

from __future__ import annotations

from collections.abc import Callable

import keras

from fer_hailo.cli import nearest
from fer_hailo.errors import UserError
from fer_hailo.models import mobilenet_v3

# backbone(input_size, weights) gives a Functional model from (I, I, 3) floats in [-1, 1] to a feature map.
ARCHITECTURES: dict[str, Callable[[int, str | None], keras.Model]] = {
    "mobilenet_v3_small": mobilenet_v3.small,
    "mobilenet_v3_small_minimalistic": mobilenet_v3.small_minimalistic,
}


def architecture(name: str) -> Callable[[int, str | None], keras.Model]:
    """The backbone's builder. Raises UserError with the nearest known name."""
    if name not in ARCHITECTURES:
        raise UserError(f"unknown arch '{name}'{nearest(name, ARCHITECTURES)}: known are {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]
