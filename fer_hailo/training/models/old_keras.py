"""Open the .h5 files of Keras 1 and 2, whose layers are made anew with Keras 3. No code of a file is run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fer_hailo.common.errors import UserError, one_line
from fer_hailo.training.models.old_layers import Layer, NotTranslated, translate, translate_operation

SUFFIXES = (".h5", ".hdf5")
_MODELS = ("Model", "Functional", "Sequential")


def open_h5(path: Path) -> keras.Model:
    """The network of a .h5 file, not compiled: of Keras 3 as Keras opens it, of 1 and 2 by `old_layers`.

    Raises UserError where the file holds weights alone, or what is not translated, with the way to convert
    it; OSError and its like for a damaged file.
    """
    import h5py  # Keras needs it too, and only for such files

    with h5py.File(path, "r") as file:
        config, version = _text(file, "model_config"), _text(file, "keras_version") or "1"
        if version.split(".")[0].isdecimal() and int(version.split(".")[0]) >= 3 and config:
            return keras.models.load_model(path, compile=False)
        try:
            if not config:
                raise NotTranslated("weights alone, no network")
            if _text(file, "backend") == "theano" or _text(file["model_weights"], "backend") == "theano":
                raise NotTranslated("kernels of Theano, which are turned by 180 degrees")
            model = _Builder().model(json.loads(config))
            _load_weights(model, file["model_weights"])
        except NotTranslated as reason:
            raise UserError(
                f"{path} (Keras {one_line(version, 20)}) has {one_line(reason, 160)}, which is not opened "
                "here: build the same network of "
                f"Keras 3's own layers, channels last, then network.load_weights('{path.name}') and "
                f"network.save('{path.stem}.keras')"
            ) from None
    return model


class _Builder:
    """Layers by the names in the file, and what they gave. One for each model."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}

    def model(self, content: dict[str, Any]) -> keras.Model:
        """content: {"class_name", "config"} of a Functional or Sequential model, nested or not."""
        kind, config = content["class_name"], content["config"]
        if kind not in _MODELS:
            raise NotTranslated(f"a network of the class {kind}")
        named = config if isinstance(config, dict) else {"layers": config}
        ends = self._sequential(named["layers"]) if kind == "Sequential" else self._functional(named)
        name = named.get("name") or content.get("name")
        return keras.Model(*ends, name=_name(name) if name else None)

    def _functional(self, config: dict[str, Any]) -> tuple[Any, Any]:
        waiting = list(config["layers"])
        while waiting:
            ready = [content for content in waiting if self._sources(content) <= set(self.given)]
            if not ready:
                raise NotTranslated(f"a layer, {waiting[0]['name']}, whose input is missing")
            for content in ready:
                self.given[content["name"]] = self._called(content)
            waiting = [content for content in waiting if content["name"] not in self.given]
        ends = [_end(config, key) for key in ("input_layers", "output_layers")]
        return self.given[ends[0]], self.given[ends[1]]

    def _sources(self, content: dict[str, Any]) -> set[str]:
        """The names of the layers that a layer of a Functional model reads."""
        nodes = content["inbound_nodes"]
        if len(nodes) > 1:
            raise NotTranslated(f"a layer, {content['name']}, that is called {len(nodes)} times")
        if content["class_name"] != "TFOpLambda":
            return {entry[0] for node in nodes for entry in node}
        read = [nodes[0], nodes[0][3].get("y")]
        return {each[0] for each in read if _is_tensor(each)}

    def _called(self, content: dict[str, Any]) -> Any:
        if content["class_name"] == "InputLayer":
            return _input(content["config"]["batch_input_shape"])
        (node,) = content["inbound_nodes"]
        if content["class_name"] == "TFOpLambda":
            return self._operation(content["config"], node)
        for entry in node:  # Keras 1 gives no options with which a layer is called
            unknown = set(entry[3] if len(entry) > 3 else ()) - {"training", "mask"}
            if unknown:
                raise NotTranslated(f"a layer, {content['name']}, that is called with {', '.join(unknown)}")
        taken = [self.given[entry[0]] for entry in node]
        return self._call(content, taken if len(taken) > 1 else taken[0])

    def _sequential(self, layers: list[dict[str, Any]]) -> tuple[Any, Any]:
        image = x = _input(_shape_of(layers[0]))
        for content in layers[layers[0]["class_name"] == "InputLayer" :]:
            x = self._call(content, x)
        return image, x

    def _call(self, content: dict[str, Any], taken: Any) -> Any:
        if content["class_name"] in _MODELS:
            return _Builder().model(content)(taken)
        return _made(translate(content["class_name"], content["config"]), taken, content["config"])

    def _operation(self, config: dict[str, Any], node: list[Any]) -> Any:
        """node: [layer, 0, 0, options], where an option may be a layer too; or a constant in its place."""
        function, options = config["function"], dict(node[3])
        options.pop("name", None)
        read = [node if _is_tensor(node) else node[2], *([options.pop("y")] if "y" in options else [])]
        numbers = [None if _is_tensor(each) else each for each in read]
        if any(isinstance(number, list | str) for number in numbers):
            raise NotTranslated(f"the operation tf.{function} of more than a number")
        tensors = [self.given[each[0]] for each in read if _is_tensor(each)]
        layer = translate_operation(function, numbers, options)
        return _made(layer, tensors if len(tensors) > 1 else tensors[0], config)


def _is_tensor(entry: Any) -> bool:
    """Whether an entry of a node stands for what a layer gave: [layer, 0, 0, ...]."""
    return isinstance(entry, list) and len(entry) >= 3 and isinstance(entry[0], str) and entry[1] != -1


def _end(config: dict[str, Any], key: str) -> str:
    """The one layer with which a model begins or ends."""
    listed = config[key]
    if len(listed) == 1:
        return listed[0][0]
    if len(listed) == 3 and isinstance(listed[0], str):  # of one layer, without the list around it
        return listed[0]
    raise NotTranslated(f"{len(listed)} {key.replace('_', ' ')}")


def _shape_of(first: dict[str, Any]) -> list[int | None]:
    """The input of a Sequential model, which its first layer states, or that of a model in its place."""
    config = first["config"]
    if first["class_name"] in _MODELS:
        inner = config["layers"] if isinstance(config, dict) else config
        return _shape_of(inner[0])
    if "batch_input_shape" not in config:
        raise NotTranslated("no size of its input")
    return config["batch_input_shape"]


def _input(shape: list[int | None]) -> Any:
    if len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3):
        raise NotTranslated("its channels first")
    return keras.Input(tuple(shape[1:]))


def _made(layer: Layer, taken: Any, config: dict[str, Any]) -> Any:
    """What a layer gives for a tensor or a list of them."""
    if layer.kind:
        name = _name(config["name"])
        made = getattr(keras.layers, layer.kind)(**layer.options, dtype="float32", name=name)
        made.trainable = config.get("trainable", True)
        taken = made(taken)
    for number, after in enumerate(layer.then, 1):
        taken = _made(after, taken, {"name": f"{config['name']}_{number}"})
    return taken


def _load_weights(model: keras.Model, group: Any) -> None:
    """Each layer's weights lie in a group of its name, those that train first; a model's in one group."""
    leaves = {leaf.name: leaf for leaf in _leaves(model)}
    layers = leaves | {layer.name: layer for layer in model.layers}
    filled = set()
    for name in _strings(group, "layer_names"):
        arrays = [np.asarray(group[name][weight]) for weight in _strings(group[name], "weight_names")]
        if not arrays:
            continue
        if _name(name) not in layers:
            raise NotTranslated(f"weights of a layer, {name}, that its network lacks")
        inner = list(_leaves(layers[_name(name)]))
        variables = [variable for leaf in inner for variable in leaf.weights]
        variables.sort(key=lambda variable: not variable.trainable)  # else they stay as they stand
        _assign(variables, arrays, name)
        filled |= {leaf.name for leaf in inner}
    for name, leaf in leaves.items():
        if leaf.weights and name not in filled:
            raise NotTranslated(f"no weights of its layer {name}")
        if isinstance(leaf, keras.layers.Normalization):
            leaf.finalize_state()


def _assign(variables: list[keras.Variable], arrays: list[np.ndarray], name: str) -> None:
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [array.shape for array in arrays]:
        raise NotTranslated(f"weights of its layer {name} that do not fit it")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _leaves(layer: keras.Layer) -> Iterator[keras.Layer]:
    """The layers of a model and of those in it; a layer itself."""
    if isinstance(layer, keras.Model):
        for inner in layer.layers:
            yield from _leaves(inner)
    else:
        yield layer


def _name(name: str) -> str:
    """As Keras 3 takes it, on every backend."""
    return re.sub(r"[/.]", "_", name)


def _text(group: Any, key: str) -> str:
    value = group.attrs.get(key, "")
    return value.decode() if isinstance(value, bytes) else str(value)


def _strings(group: Any, key: str) -> list[str]:
    """A list of names, which Keras cuts into key0, key1, ... where it is long."""
    keys = [key] if key in group.attrs else [f"{key}{i}" for i in range(len(group.attrs))]
    values = [value for each in keys if each in group.attrs for value in group.attrs[each]]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]
