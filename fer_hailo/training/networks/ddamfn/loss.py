"""DDAMFN's loss (Zhang et al. 2023): heads that attend to different places."""

from __future__ import annotations

from itertools import combinations

import keras
from keras import ops

from fer_hailo.training.networks.ddamfn.network import MAPS
from fer_hailo.training.networks.taps import tapped


def answer(network: keras.Model, faces, targets, setting):
    """The logits, with the diversity of the heads' maps added to the loss."""
    logits, *maps = tapped(network, *MAPS)(faces)
    weight = setting.config.loss.diversity_weight
    return Diversity(weight, dtype="float32", name="diversity")(logits, *maps)


def alike(maps):
    """Pairs of maps, each (B, H, W, C), over the sum of their mean squared differences."""
    pairs = list(combinations(maps, 2))
    return len(pairs) / ops.maximum(sum(ops.mean((one - other) ** 2) for one, other in pairs), 1e-12)


class Diversity(keras.layers.Layer):
    """Passes logits on and adds `weight` times how alike the maps are."""

    def __init__(self, weight: float = 0.1, **options):
        super().__init__(**options)
        self.weight = weight

    def call(self, logits, *maps):
        self.add_loss(self.weight * alike(maps))
        return logits

    def compute_output_shape(self, logits_shape, *shapes):
        return logits_shape
