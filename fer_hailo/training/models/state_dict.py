"""Checkpoints of PyTorch, read with numpy alone, and their way into a Keras model whose layers are called as
the modules are, with - for the dot.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
from keras import layers

from fer_hailo.common.errors import UserError
from fer_hailo.formats.checkpoint import read_tensors
from fer_hailo.training.networks.blocks import DEVIATION

# Where a layer's variables stand in a state dict, and how axes turn: PyTorch has channels first.
Places = dict[str, tuple[str, tuple[int, ...] | None]]
_NORM: Places = {"gamma": ("weight", None), "beta": ("bias", None)}
_NAMES: dict[type, Places] = {
    layers.Conv2D: {"kernel": ("weight", (2, 3, 1, 0)), "bias": ("bias", None)},
    layers.DepthwiseConv2D: {"kernel": ("weight", (2, 3, 0, 1)), "bias": ("bias", None)},
    layers.Conv1D: {"kernel": ("weight", (2, 1, 0)), "bias": ("bias", None)},
    layers.Conv1DTranspose: {"kernel": ("weight", (2, 1, 0)), "bias": ("bias", None)},
    layers.Dense: {"kernel": ("weight", (1, 0)), "bias": ("bias", None)},
    layers.BatchNormalization: {
        **_NORM,
        "moving_mean": ("running_mean", None),
        "moving_variance": ("running_var", None),
    },
    layers.LayerNormalization: _NORM,
    layers.PReLU: {"alpha": ("weight", None)},
}
Tensors = Mapping[str, np.ndarray]
Renamed = Mapping[str, Iterable[str]]


def load_state_dict(
    model: keras.Model,
    tensors: Tensors,
    renamed: Renamed,
    skip: Collection[str] = (),
    source: Path | str = "the checkpoint",
) -> tuple[list[str], list[str]]:
    """Copy tensors of a PyTorch state dict into the layers that are called as their modules, with - for the
    dot.

    renamed: {the beginning of a name in the file: the beginnings under which layers look for it}, for
    backbones that stand below another name in the whole network. skip: names of layers that are left alone.
    source: what an error calls the tensors' file.
    Returns the names of layers without a tensor, which stay as they were, and of tensors without a layer.
    Raises UserError where nothing fits, a shape does not, or a layer is only half there.
    """
    found = rename(tensors, renamed)
    used, left = set(), []
    for layer in model.layers:
        wanted = _wanted(layer)
        have = [key for key, _, _ in wanted if key in found]
        used.update(have)
        if not have or layer.name in skip:
            left += [layer.name] if wanted else []
            continue
        if len(have) < len(wanted):
            lost = next(key for key, _, _ in wanted if key not in found)
            raise UserError(f"{source} has {have[0]}, but no {lost}: it is of another network")
        for key, variable, axes in wanted:
            value = _turned(found[key], axes)
            if isinstance(layer, layers.PReLU) and value.size == np.prod(variable.shape):
                value = value.reshape(variable.shape)  # one slope for a channel, wherever it is
            if value.shape != tuple(variable.shape):
                raise UserError(
                    f"{source} has {key} of the shape {found[key].shape}, which does not fit "
                    f"{tuple(variable.shape)}"
                )
            variable.assign(value)
    if not used:
        raise UserError(
            f"no tensor of {source} has the name of a layer: it holds {', '.join(list(tensors)[:3])[:200]}, "
            "..."
        )
    return left, [name for name in found if name not in used]


def load_checkpoints(paths: Sequence[str], model: keras.Model, renamed: Renamed) -> None:
    """`load_state_dict` of one or more files (.npz, .pth) into a network that begins with `blocks.picture`.

    The code that such files are of normalises images by ImageNet's mean and deviation. The last layer starts
    anew, since nothing says in which order a file has its classes. Says on standard error what of the network
    the files leave as it was.
    """
    left, last = {layer.name for layer in model.layers}, last_layers(model)
    for path in paths:
        without, unused = load_state_dict(model, read_tensors(path), renamed, last, path)
        _take_images(model, without)
        left &= set(without)
        print(
            f"{path}: {len(unused):,} tensors are of no layer here" if unused else f"{path}: all tensors fit",
            file=sys.stderr,
        )
    named = sorted(left)
    print(
        f"{len(left):,} layers start from scratch: {', '.join(named[:4])}{', ...' * (len(left) > 4)}",
        file=sys.stderr,
    )


def load_whole(path: Path, model: keras.Model) -> None:
    """A checkpoint of the whole network that the official code of its paper wrote, the last layer too, into a
    network that begins with `blocks.picture`. Raises UserError where it lacks a layer, or tells another
    number of classes apart.
    """
    tensors, count = rename(read_tensors(path), {}), model.outputs[0].shape[-1]
    for name in last_layers(model):
        weight = tensors.get(f"{name.replace('-', '.')}.weight")
        if weight is not None and len(weight) != count:
            raise UserError(
                f"{path} tells {len(weight)} classes apart, {count} are named: name all, in the order of the "
                "outputs, with --classes"
            )
    left, _ = load_state_dict(model, tensors, {}, source=path)
    if left:
        raise UserError(
            f"{path} is no whole {model.name}: it has nothing for {len(left)} of its layers, such as "
            f"{left[0]}; weights to start from are for training, with --weights"
        )
    _take_images(model)


def _take_images(model: keras.Model, without: Collection[str] = ()) -> None:
    """Let the first kernels take images as they are here: the official ones have a deviation of 1.

    without: layers that a file had nothing for.
    """
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D) and layer.kernel.shape[2] == 3 and layer.name not in without:
            layer.kernel.assign(layer.kernel * (127.5 / DEVIATION)[:, None])


def _wanted(layer: layers.Layer) -> list[tuple[str, keras.Variable, tuple[int, ...] | None]]:
    """The keys of a layer's variables, with the order of axes. Variables of layers of our own are called by
    the official name, below the module in which the layer stands.
    """
    known = next((names for kind, names in _NAMES.items() if isinstance(layer, kind)), None)
    module = layer.name.replace("-", ".")
    keys = []
    for variable in layer.weights:
        name, axes = known[variable.name] if known else (variable.name, None)
        keys.append((f"{module if known else module.rpartition('.')[0]}.{name}", variable, axes))
    return keys


def last_layers(model: keras.Model) -> set[str]:
    """The names of the layers that have a number for each class."""
    classes = (None, model.outputs[0].shape[-1])
    return {
        layer.name
        for layer in model.layers
        if layer.weights and getattr(layer.output, "shape", None) == classes
    }


def _turned(value: np.ndarray, axes: tuple[int, ...] | None) -> np.ndarray:
    return value.transpose(axes) if axes and value.ndim == len(axes) else value


def rename(tensors: Tensors, renamed: Renamed) -> dict[str, np.ndarray]:
    """The tensors under the names of `load_state_dict`'s layers; one may come under several."""
    found = {}
    for name, value in tensors.items():
        name = name.removeprefix("module.")  # torch.nn.DataParallel
        starts = [(start, ends) for start, ends in renamed.items() if name.startswith(start)]
        if not starts:
            found[name] = value
        for start, ends in starts:
            found |= {end + name.removeprefix(start): value for end in ends}
    return found
