"""Checkpoints of PyTorch, read with numpy alone, and their way into a Keras model whose layers are called as the modules are."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy as np
from keras import layers

from fer_hailo.errors import UserError
from fer_hailo.models.blocks import DEVIATION
from fer_hailo.models.checkpoint import read_tensors

# Where a layer's variables stand in a state dict, and how axes turn: PyTorch has channels first.
_NORM = {"gamma": ("weight", None), "beta": ("bias", None)}
_NAMES: dict[type, dict[str, tuple[str, tuple[int, ...] | None]]] = {
    layers.Conv2D: {"kernel": ("weight", (2, 3, 1, 0)), "bias": ("bias", None)},
    layers.DepthwiseConv2D: {"kernel": ("weight", (2, 3, 0, 1)), "bias": ("bias", None)},
    layers.Conv1D: {"kernel": ("weight", (2, 1, 0)), "bias": ("bias", None)},
    layers.Conv1DTranspose: {"kernel": ("weight", (2, 1, 0)), "bias": ("bias", None)},
    layers.Dense: {"kernel": ("weight", (1, 0)), "bias": ("bias", None)},
    layers.BatchNormalization: {**_NORM, "moving_mean": ("running_mean", None), "moving_variance": ("running_var", None)},
    layers.LayerNormalization: _NORM,
    layers.PReLU: {"alpha": ("weight", None)},
}
Tensors = Mapping[str, np.ndarray]


def load_state_dict(
    model: keras.Model, tensors: Tensors, renamed: Mapping[str, Iterable[str]] | None = None
) -> tuple[list[str], list[str]]:
    """Copy tensors of a PyTorch state dict into the layers that are called as their modules.

    renamed: {the beginning of a name in the file: the beginnings under which layers look for it}, for backbones that stand below another
    name in the whole network. Returns the names of layers without a tensor, which stay as they were, and of tensors without a layer.
    A tensor of another shape is taken for another network, but for the last layers, whose shape follows from the number of classes.
    Raises UserError where nothing fits, or a layer is only half there.
    """
    found = _renamed(tensors, renamed or {})
    used, left, last = set(), [], answers(model)
    for layer in model.layers:
        wanted = _wanted(layer)
        have = [key for key, _, _ in wanted if key in found]
        if not have:
            left += [layer.name] if wanted else []
            continue
        if len(have) < len(wanted):
            lost = next(key for key, _, _ in wanted if key not in found)
            raise UserError(f"the checkpoint has {have[0]}, but no {lost}: it is of another network")
        values = [_turned(found[key], axes) for key, _, axes in wanted]
        wrong = next((i for i, (_, v, _) in enumerate(wanted) if values[i].size != np.prod(v.shape)), None)
        used.update(have)
        if wrong is None:
            for (_, variable, _), value in zip(wanted, values, strict=True):
                variable.assign(value.reshape(variable.shape))
        elif layer.name in last:
            left.append(layer.name)
        else:
            key, variable, _ = wanted[wrong]
            raise UserError(f"the checkpoint's {key} has the shape {found[key].shape}, which does not fit {tuple(variable.shape)}")
    if not used:
        raise UserError(f"no tensor of the checkpoint has the name of a layer: it holds {', '.join(list(tensors)[:3])}, ...")
    return left, [name for name in found if name not in used]


def load_checkpoints(paths: Sequence[str], model: keras.Model, renamed: Mapping[str, Iterable[str]]) -> None:
    """`load_state_dict` of one or more files (.npz, .pth) into a network that begins with `blocks.picture`.

    The code that such files are of normalises pictures by ImageNet's mean and deviation. Says on standard error what of the network they
    leave as it was.
    """
    left = {layer.name for layer in model.layers}
    for path in paths:
        without, unused = load_state_dict(model, read_tensors(path), renamed)
        for layer in model.layers:
            if isinstance(layer, layers.Conv2D) and layer.kernel.shape[2] == 3 and layer.name not in without:
                layer.kernel.assign(layer.kernel * (127.5 / DEVIATION)[:, None])  # the official pictures have a deviation of 1
        left &= set(without)
        print(f"{path}: {len(unused):,} tensors are of no layer here" if unused else f"{path}: all tensors fit", file=sys.stderr)
    if left:
        named = sorted(left)
        print(f"{len(left):,} layers start from nothing: {', '.join(named[:4])}{', ...' * (len(left) > 4)}", file=sys.stderr)


def _wanted(layer: layers.Layer) -> list[tuple[str, keras.Variable, tuple[int, ...] | None]]:
    """The keys of a layer's variables, with the order of axes. Variables of layers of our own are called by the official name, below
    the module in which the layer stands."""
    known = next((names for kind, names in _NAMES.items() if isinstance(layer, kind)), None)
    inside = layer.name.rpartition(".")[0]
    keys = []
    for variable in layer.weights:
        if "seed" in variable.name:  # the random state of a dropout
            continue
        name, axes = known[variable.name] if known else (variable.name, None)
        keys.append((f"{layer.name if known else inside}.{name}", variable, axes))
    return keys


def answers(model: keras.Model) -> set[str]:
    """The names of the layers that have a number for each class."""
    classes = {(None, output.shape[-1]) for output in model.outputs}
    return {layer.name for layer in model.layers if layer.weights and getattr(layer.output, "shape", None) in classes}


def _turned(value: np.ndarray, axes: tuple[int, ...] | None) -> np.ndarray:
    if axes and value.ndim == 4 and len(axes) == 2:  # a 1x1 convolution that is a dense layer here
        value = value[:, :, 0, 0]
    return value.transpose(axes) if axes and value.ndim == len(axes) else value


def _renamed(tensors: Tensors, renamed: Mapping[str, Iterable[str]]) -> dict[str, np.ndarray]:
    found = {}
    for name, value in tensors.items():
        name = name.removeprefix("module.")  # torch.nn.DataParallel
        starts = [(start, ends) for start, ends in renamed.items() if name.startswith(start)]
        if not starts:
            found[name] = value
        for start, ends in starts:
            found |= {end + name.removeprefix(start): value for end in ends}
    return found
