"""EfficientNet-B0 as keras.applications builds it, but for its normalisation."""

from __future__ import annotations

import keras

from fer_hailo.predict import private
from fer_hailo.training.networks.applications import shifted
from fer_hailo.training.networks.blocks import DEVIATION, MEAN


def efficientnet_b0(input_size: int, weights: str | None) -> keras.Model:
    """EfficientNet-B0 (Tan and Le 2019), without the normalisation that Keras builds into it, differently for
    "imagenet" and for a file.
    """

    def make(include_top: bool, weights: str | None, input_tensor) -> keras.Model:
        source = keras.applications.EfficientNetB0(
            include_top=include_top, weights=weights, input_shape=(input_size, input_size, 3)
        )
        built_in = keras.layers.Rescaling, keras.layers.Normalization
        shift, image = private.maker_of(input_tensor), keras.Input((input_size, input_size, 3))
        taken = iter([shift])  # takes the place of the first of them, the others go

        def call(layer, *inputs, **options):
            return (
                next(taken, lambda same: same)(inputs[0])
                if isinstance(layer, built_in)
                else layer(*inputs, **options)
            )

        model = keras.models.clone_model(source, input_tensors=image, call_function=call)
        for layer in model.layers:
            if layer.weights:
                layer.set_weights(source.get_layer(layer.name).get_weights())
        return model

    return shifted(make, "stem_conv", input_size, weights, MEAN, 1 / DEVIATION)
