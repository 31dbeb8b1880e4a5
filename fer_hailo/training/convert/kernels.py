"""Layers with weights, and what their kernels become when channels that they make or read are multiplied by
constants.
"""

from __future__ import annotations

import keras
import numpy as np

LINEAR, RELU = keras.activations.linear, keras.activations.relu


def is_weighted(operation: keras.Operation) -> bool:
    """Whether it is a convolution, depthwise convolution or dense layer, whose outputs are weighted sums of
    its inputs.
    """
    if isinstance(operation, keras.layers.Conv2D):
        return operation.groups == 1
    return isinstance(operation, keras.layers.DepthwiseConv2D | keras.layers.Dense)


def kernel_and_bias(layer: keras.Layer) -> list[np.ndarray]:
    """Copies of a layer's kernel and bias; zeros where it has no bias."""
    kernel, *bias = layer.get_weights()
    return [kernel, bias[0] if bias else np.zeros(layer.output.shape[-1], kernel.dtype)]


def times_outputs(layer: keras.Layer, kernel: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """The kernel of a layer whose output channels are multiplied by factors (C_out,)."""
    if isinstance(layer, keras.layers.DepthwiseConv2D):  # (k, k, C_in, multiplier)
        factors = factors.reshape(kernel.shape[-2:])
    return (kernel * factors).astype(kernel.dtype)


def times_inputs(kernel: np.ndarray, factors: np.ndarray | float) -> np.ndarray:
    """The kernel of a layer that gives with inputs x what it gave with factors * x, factors (C_in,) or one
    number.
    """
    return (kernel * np.broadcast_to(factors, kernel.shape[-2])[:, None]).astype(kernel.dtype)


def sum_over_places(layer: keras.Layer, kernel: np.ndarray, values: np.ndarray) -> np.ndarray:
    """What a layer's kernel makes, before the bias, of inputs that have the values (C_in,) at every place:
    (C_out,).
    """
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return (kernel.sum(axis=(0, 1)) * values[:, None]).reshape(-1)
    return values @ kernel.reshape(-1, *kernel.shape[-2:]).sum(axis=0)
