"""Grad-CAM (Selvaraju et al. 2017), and the maps of heads that attend: what a .keras file shows of itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

LEAST = 3  # places along a map's side: fewer tell nothing about where
# The layers in which the heads of DAN (one map) and of DDAMFN (a gate for each channel and place) say where
# they look, by the names that both official codes give their heads.
HEAD = re.compile(r"cat_head\d+(-sa-sum)?")


def grad_cam(model: keras.Model) -> GradCam | None:
    """None where the network has no last feature map, or Keras runs on another backend."""
    features = last_map(model)
    known = keras.backend.backend() in ("tensorflow", "jax")
    return GradCam(model, features) if known and features is not None else None


class GradCam:
    """Grad-CAM at the last feature map of a classifier that gives logits, on TensorFlow or JAX.

    features: where, see `last_map`.
    """

    def __init__(self, model: keras.Model, features: keras.KerasTensor):
        self._before = keras.Model(model.input, features)
        self._after = keras.Model(features, model.outputs[0])

    def maps(self, images: np.ndarray, classes: Sequence[int] | np.ndarray) -> np.ndarray:
        """float32 (N, I, I, 3) as the network takes them, and a class for each, to float32 (N, I, I).

        The channels of the last map, each weighted by its mean gradient of the class's logit, summed;
        negative sums are 0. Enlarged bilinearly from the map's size.
        """
        features = self._before(images, training=False)
        chosen = ops.one_hot(ops.convert_to_tensor(np.asarray(classes)), self._after.output_shape[-1])
        slopes = _gradient(lambda x: ops.sum(self._after(x, training=False) * chosen), features)
        heat = ops.relu(ops.sum(ops.mean(slopes, axis=(1, 2), keepdims=True) * features, axis=-1))
        return _enlarged(heat, images.shape[1])


def last_map(model: keras.Model) -> keras.KerasTensor | None:
    """The last feature map, (B, H, W, C), through which every way from the image to the logits leads.

    None where there is none of LEAST x LEAST places or more: in transformers, in networks made of networks.
    """
    ends: dict[int, int] = {}  # tensor: the place of the last layer that reads it
    for place, layer in enumerate(model.layers):
        if isinstance(layer, keras.Model):
            return None
        for tensor in keras.tree.flatten(layer.input):
            ends[id(tensor)] = place
    found, learnt = None, False
    taken = 0  # until this place a tensor that was made before is read
    for place, layer in enumerate(model.layers):
        tensor, learnt = layer.output, learnt or bool(layer.weights)  # before, it is the image still
        is_map = len(tensor.shape) == 4 and min(tensor.shape[1:3]) >= LEAST
        if is_map and learnt and taken <= place:
            found = tensor
        taken = max(taken, ends.get(id(tensor), place))
    return found


class HeadMaps:
    """Where each head of DAN or DDAMFN looks; `count` is 0 for other networks."""

    def __init__(self, model: keras.Model):
        outputs = [layer.output for layer in model.layers if HEAD.fullmatch(layer.name)]
        self.count = len(outputs)
        self._model = keras.Model(model.input, outputs) if outputs else None

    def maps(self, images: np.ndarray) -> np.ndarray:
        """As GradCam's, of all heads: float32 (heads, N, I, I). Of several channels their mean."""
        if self._model is None:
            return np.empty((0, *images.shape[:3]), np.float32)
        found = keras.tree.flatten(self._model(images, training=False))
        return np.stack([_enlarged(ops.mean(each, axis=-1), images.shape[1]) for each in found])


def _enlarged(maps: Any, side: int) -> np.ndarray:
    """(N, H, W) to float32 (N, side, side)."""
    large = ops.image.resize(maps[..., None], (side, side), "bilinear", data_format="channels_last")
    return ops.convert_to_numpy(large)[..., 0].astype(np.float32)


def _gradient(function: Any, at: Any) -> Any:
    """Of a function to a single number; Keras has no call of its own for it."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(function)(at)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(at)
        value = function(at)
    return tape.gradient(value, at)
