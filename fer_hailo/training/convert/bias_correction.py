"""Take out of an INT8 network's biases what the rounding of its weights adds to its outputs on average.

A rounded kernel Wq makes sum((Wq - W) x) more than the float kernel W. Where inputs hardly vary, as the first
blocks' here, the rounding errors of a kernel's weights add up to a shift of the whole channel. Its
expectation over the calibration images goes from the bias: b -= sum over places and inputs of (Wq - W) E[x].
Source: Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and Bias Correction, section
4.2. E[x] is that of the interior: the zeros of padding at the border are not counted.
"""

from __future__ import annotations

import numpy as np

from fer_hailo.formats.tflite import WEIGHTED
from fer_hailo.training.convert.flatbuffer import bytes_of, constant, object_of, operators, replace_constant


def correct_biases(int8: bytes, float32: bytes, means: dict[str, np.ndarray]) -> bytes:
    """The INT8 TFLite with corrected int32 biases.

    float32: the network that it was quantized from, with the same tensor names. means: of each tensor that a
    layer with weights reads, its mean by channels over the calibration images, float (C,). A layer without a
    bias stays as it is.
    """
    file = object_of(int8)
    (graph,) = file.subgraphs
    kernels = _kernels(float32)
    for kind, operator in operators(file):
        if kind not in WEIGHTED or len(operator.inputs) < 3 or operator.inputs[2] < 0:
            continue
        source, kernel, bias = (graph.tensors[index] for index in operator.inputs[:3])
        steps = kernel.quantization.scale if kernel.quantization else None
        if steps is None:  # a layer that was left in float
            continue
        rounded = _dequantized(constant(file, kernel, np.int8), steps, kind)
        shift = shift_of(kind, rounded - kernels[kernel.name.decode()], means[source.name.decode()])
        values = constant(file, bias, np.int32)
        corrected = values - np.rint(shift / (source.quantization.scale[0] * np.asarray(steps, np.float64)))
        replace_constant(file, operator, 2, corrected.clip(-(2**31), 2**31 - 1).astype(np.int32))
    return bytes_of(file)


def shift_of(kind: str, error: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """What errors of a TFLite kernel add to a layer's outputs on average, float64 (C_out,).

    error: (C_out, k, k, C_in) of a CONV_2D, (1, k, k, C_out) of a DEPTHWISE_CONV_2D, (C_out, C_in) of a
    FULLY_CONNECTED layer. mean: of its inputs, (C_in,).
    """
    if kind == "DEPTHWISE_CONV_2D":
        sums = error.sum(axis=(0, 1, 2), dtype=np.float64)
        return sums * np.repeat(mean, len(sums) // len(mean))
    return error.reshape(len(error), -1, error.shape[-1]).sum(axis=1, dtype=np.float64) @ mean


def _kernels(float32: bytes) -> dict[str, np.ndarray]:
    """The float kernels by their tensors' names."""
    file = object_of(float32)
    tensors = file.subgraphs[0].tensors
    found = (tensors[operator.inputs[1]] for kind, operator in operators(file) if kind in WEIGHTED)
    return {tensor.name.decode(): constant(file, tensor, np.float32) for tensor in found}


def _dequantized(kernel: np.ndarray, steps: np.ndarray, kind: str) -> np.ndarray:
    """The numbers that int8 weights stand for; their zero point is 0."""
    steps = np.asarray(steps, np.float32)
    return kernel * (steps if kind == "DEPTHWISE_CONV_2D" else steps.reshape(-1, *[1] * (kernel.ndim - 1)))
