"""Layers as Keras 1 and 2 wrote them into files, in the words of Keras 3.

Only what decides a prediction is kept: a trained network needs no initializers, regularizers and
constraints. What is not in these tables is refused, since a guess would change predictions unseen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any


class NotTranslated(Exception):
    """What there is no layer of Keras 3 for; the message completes "has ..."."""


@dataclass(frozen=True)
class Layer:
    """A layer of Keras 3. kind: its class, "" for what only training has, which passes its input on.
    options: arguments of its class. then: layers that follow it at once.
    """

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    then: tuple[Layer, ...] = ()


_CONV = "kernel_size strides padding dilation_rate activation use_bias"
_POOL = "pool_size strides padding"
# The options of a class that decide what it computes
_KEPT = {
    "Dense": "units activation use_bias",
    "Conv2D": f"filters groups {_CONV}",
    "DepthwiseConv2D": f"depth_multiplier {_CONV}",
    "SeparableConv2D": f"filters depth_multiplier {_CONV}",
    "BatchNormalization": "axis momentum epsilon center scale",
    "LayerNormalization": "axis epsilon center scale",
    "Normalization": "axis",
    "MaxPooling2D": _POOL,
    "AveragePooling2D": _POOL,
    "GlobalAveragePooling2D": "keepdims",
    "GlobalMaxPooling2D": "keepdims",
    "ZeroPadding2D": "padding",
    "Cropping2D": "cropping",
    "UpSampling2D": "size",
    "Resizing": "height width interpolation",
    "Rescaling": "scale offset",
    "Flatten": "",
    "Reshape": "target_shape",
    "Permute": "dims",
    "Activation": "activation",
    "Softmax": "axis",
    "ReLU": "max_value negative_slope threshold",
    "LeakyReLU": "negative_slope",
    "ELU": "alpha",
    "PReLU": "shared_axes",
    "Add": "",
    "Subtract": "",
    "Multiply": "",
    "Average": "",
    "Maximum": "",
    "Minimum": "",
    "Concatenate": "axis",
}
_TRAINING_ONLY = re.compile(
    r"(Spatial|Gaussian|Alpha)?Dropout(2D)?|GaussianNoise|ActivityRegularization|Random\w+"
)
_CLASSES = {
    "Convolution2D": "Conv2D",
    "AtrousConvolution2D": "Conv2D",
    "SeparableConvolution2D": "SeparableConv2D",
    "ThresholdedReLU": "ReLU",
}
_OPTIONS = {
    "output_dim": "units",
    "nb_filter": "filters",
    "border_mode": "padding",
    "subsample": "strides",
    "bias": "use_bias",
    "atrous_rate": "dilation_rate",
    "dim_ordering": "data_format",
    "theta": "threshold",
}
_MERGES = {"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "concat": "Concatenate"}
# Of a layer's administration, or of its training
_IGNORED = re.compile(
    r"name|trainable|dtype|batch_input_shape|input_(dtype|dim|length|shape)|sparse|ragged|optional|fused|init"
    r"|seed|rng_type|\w+_(initializer|init|regularizer|constraint)|virtual_batch_size|renorm_momentum"
)
# Values with which an option that is not kept says nothing
_NEUTRAL = {
    "data_format": ("channels_last", "tf", "default"),
    "groups": (1,),
    "mode": (0,),
    "interpolation": ("nearest",),
}
# All but the last Keras 3 computes as its forerunners did
_ACTIVATIONS = {
    "linear", "relu", "sigmoid", "tanh", "softmax", "elu", "selu", "softplus", "softsign", "exponential",
    "swish", "silu", "gelu", "relu6", "hard_sigmoid",
}  # fmt: skip
_HARD_SIGMOID = (Layer("Rescaling", {"scale": 0.2, "offset": 0.5}), Layer("ReLU", {"max_value": 1.0}))


def translate(kind: str, config: dict[str, Any]) -> Layer:
    """A layer of a file's configuration, class and options, for Keras 3.

    Raises NotTranslated for a class that is not known here, and for an option that is not.
    """
    if _TRAINING_ONLY.fullmatch(kind):
        return Layer("")
    if kind == "Merge":
        return _merge(config)
    known = _CLASSES.get(kind, kind)
    if known not in _KEPT:
        raise NotTranslated(f"a layer of the class {kind}")
    given = {_OPTIONS.get(key, key): value for key, value in config.items()}
    if known == "LeakyReLU" and "alpha" in given:
        given["negative_slope"] = given.pop("alpha")
    if "nb_row" in given:
        given["kernel_size"] = [given.pop("nb_row"), given.pop("nb_col")]
    kept = _KEPT[known].split()
    options = {key: _plain(key, value) for key, value in given.items() if key in kept}
    for key, value in given.items():
        neutral = (None, False, *_NEUTRAL.get(key, ()))
        if key not in kept and not _IGNORED.fullmatch(key) and value not in neutral:
            raise NotTranslated(f"a layer {kind} with {key} {value}")
    return _activated(Layer(known, options))


_WITH_NUMBER = {
    "__operators__.add": lambda number: {"scale": 1.0, "offset": number},
    "math.add": lambda number: {"scale": 1.0, "offset": number},
    "math.subtract": lambda number: {"scale": 1.0, "offset": -number},
    "math.multiply": lambda number: {"scale": number},
    "math.truediv": lambda number: {"scale": 1.0 / number},
}
_OF_TWO = {
    "__operators__.add": "Add",
    "math.add": "Add",
    "math.subtract": "Subtract",
    "math.multiply": "Multiply",
}
_OF_ONE = {
    "nn.relu": Layer("ReLU"),
    "nn.relu6": Layer("ReLU", {"max_value": 6.0}),
    "nn.softmax": Layer("Softmax"),
    "nn.silu": Layer("Activation", {"activation": "silu"}),
    "math.sigmoid": Layer("Activation", {"activation": "sigmoid"}),
    "math.tanh": Layer("Activation", {"activation": "tanh"}),
}


def translate_operation(function: str, numbers: list[float | None], options: dict[str, Any]) -> Layer:
    """A bare operation of TensorFlow between layers (TFOpLambda), such as x / 127.5.

    numbers: its one or two arguments in order, None for each that is a tensor. options: further ones.
    """
    given = {key: value for key, value in options.items() if value is not None}
    if function == "math.reduce_mean" and given.pop("axis", None) == [1, 2]:
        keepdims = given.pop("keepdims", False)
        if not given:
            return Layer("GlobalAveragePooling2D", {"keepdims": keepdims})
    elif not given and numbers == [None] and function in _OF_ONE:
        return _OF_ONE[function]
    elif not given and numbers == [None, None] and function in _OF_TWO:
        return Layer(_OF_TWO[function])
    elif not given and len(numbers) == 2 and function in _WITH_NUMBER:
        number = next((number for number in numbers if number is not None), None)
        if number is not None:
            return Layer("Rescaling", _with_number(function, float(number), first=numbers[1] is None))
    raise NotTranslated(f"the operation tf.{function}")


def _with_number(function: str, number: float, first: bool) -> dict[str, Any]:
    """What scales and shifts as x and a number together do. first: the number stands before x."""
    if first and function == "math.truediv":
        raise NotTranslated("a division by what a layer gives")
    if first and function == "math.subtract":
        return {"scale": -1.0, "offset": number}
    return _WITH_NUMBER[function](number)


def _merge(config: dict[str, Any]) -> Layer:
    mode = config.get("mode")
    if mode not in _MERGES or config.get("layers"):
        raise NotTranslated(f"a layer Merge with mode {mode}")
    return Layer(_MERGES[mode], {"axis": config.get("concat_axis", -1)} if mode == "concat" else {})


def _activated(layer: Layer) -> Layer:
    name = layer.options.get("activation", "linear")
    if name not in _ACTIVATIONS:
        raise NotTranslated(f"a layer {layer.kind} with the activation {name}")
    if name != "hard_sigmoid":
        return layer
    return Layer(layer.kind, layer.options | {"activation": "linear"}, _HARD_SIGMOID)


def _plain(key: str, value: Any) -> Any:
    if key == "axis" and isinstance(value, list) and len(value) == 1:
        return value[0]
    if key == "padding" and isinstance(value, list) and len(value) == 4:  # top, bottom, left, right
        return [value[:2], value[2:]]
    return value
