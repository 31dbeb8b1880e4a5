"""MobileNetV3Small (Howard et al. 2019) as keras.applications builds it, without its own preprocessing, and
what is left of it without the parts that 8 bits and edge compilers like least.
"""

from __future__ import annotations

from collections.abc import Callable

import keras

GATE = "squeeze_excite_mul"  # how the names of the products end by which squeeze-and-excite scales channels


def small(input_size: int, weights: str | None) -> keras.Model:
    """The full network. weights: "imagenet", a path to no-top weights, or None."""
    return _build(input_size, weights, minimalistic=False)


def small_minimalistic(input_size: int, weights: str | None) -> keras.Model:
    """The minimalistic variant: ReLU for h-swish, 3x3 kernels, no squeeze-and-excite."""
    return _build(input_size, weights, minimalistic=True)


def small_without_se(input_size: int, weights: str | None) -> keras.Model:
    """Without squeeze-and-excite. weights: those of the full network."""

    def call(layer, *args, **options):
        features_and_gate = args[0]
        return features_and_gate[0] if layer.name.endswith(GATE) else layer(*args, **options)

    return _variant(small(input_size, weights), call=call)


def small_relu6(input_size: int, weights: str | None) -> keras.Model:
    """With ReLU6 for h-swish; squeeze-and-excite and its hard sigmoid stay. weights: those of the full
    network.
    """

    def clone(layer):
        if isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.hard_swish:
            return keras.layers.ReLU(6.0, name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    return _variant(small(input_size, weights), clone=clone)


def _variant(full: keras.Model, clone: Callable | None = None, call: Callable | None = None) -> keras.Model:
    """A copy of the full network, layers changed by clone(layer) or called by call(layer, ...); layers that
    nothing reads are gone.
    """
    image = keras.Input(full.input_shape[1:])
    variant = keras.models.clone_model(full, input_tensors=image, clone_function=clone, call_function=call)
    for layer in variant.layers:
        if layer.weights:
            layer.set_weights(full.get_layer(layer.name).get_weights())
    return variant


def _build(input_size: int, weights: str | None, minimalistic: bool) -> keras.Model:
    return keras.applications.MobileNetV3Small(
        input_shape=(input_size, input_size, 3),
        include_top=False,
        include_preprocessing=False,
        minimalistic=minimalistic,
        weights=weights,
    )
