"""Ada-DF's two branches (Liu et al. 2023) for any network with the common head: the first is a twin that only
training has.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from fer_hailo.training.networks.ada_df.network import gated_pair

TWIN = "twin"
SHARED = 4  # maps down to a quarter of the input's side are common, as in the paper's ResNet-18


def twin_pair(
    model: keras.Model, backbone: Sequence[keras.layers.Layer], features, copied: bool
) -> keras.Model:
    """What trains in the stead of a classifier: from its input to the second and the first branch's logits,
    each times its gate, and the mean gate (B, 1). The second branch is the classifier itself, the first a
    layer called twin.

    backbone: its layers before the head, in order. features: what the gate sees, (B, D). copied: whether the
    twin's part of the backbone starts with the same weights; its head, and the backbone of a network that
    starts from scratch, are drawn anew.
    """
    start, branch = _branch(model, backbone, features)
    twin = keras.models.clone_model(branch, clone_function=_clone)
    if copied:
        own = {layer.name: layer for layer in twin.layers}
        for layer in backbone:
            if layer.name in own:
                own[layer.name].set_weights(layer.get_weights())
    return gated_pair(model.input, twin(start), (features, model.output), model.name)


def _branch(model: keras.Model, backbone: Sequence[keras.layers.Layer], features):
    """Where the branches part, and the network from there on.

    That is the last place which all that follows goes through.
    """
    side = model.input_shape[1] / SHARED
    # The first is the input, which always serves
    for layer in reversed([layer for layer in backbone if layer.output.shape[1] >= side]):
        try:
            return layer.output, keras.Model(layer.output, [features, model.output], name=TWIN)
        except ValueError:  # Keras': the graph goes past this layer
            continue
    raise AssertionError("a network begins with its input")


def _clone(layer: keras.layers.Layer) -> keras.layers.Layer:
    """The same layer with new weights; dropout falls elsewhere than in the original."""
    config = layer.get_config()
    if isinstance(layer, keras.layers.Dropout):
        config["seed"] += 1000
    return type(layer).from_config(config)
