"""Networks of keras.applications that expect another normalisation than ours.

Each takes (B, I, I, 3) floats in [-1, 1] like every network here. What its ImageNet weights were trained on is a shift of that, which
becomes the first layer, and a scale for each channel, which goes into the kernel of the first convolution: so that a network that starts
from scratch sees values near [-1, 1] too, and one graph serves both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np

from fer_hailo.predict import private
from fer_hailo.training.models.blocks import DEVIATION, MEAN

# Red, green, blue, on 0..255.
CAFFE_MEAN = np.array([123.68, 116.779, 103.939])


def densenet121(input_size: int, weights: str | None) -> keras.Model:
    """DenseNet-121 (Huang et al. 2017)."""
    return _shifted(keras.applications.DenseNet121, "conv1_conv", input_size, weights, MEAN, 1 / DEVIATION)


def resnet50(input_size: int, weights: str | None) -> keras.Model:
    """ResNet-50 (He et al. 2016)."""
    return _shifted(keras.applications.ResNet50, "conv1_conv", input_size, weights, CAFFE_MEAN, np.ones(3), bgr=True)


def vgg19(input_size: int, weights: str | None) -> keras.Model:
    """VGG-19 (Simonyan and Zisserman 2015), without its dense layers."""
    return _shifted(keras.applications.VGG19, "block1_conv1", input_size, weights, CAFFE_MEAN, np.ones(3), bgr=True)


def nasnet_mobile(input_size: int, weights: str | None) -> keras.Model:
    """NASNet-A, 4 @ 1056 (Zoph et al. 2018). Its weights were trained on [-1, 1]."""
    return keras.applications.NASNetMobile(input_shape=(input_size, input_size, 3), include_top=False, weights=weights)


def efficientnet_b0(input_size: int, weights: str | None) -> keras.Model:
    """EfficientNet-B0 (Tan and Le 2019), without the normalisation that Keras builds into it, differently for "imagenet" and for a file."""

    def make(include_top: bool, weights: str | None, input_tensor) -> keras.Model:
        source = keras.applications.EfficientNetB0(include_top=include_top, weights=weights, input_shape=(input_size, input_size, 3))
        built_in = keras.layers.Rescaling, keras.layers.Normalization
        shift, image = private.maker_of(input_tensor), keras.Input((input_size, input_size, 3))
        taken = iter([shift])  # takes the place of the first of them, the others go

        def call(layer, *inputs, **options):
            return next(taken, lambda same: same)(inputs[0]) if isinstance(layer, built_in) else layer(*inputs, **options)

        model = keras.models.clone_model(source, input_tensors=image, call_function=call)
        for layer in model.layers:
            if layer.weights:
                layer.set_weights(source.get_layer(layer.name).get_weights())
        return model

    return _shifted(make, "stem_conv", input_size, weights, MEAN, 1 / DEVIATION)


def _shifted(
    make: Callable, first: str, input_size: int, weights: str | None, mean: np.ndarray, scale: np.ndarray, bgr: bool = False
) -> keras.Model:
    """A network whose weights expect (value - mean) x scale for values 0..255, red first or (bgr) blue first."""
    image = keras.Input((input_size, input_size, 3))
    shift = keras.layers.Rescaling(1.0, _numbers((127.5 - mean) / 127.5), name="shift")(image)
    model = make(include_top=False, weights=weights, input_tensor=shift)
    if weights:
        conv = model.get_layer(first)
        kernel, *bias = conv.get_weights()
        kernel = kernel[:, :, ::-1] if bgr else kernel
        conv.set_weights([kernel * (127.5 * scale)[:, None], *bias])
    return model


def _numbers(values: np.ndarray) -> Sequence[float]:
    return [float(value) for value in values]
