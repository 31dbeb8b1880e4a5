"""Fake quantisation: float arithmetic whose values lie on the steps of INT8, with gradients as if they did
not.

Jacob et al. 2018, Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference, section 3. The steps are LiteRT's: kernels symmetric, -127 to 127, a scale an output channel;
activations asymmetric, 256 steps from a tensor's low to its high; a bias counts steps of its kernel times
steps of the input, which is coarse where a channel has a large kernel for small inputs.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from fer_hailo.common.preprocess import PreprocessSpec, normalise
from fer_hailo.predict import private
from fer_hailo.predict.litert import TIE
from fer_hailo.training.quantise.places import places_of

STEPS, KERNEL_STEPS = 255, 127
SMALLEST = 1e-9  # of a scale, as ai-edge-quantizer has it
FASTER = (
    100.0  # than a weight's step is the relative step of a range, which is far larger than the weights are
)


def kernel_steps(kernel: Any, depthwise: bool) -> Any:
    """The step of each output channel, whose largest weight is 127 of them; shaped so that it divides the
    kernel.

    kernel: (k, k, C_in, C_out), (C_in, C_out), or of a depthwise layer (k, k, C, multiplier).
    """
    axes = (0, 1) if depthwise else tuple(range(len(kernel.shape) - 1))
    return ops.stop_gradient(
        ops.maximum(ops.max(ops.abs(kernel), axis=axes, keepdims=True), SMALLEST) / KERNEL_STEPS
    )


def on_steps(values: Any, steps: Any) -> Any:
    """Values rounded to whole numbers of steps. The gradient passes unchanged."""
    return values + ops.stop_gradient(ops.round(values / steps) * steps - values)


def input_limits(spec: PreprocessSpec) -> tuple[float, float]:
    """The range of the input: that of the bytes 0 to 255."""
    low, high = normalise(np.array([0, 255], np.uint8), spec)
    return float(low), float(high)


def round_input(images: Any, spec: PreprocessSpec) -> Any:
    """Images float (B, I, I, 3) on the steps that LiteRT has for the input, whose range is that of the bytes
    0 to 255.

    0 is a step, so that bytes, which lie half-way between two, all go up by half a step
    (fer_hailo.predict.litert).
    """
    low, high = input_limits(spec)
    step = (high - low) / STEPS
    least = np.floor(low / step + TIE + 0.5)
    return ops.clip(ops.floor(images / step + (0.5 + TIE)), least, least + STEPS) * step


class FakeQuantised(keras.layers.Layer):
    """What a folded float network would give in INT8: float32 (B, I, I, 3) to logits (B, C).

    network: Functional, whose kernels and biases train; it is not changed but by training. spec: of its
    images. `ranges`: a variable float32 (rows of `places`, 2), low and high of each tensor, 0 within;
    `moves`, of the same shape, are learnt: the logarithms of what became of the ranges' ends, a hundredth of
    them. Raises UserError for a network with layers of other kinds.
    """

    def __init__(self, network: keras.Model, spec: PreprocessSpec, **options):
        super().__init__(dtype="float32", **options)
        self.network, self.spec, self.places = network, spec, places_of(network)
        network.trainable = True
        for weight in network.trainable_weights:
            weight.regularizer = None  # it was for the weights before batch norms were folded into them
        self.ranges = self.add_weight(
            shape=(self.places.count, 2), initializer="zeros", name="ranges", trainable=False
        )
        self.moves = self.add_weight(shape=self.ranges.shape, initializer="zeros", name="moves")

    def limits(self) -> Any:
        """The ranges as they are now, float32 as `ranges`. An end that is 0 stays 0."""
        return self.ranges * ops.exp(FASTER * self.moves)

    def tensor_limits(self) -> dict[str, tuple[float, float]]:
        """{LiteRT's name of a tensor: (low, high)}, without the input, whose range is known."""
        limits = ops.convert_to_numpy(self.limits()).tolist()
        return {name: tuple(limits[row]) for name, row in self.places.tensors.items() if row}

    def call(self, images: Any) -> Any:
        limits = ops.unstack(ops.reshape(self.limits(), (-1,)), 2 * self.places.count)
        limits[:2] = input_limits(self.spec)

        def compute(operation, *inputs, **options):
            read = self.places.read.get(operation.name)
            if isinstance(operation, keras.layers.Dropout):
                values = inputs[0]
            elif read is None:
                values = operation(*inputs, **options)
            else:
                values = _weighted(operation, inputs[0], (limits[2 * read + 1] - limits[2 * read]) / STEPS)
            row = self.places.rounded.get(operation.name)
            return (
                values
                if row is None
                else self._rounded(operation.name, values, limits[2 * row], limits[2 * row + 1])
            )

        return private.call_through(self.network, round_input(images, self.spec), compute)

    def compute_output_shape(self, shape: tuple) -> tuple:
        return (shape[0], self.network.output_shape[-1])

    def _rounded(self, name: str, values, low, high):
        """What an operation gives, on the 256 steps of its tensor; beyond them the gradient goes to the
        range's end.
        """
        return keras.quantizers.fake_quant_with_min_max_vars(values, low, high)


def _weighted(layer, inputs, step):
    """What a layer with weights gives for inputs on steps of that size, its kernel and bias rounded."""
    kernel, *bias = (ops.convert_to_tensor(weight) for weight in layer.trainable_variables)
    steps = kernel_steps(kernel, isinstance(layer, keras.layers.DepthwiseConv2D))
    rounded = [
        on_steps(kernel, steps),
        *(on_steps(values, ops.reshape(steps, (-1,)) * ops.stop_gradient(step)) for values in bias),
    ]
    return layer.stateless_call(rounded, [], inputs)[0]
