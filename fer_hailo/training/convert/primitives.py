"""h-swish in operators that every 8-bit engine has: x relu6(x + 3), with 1/6 in the kernels that read it.

LiteRT's XNNPACK computes no int8 HARD_SWISH: each one runs in a slow kernel by itself and cuts the network
into parts. The factor 1/6 must go into kernels, as TensorFlow's converter would make a HARD_SWISH again of
all of it. Between the product and these kernels tensors hold six times their value, which their names say
(`conv_hard_swish_x6`).
"""

from __future__ import annotations

from collections import Counter

import keras

from fer_hailo.formats.tflite import GATE, SIXTH, multiple
from fer_hailo.training.convert.folding import fold_constants, weighted_readers
from fer_hailo.training.convert.graph import Graph, graph_of
from fer_hailo.training.convert.kernels import is_weighted
from fer_hailo.training.convert.scaling import is_swish

FACTOR = 6


def write_out_swishes(model: keras.Model) -> keras.Model:
    """A copy of a Functional classifier that computes the same, its h-swishes written as products.

    An h-swish stays where its factor has no place: not only layers with weights read it, but an Add, say.
    Where no h-swish is replaced, that is `model` itself.
    """
    graph, operations = graph_of(model), {operation.name: operation for operation in model.operations}
    found = [name for name, operation in operations.items() if is_swish(operation)]
    swishes = {name for name in found if weighted_readers(graph, operations, name)}
    if not swishes:
        return model
    powers = Counter(carrier for name in swishes for carrier in _carriers(graph, operations, name))

    def clone(layer):
        config = layer.get_config()
        if layer.name in powers:
            config["name"] = multiple(layer.name, FACTOR ** powers[layer.name])
        return layer.__class__.from_config(config)

    def call(layer, *args, **options):
        if layer.name in swishes:
            return _product(args[0], _name(graph, swishes, layer.name))
        return layer(*args, **options)

    image = keras.Input(model.input_shape[1:], name="image")
    copy = keras.models.clone_model(model, input_tensors=image, clone_function=clone, call_function=call)
    for layer in model.layers:
        if layer.weights:
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    return fold_constants(copy)


def _product(x, name: str):
    """h-swish of a tensor x as an addition, a ReLU6, a product and a factor that is yet to be folded."""
    # A layer, since a bare x + 3 gets a number for its name, which the network may have already
    shifted = keras.layers.Rescaling(1.0, offset=3.0, name=name + GATE)(x)
    gate = keras.layers.ReLU(6.0, name=f"{name}_hard_swish_relu6")(shifted)
    product = keras.layers.Multiply(name=multiple(f"{name}_hard_swish", FACTOR))([x, gate])
    return keras.layers.Rescaling(1 / FACTOR, name=name + SIXTH)(product)


def _name(graph: Graph, swishes: set[str], name: str) -> str:
    """That of the layer before an h-swish, by which the float TFLite names it too."""
    (before,) = graph.inputs[name]
    return before if len(swishes.intersection(graph.consumers[before])) == 1 else name


def _carriers(graph: Graph, operations: dict, name: str) -> list[str]:
    """What stands between an h-swish and the layers with weights behind it; twice what two ways lead to."""
    between = [reader for reader in graph.consumers[name] if not is_weighted(operations[reader])]
    return between + [further for reader in between for further in _carriers(graph, operations, reader)]
