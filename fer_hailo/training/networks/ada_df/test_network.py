"""Ada-DF is the official network, of which one branch is kept."""

import keras
import numpy as np
from official import check

from fer_hailo.training.networks.ada_df import network
from fer_hailo.training.networks.resnet18.test_network import shrink  # noqa: F401, serves this one too

AFTER = {
    "feature.3": "feature.1_pool", "feature.4": "feature.4.1",
    **{f"branch_{b}_feature.{i}": f"branch_{b}_feature.{i}.1" for b in (1, 2) for i in range(3)},
    **{f"branch_{b}_feature.0.0.downsample": f"branch_{b}_feature.0.0.downsample.1" for b in (1, 2)},
    "out_1": "answer_1", "out_2": "answer_2",
}  # fmt: skip


def test_it_is_the_official_network():
    check("ada_df", network.ada_df_pair, AFTER)


def test_the_second_branch_alone_is_what_is_kept():
    """Ada-DF's saved network gives the second branch's logits before the gate, which cannot change the
    prediction.
    """
    pair, kept = network.ada_df_pair(64, 5), network.ada_df(64, 5)
    layers = {layer.name: layer for layer in pair.layers}
    for layer in kept.layers[1:]:
        layer.set_weights(layers[layer.name].get_weights())
    image = np.random.default_rng(0).normal(size=(3, 64, 64, 3)).astype("f4")
    second = np.asarray(pair(image)[0])
    gates = np.asarray(keras.Model(pair.input, pair.get_layer("alpha_2").output)(image))
    np.testing.assert_allclose(np.asarray(kept(image)) * gates, second, rtol=1e-4, atol=1e-6)


def test_inference_of_ada_df_is_a_resnet18():
    kept = network.ada_df(224, 7)
    # Torchvision's, with 7 classes
    assert sum(int(np.prod(w.shape)) for w in kept.trainable_weights) == 11_176_512 + 512 * 7 + 7
