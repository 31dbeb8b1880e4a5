"""The rows of `fer-hailo train --list`, from the networks as they are built.

python -m fer_hailo.training.models.table     write networks.csv anew, in a checkout (half a minute)
"""

from __future__ import annotations

import math

import keras

from fer_hailo.common.config import load_config
from fer_hailo.common.progress import track
from fer_hailo.common.resources import recipes
from fer_hailo.training.models.build import build_model
from fer_hailo.training.models.listing import Row, kept, write_rows
from fer_hailo.training.networks.attention import Attention
from fer_hailo.training.networks.registry import ARCHITECTURES


def measure(name: str) -> Row:
    """Build a network by its recipe, where it has one, and count."""
    config = load_config(None, {"arch": name}, recipes())
    model, known = build_model(config, weights="none"), ARCHITECTURES[name]
    return Row(
        name,
        config.face.input_size,
        model.count_params(),
        multiply_adds(model),
        known.licence,
        known.tflite,
        known.hailo,
    )


def multiply_adds(model: keras.Model) -> int:
    """Multiply-adds of one image: convolutions, dense layers, products of attention.

    Counts every layer once: none may be used twice.
    """
    return sum(_of_layer(layer) for layer in model.layers)


def _of_layer(layer: keras.layers.Layer) -> int:
    layers = keras.layers
    if isinstance(layer, layers.Dense):
        return math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape)
    if isinstance(layer, Attention):
        (_, queries, width), (_, keys, _) = (tensor.shape for tensor in layer.input)
        return 2 * queries * keys * width
    if isinstance(layer, layers.Conv1DTranspose):
        return layer.input.shape[1] * math.prod(layer.kernel.shape)
    if isinstance(layer, layers.SeparableConv2D):
        weights = [layer.depthwise_kernel, layer.pointwise_kernel]
    elif isinstance(layer, (layers.Conv1D, layers.Conv2D, layers.DepthwiseConv2D)):
        weights = [layer.kernel]
    else:
        return 0
    return math.prod(layer.output.shape[1:-1]) * sum(math.prod(kernel.shape) for kernel in weights)


if __name__ == "__main__":
    names = sorted(ARCHITECTURES)
    write_rows([measure(name) for name in track(names, len(names), "building the networks")])
    print(f"written: {kept()}")
