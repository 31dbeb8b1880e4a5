"""The graph of a Functional Keras model, and the rebuilding of it with some layers changed or left out."""

from __future__ import annotations

from dataclasses import dataclass, field

import keras
import numpy as np


@dataclass(frozen=True)
class Graph:
    """Names only. inputs: the operations that each operation reads, in order; consumers: those that read it."""

    inputs: dict[str, list[str]]
    consumers: dict[str, list[str]]

    def only_consumer(self, name: str) -> str | None:
        """The one operation that reads `name`; None when there are several or none."""
        readers = self.consumers.get(name, [])
        return readers[0] if len(readers) == 1 else None


@dataclass
class Edit:
    """A change of a model. weights: layer name to its new weights; config: layer name to changed configuration values;
    bypass: operation name to the number of the input that replaces its output."""

    weights: dict[str, list[np.ndarray]] = field(default_factory=dict)
    config: dict[str, dict] = field(default_factory=dict)
    bypass: dict[str, int] = field(default_factory=dict)


def flatten(model: keras.Model) -> keras.Model:
    """A Functional copy of a model in which no layer is a model itself: one list of layers from the input to the output."""
    image = keras.Input(model.input_shape[1:], name="image")
    flat = keras.Model(image, _inline(model, image), name=model.name)
    leaves = {layer.name: layer for layer in model._flatten_layers() if not isinstance(layer, keras.Model)}
    for layer in flat.layers:
        if layer.weights:
            layer.set_weights(leaves[layer.name].get_weights())
    return flat


def as_logits(model: keras.Model) -> keras.Model:
    """The model without the softmax at its end, if it has one: every file of this project gives logits."""
    last = model.layers[-1]
    if isinstance(last, keras.layers.Softmax) or (
        isinstance(last, keras.layers.Activation) and last.activation is keras.activations.softmax
    ):
        return keras.Model(model.input, last.input, name=model.name)
    if getattr(last, "activation", None) is keras.activations.softmax:
        return rebuild(model, Edit(config={last.name: {"activation": "linear"}}))
    return model


def graph_of(model: keras.Model) -> Graph:
    """Read the graph from the model's public configuration. Every operation must stand in it once (no shared layers)."""
    inputs = {}
    for layer in model.get_config()["layers"]:
        histories = []
        _collect_histories(layer["inbound_nodes"], histories)
        inputs[layer["name"]] = [name for name, _, _ in histories]
    consumers = {name: [] for name in inputs}
    for name, sources in inputs.items():
        for source in sources:
            consumers[source].append(name)
    return Graph(inputs, consumers)


def rebuild(model: keras.Model, edit: Edit) -> keras.Model:
    """A copy of `model` with the changes of `edit`. Layers that nothing reads any more are gone."""

    def clone(layer):
        config = layer.get_config() | edit.config.get(layer.name, {})
        return layer.__class__.from_config(config)

    def call(layer, *args, **options):
        if layer.name in edit.bypass:
            return args[0][edit.bypass[layer.name]]
        return layer(*args, **options)

    image = keras.Input(model.input_shape[1:], name="image")
    copy = keras.models.clone_model(model, input_tensors=image, clone_function=clone, call_function=call)
    for layer in copy.layers:
        if layer.weights:
            layer.set_weights(edit.weights.get(layer.name) or model.get_layer(layer.name).get_weights())
    return copy


def _inline(model: keras.Model, tensor):
    """Call copies of the model's layers on `tensor`, entering models among them."""
    if isinstance(model, keras.Sequential):
        for layer in model.layers:
            tensor = _inline(layer, tensor) if isinstance(layer, keras.Model) else layer.__class__.from_config(layer.get_config())(tensor)
        return tensor

    copies: dict[str, keras.layers.Layer] = {}

    def copy(layer):  # a model's own layers are copied when it is entered
        if isinstance(layer, keras.Model):
            return layer
        return copies.setdefault(layer.name, layer.__class__.from_config(layer.get_config()))

    def call(layer, *args, **options):
        return _inline(layer, args[0]) if isinstance(layer, keras.Model) else layer(*args, **options)

    # What keras.models.clone_model does, which itself begins at inputs only, not at any tensor.
    outputs = model._run_through_graph(tensor, operation_fn=copy, call_fn=call)
    return outputs[0] if isinstance(outputs, (list, tuple)) else outputs


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
