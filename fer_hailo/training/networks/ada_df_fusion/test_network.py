"""The second branch that Ada-DF's method gives to a network while it trains."""

import keras
import numpy as np
import tiny  # noqa: F401, registers the network
from keras import ops

from fer_hailo.common.config import Config
from fer_hailo.training.models.build import build_model, set_stage

TINY = Config.of(
    arch="tiny",
    weights="none",
    input_size=32,
    head_units=(8,),
    head_dropout=(0.5, 0.5),
    batch_norm_momentum=0.9,
    method="ada_df_fusion",
)


def weights(layer: keras.layers.Layer) -> list[np.ndarray]:
    return [ops.convert_to_numpy(value) for value in layer.weights]


def test_a_resnet_parts_where_the_paper_has_it():
    """The beginning and the first stage are common, the other three stages are there twice: as in --arch
    ada_df, but for the names.
    """
    config = TINY.change(arch="resnet18", input_size=64, head_units=(), head_dropout=(0.3,))
    pair, single = build_model(config, training=True), build_model(config)
    twice = {layer.name for layer in pair.get_layer("twin").layers if layer.weights}
    common = {layer.name for layer in single.layers if layer.weights} - twice
    assert {name.split("-")[0] for name in common} == {"conv1", "bn1", "layer1"}
    assert {name.split("-")[0] for name in twice} == {"layer2", "layer3", "layer4", "head_norm", "logits"}
    official = build_model(Config.of(arch="ada_df", weights="none", input_size=64), training=True)
    assert pair.count_params() == official.count_params() + 2 * 4 * 512  # each common head has a norm


def test_the_answer_is_that_of_the_network_times_its_gate():
    pair = build_model(TINY, training=True)
    faces = np.random.default_rng(0).uniform(-1, 1, (3, 32, 32, 3)).astype("f4")
    second, first, gate = (ops.convert_to_numpy(value) for value in pair(faces))
    layers = [pair.get_layer(name) for name in ("head_pool", "logits", "alpha_1-0", "alpha_2-0", "act0")]
    seen = keras.Model(pair.input, [layer.output for layer in layers])
    _, logits, *before, beginning = (ops.convert_to_numpy(value) for value in seen(faces))
    gates = [1 / (1 + np.exp(-value)) for value in before]
    np.testing.assert_allclose(second, logits * gates[1], rtol=1e-5)
    np.testing.assert_allclose(gate, (gates[0] + gates[1]) / 2, rtol=1e-6)
    twin = pair.get_layer("twin")
    # No map before it is as small as 32 / 4
    assert twin.input_shape[1:] == beginning.shape[1:] == (15, 15, 8)
    np.testing.assert_allclose(first, ops.convert_to_numpy(twin(beginning)[1]) * gates[0], rtol=1e-5)


def test_how_the_branches_start(tmp_path):
    """From nothing they differ; from weights the backbones are alike. Heads differ, and dropout does."""
    pair = build_model(TINY, training=True)
    twin = pair.get_layer("twin")
    assert not np.allclose(weights(twin.get_layer("conv1"))[0], weights(pair.get_layer("conv1"))[0])
    single = build_model(TINY.change(method="plain"))
    single.save(tmp_path / "m.keras")
    pair = build_model(TINY.change(weights=str(tmp_path / "m.keras")), training=True)
    twin = pair.get_layer("twin")
    np.testing.assert_array_equal(weights(twin.get_layer("conv1"))[0], weights(single.get_layer("conv1"))[0])
    np.testing.assert_array_equal(
        weights(pair.get_layer("logits"))[0], weights(single.get_layer("logits"))[0]
    )
    assert not np.allclose(weights(twin.get_layer("logits"))[0], weights(single.get_layer("logits"))[0])
    assert twin.get_layer("head_dropout").seed != pair.get_layer("head_dropout").seed
    assert build_model(TINY).output_shape == (None, 5)  # without training there is no twin


def test_stages_go_for_both_branches():
    pair = build_model(TINY, training=True)
    twin = pair.get_layer("twin")
    for stage, unfreeze, train_norms, free in (
        (1, -1, True, set()),
        (2, 2, True, {"norm1"}),
        (2, -1, False, {"conv0", "conv1"}),
    ):
        set_stage(pair, stage, unfreeze, train_norms)
        trains = {
            layer.name for layer in pair.layers if layer.weights and layer.trainable and layer.name != "twin"
        }
        assert trains == free | {"head_norm", "head_dense1", "head_norm1", "logits", "alpha_1-0", "alpha_2-0"}
        assert {layer.name for layer in twin.layers if layer.weights and layer.trainable} == trains - {
            "conv0",
            "alpha_1-0",
            "alpha_2-0",
        }
    set_stage(pair, 2, -1, True, freeze=["conv1"])
    assert not pair.get_layer("conv1").trainable and not twin.get_layer("conv1").trainable
