"""`train.py --list`: what each network costs, and where it can go."""

from __future__ import annotations

import math
from pathlib import Path

import keras

from fer_hailo.config import load_config
from fer_hailo.models.attention import Attention
from fer_hailo.models.build import build_model
from fer_hailo.models.registry import ARCHITECTURES
from fer_hailo.progress import track

METHODS = """--method lnsu (LNSU-Net's losses) and --method ada_df_fusion (Ada-DF's targets) train any of them that has the common head
(not ada_df, dan, ddamfn, poster, poster_v2). They cost nothing at inference."""
HEADER = ("network", "input", "parameters", "multiply-adds", "licence of weights", "TFLite", "Hailo-8")


def list_networks(recipes: Path) -> str:
    """A table of all networks, each with its recipe's input size and head, as text."""
    names = sorted(ARCHITECTURES)
    lines = [HEADER, *(_line(name, recipes) for name in track(names, len(names), "building the networks"))]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    table = "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
    return f"{table}\n\n{METHODS}"


def multiply_adds(model: keras.Model) -> int:
    """Multiply-adds of one picture: convolutions, dense layers, products of attention. Counts every layer once: none may be used twice."""
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
        weights = (layer.depthwise_kernel, layer.pointwise_kernel)
    elif isinstance(layer, (layers.Conv1D, layers.Conv2D, layers.DepthwiseConv2D)):
        weights = (layer.kernel,)
    else:
        return 0
    return math.prod(layer.output.shape[1:-1]) * sum(math.prod(kernel.shape) for kernel in weights)


def _line(name: str, recipes: Path) -> tuple[str, ...]:
    path = recipes / f"{name}.yaml"
    config = load_config(path if path.is_file() else None, {"arch": name})
    model, known = build_model(config, weights="none"), ARCHITECTURES[name]
    size, count = f"{config.input_size} px", f"{multiply_adds(model) / 1e6:,.0f} M"
    return name, size, f"{model.count_params():,}", count, known.licence or "none", known.tflite, known.hailo
