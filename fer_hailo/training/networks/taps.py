"""What a network computes on the way, beside its prediction."""

from __future__ import annotations

import keras


def tapped(network: keras.Model, *names: str) -> keras.Model:
    """The same network, which also gives what these layers put out."""
    return keras.Model(network.input, [network.output, *(network.get_layer(name).output for name in names)])
