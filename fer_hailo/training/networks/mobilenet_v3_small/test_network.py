"""What is left of MobileNetV3Small without the parts that 8 bits like least."""

import keras
import numpy as np

from fer_hailo.training.networks.mobilenet_v3_small import network


def test_without_squeeze_and_excite_its_parameters_are_gone():
    """Of the paper's table: expanded channels e of the blocks that have it, r units between, with their
    biases.
    """
    gates = [(16, 8), (96, 24), (240, 64), (240, 64), (120, 32), (144, 40), (288, 72), (576, 144), (576, 144)]
    variant = network.small_without_se(32, None)
    assert 939_120 - variant.count_params() == sum(2 * e * r + e + r for e, r in gates)
    assert not any("squeeze_excite" in layer.name for layer in variant.layers)


def test_relu6_computes_what_it_says():
    """The stem by hand: convolution, batch norm, then min(max(x, 0), 6)."""
    variant = network.small_relu6(32, None)
    assert variant.count_params() == 939_120
    assert keras.activations.hard_swish not in [
        getattr(layer, "activation", None) for layer in variant.layers
    ]
    norm = variant.get_layer("conv_bn")
    first = next(layer for layer in variant.layers if isinstance(layer, keras.layers.ReLU))
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("f4") * 30
    before, after = keras.Model(variant.input, [norm.output, first.output])(images)
    assert np.asarray(before).max() > 6
    np.testing.assert_array_equal(np.asarray(after), np.clip(np.asarray(before), 0, 6))


def test_without_squeeze_and_excite_open_gates_change_nothing():
    """A gate of 1 everywhere is no gate: the full network with its hard sigmoids saturated equals the
    variant.
    """
    full = network.small(32, None)
    variant = network.small_without_se(32, None)
    for layer in full.layers:
        if layer.name.endswith("squeeze_excite_conv_1"):
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel * 0, bias * 0 + 10])
        elif layer.weights:
            layer.set_weights(
                variant.get_layer(layer.name).get_weights()
                if layer.name in {x.name for x in variant.layers}
                else layer.get_weights()
            )
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("f4")
    np.testing.assert_allclose(np.asarray(full(images)), np.asarray(variant(images)), atol=1e-5)
