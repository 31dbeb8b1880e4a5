"""The graph of a Functional Keras model, and the rebuilding of it with some layers changed or left out."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import keras
import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.predict import private


@dataclass(frozen=True)
class Graph:
    """Names only. inputs: the operations that each operation reads, in order; consumers: those that read
    it.
    """

    inputs: dict[str, list[str]]
    consumers: dict[str, list[str]]

    def only_consumer(self, name: str) -> str | None:
        """The one operation that reads `name`; None when there are several or none."""
        readers = self.consumers.get(name, [])
        return readers[0] if len(readers) == 1 else None


@dataclass
class Edit:
    """A change of a model. weights: layer name to its new weights; config: layer name to changed
    configuration values; bypass: operation name to the number of the input that replaces its output.
    """

    weights: dict[str, list[np.ndarray]] = field(default_factory=dict)
    config: dict[str, dict] = field(default_factory=dict)
    bypass: dict[str, int] = field(default_factory=dict)


def flatten(model: keras.Model) -> keras.Model:
    """A Functional float32 copy of a model in which no layer is a model itself: one list of layers from the
    input to the output.

    Raises UserError for anything but one input, one output and a graph that Keras knows.
    """
    # The latter: Functional, whose class is not public
    known = isinstance(model, keras.Sequential) or hasattr(model, "operations")
    if not known or not model.built or len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UserError(
            "the model is not a classifier of images: a Functional or Sequential model with one input and "
            "one output is needed"
        )
    image = keras.Input(model.input_shape[1:], name="image")
    pairs: list[tuple] = []
    flat = keras.Model(image, _inline(model, image, pairs), name=model.name)
    for copy, original in pairs:
        if getattr(original, "weights", None):
            copy.set_weights(original.get_weights())
    return flat


def as_logits(model: keras.Model) -> keras.Model:
    """The model without the softmax at its end, if it has one: every file of this project gives logits."""
    last = last_operation(model)
    activation = getattr(last, "activation", None)
    if type(last).__name__ == "Softmax" or (
        isinstance(last, keras.layers.Activation) and activation is keras.activations.softmax
    ):
        return keras.Model(model.input, last.input, name=model.name)
    if activation is keras.activations.softmax:
        return rebuild(model, Edit(config={last.name: {"activation": "linear"}}))
    return model


def last_operation(model: keras.Model) -> keras.Operation:
    """The layer or bare operation that makes the model's output."""
    (name,) = [name for name, readers in graph_of(model).consumers.items() if not readers]
    return next(operation for operation in model.operations if operation.name == name)


def graph_of(model: keras.Model) -> Graph:
    """Read the graph from the model's public configuration.

    Every operation must stand in it once (no shared layers).
    """
    inputs: dict[str, list[str]] = {}
    for layer in model.get_config()["layers"]:
        histories: list[tuple[str, int, int]] = []
        _collect_histories(layer["inbound_nodes"], histories)
        inputs[layer["name"]] = [name for name, _, _ in histories]
    consumers: dict[str, list[str]] = {name: [] for name in inputs}
    for name, sources in inputs.items():
        for source in sources:
            consumers[source].append(name)
    return Graph(inputs, consumers)


def numbers_of(model: keras.Model, name: str) -> list[float | None]:
    """The arguments that a bare operation (x * 0.5) is called with: plain numbers, and None for each other
    one.
    """
    (layer,) = [layer for layer in model.get_config()["layers"] if layer["name"] == name]
    arguments = [
        value for node in layer["inbound_nodes"] for value in (*node["args"], *node["kwargs"].values())
    ]
    return [float(v) if isinstance(v, int | float) and not isinstance(v, bool) else None for v in arguments]


def rebuild(model: keras.Model, edit: Edit) -> keras.Model:
    """A copy of `model` with the changes of `edit`. Layers that nothing reads any more are gone."""

    def clone(layer):
        config = layer.get_config() | edit.config.get(layer.name, {})
        return layer.__class__.from_config(config)

    def call(layer, *args, **options):
        if layer.name in edit.bypass:  # a layer takes its inputs as one list, a bare operation one by one
            return (args[0] if isinstance(args[0], (list, tuple)) else args)[edit.bypass[layer.name]]
        return layer(*args, **options)

    image = keras.Input(model.input_shape[1:], name="image")
    copy = keras.models.clone_model(model, input_tensors=image, clone_function=clone, call_function=call)
    for layer in copy.layers:
        if layer.weights:
            layer.set_weights(edit.weights.get(layer.name) or model.get_layer(layer.name).get_weights())
    return copy


def _inline(model: keras.Model, tensor, pairs: list[tuple]):
    """Call float32 copies of the model's layers on `tensor`, entering models among them.

    Adds (copy, original) to `pairs`.
    """
    copies: dict[int, keras.Operation] = {}

    def copy(layer):  # a model's own layers are copied when it is entered
        if isinstance(layer, keras.Model):
            return layer
        if id(layer) not in copies:
            config, taken = layer.get_config(), {done.name for done, _ in pairs}
            names = itertools.chain(
                [layer.name], (f"{model.name}_{layer.name}_{number}" for number in itertools.count(1))
            )
            config["name"] = next(name for name in names if name not in taken)
            if "dtype" in config:  # trained in half precision, its weights are float32 all the same
                config["dtype"] = "float32"
            copies[id(layer)] = layer.__class__.from_config(config)
            pairs.append((copies[id(layer)], layer))
        return copies[id(layer)]

    def call(layer, *args, **options):
        return _inline(layer, args[0], pairs) if isinstance(layer, keras.Model) else layer(*args, **options)

    if isinstance(model, keras.Sequential):
        for layer in model.layers:
            tensor = call(copy(layer), tensor)
        return tensor
    return private.call_through(model, tensor, call, copy)


def _collect_histories(value, found: list) -> None:
    """Every keras_history in the nested arguments of a call, in order."""
    if isinstance(value, dict):
        if "keras_history" in value:
            found.append(value["keras_history"])
        else:
            for part in value.values():
                _collect_histories(part, found)
    elif isinstance(value, list | tuple):
        for part in value:
            _collect_histories(part, found)
