"""h-swish written out as x relu6(x + 3): by hand on two channels, and in the INT8 file that comes of it."""

import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.deploy.bundle import FLOAT, INT8
from fer_hailo.formats.tflite import multiple, read_tflite, single
from fer_hailo.predict.litert import LiteRT
from fer_hailo.sdk.rehearsal import layer_noise
from fer_hailo.training.convert.folding import fold_constants
from fer_hailo.training.convert.primitives import write_out_swishes
from fer_hailo.training.convert.quantise import quantise
from fer_hailo.training.convert.ranges import TensorRange, limits_of, tensor_ranges
from fer_hailo.training.convert.tflite import to_tflite

SPEC = PreprocessSpec(source_size=16, input_size=16)
L = keras.layers


def kinds(path):
    return [layer.operator for layer in read_tflite(path).layers]


@pytest.fixture
def plain():
    """With an input v the h-swish reads v and -2 v; the result is 3 h(v) + 6 h(-2 v)."""
    image = keras.Input((1, 1, 1))
    x = L.Activation("hard_swish", name="swish")(L.Conv2D(2, 1, use_bias=False, name="conv")(image))
    x = L.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(image, L.Dense(1, use_bias=False, name="end")(x))
    model.get_layer("conv").set_weights([np.float32([1, -2]).reshape(1, 1, 1, 2)])
    model.get_layer("end").set_weights([np.float32([[3], [6]])])
    return model


def test_two_channels_by_hand(plain):
    written = write_out_swishes(plain)
    values = np.float32([-4, -1, 0, 1, 2, 4]).reshape(-1, 1, 1, 1)
    # h(-4) = h(-8) = 0; h(-1) = -1/3, h(-2) = -1/3; h(1) = 2/3; h(2) = 5/3; h(4) = 4, h(8) = 8
    expected = [6 * 8, 3 * -1 / 3 + 6 * 5 / 3, 0, 3 * 2 / 3 + 6 * -1 / 3, 3 * 5 / 3, 3 * 4]
    assert written.predict_on_batch(values).ravel().tolist() == pytest.approx(expected, rel=1e-6, abs=1e-6)
    (kernel,) = written.get_layer("end").get_weights()
    assert kernel.ravel().tolist() == pytest.approx([3 / 6, 6 / 6], abs=1e-6)
    # Between the product and the dense layer six times the value: of 1 and -2 the products 1 * 4 and -2 * 1
    seen = keras.Model(written.input, written.get_layer("pool_x6").output).predict_on_batch(values[3:4])
    assert seen.ravel().tolist() == pytest.approx([4, -2], abs=1e-6)


def network(joined=False):
    """Squeeze-and-excite behind an h-swish, and a second h-swish; joined: an Add reads the first one too."""
    keras.utils.set_random_seed(3)
    image = keras.Input((16, 16, 3))
    x = L.Conv2D(8, 3, strides=2, padding="same", name="stem")(image)
    x = L.Activation("hard_swish")(x)
    gate = L.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    gate = L.Conv2D(8, 1, bias_initializer="ones", name="excite")(gate)
    y = L.Multiply(name="scale")([x, L.ReLU(6.0)(gate + 3.0) * (1 / 6)])
    y = L.Conv2D(8, 1, name="project")(y)
    y = L.Add(name="join")([x, y]) if joined else y
    y = L.Activation("hard_swish")(L.DepthwiseConv2D(3, padding="same", name="spatial")(y))
    y = L.Dense(3, name="answers")(L.GlobalAveragePooling2D(name="pool")(y))
    return fold_constants(keras.Model(image, y))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def made(tmp_path_factory, images):
    """(folder with float.tflite, written.tflite and int8.tflite, ranges of the second)"""
    folder, model = tmp_path_factory.mktemp("made"), network()
    (folder / "float.tflite").write_bytes(to_tflite(model))
    (folder / "written.tflite").write_bytes(to_tflite(write_out_swishes(model)))
    ranges = tensor_ranges(folder / "written.tflite", images, SPEC)
    quantise(folder / "written.tflite", folder / "int8.tflite", ranges, images, SPEC, folder)
    return folder, ranges


def test_the_float_files_answer_alike(made, images):
    folder, _ = made
    files = [folder / name for name in ("float.tflite", "written.tflite")]
    exact, written = (LiteRT(file).logits(images, SPEC) for file in files)
    np.testing.assert_allclose(written, exact, atol=1e-5)
    assert kinds(folder / "float.tflite").count("HARD_SWISH") == 2


def test_the_int8_file_has_no_h_swish_and_no_product_with_a_constant(made, images):
    folder, _ = made
    layers = read_tflite(folder / "int8.tflite").layers
    assert {layer.dtype for layer in layers} == {"int8"} and "HARD_SWISH" not in kinds(folder / "int8.tflite")
    products = [layer for layer in layers if layer.operator == "MUL"]
    assert len(products) == 3 and all(len(layer.inputs) == 2 for layer in products)
    exact, rounded = (LiteRT(folder / name).logits(images, SPEC) for name in ("float.tflite", "int8.tflite"))
    assert np.abs(exact - rounded).max() < 0.1 * np.ptp(exact)


def test_xnnpack_takes_the_int8_network_in_one_piece(made):
    folder, _ = made
    operators = LiteRT(folder / "int8.tflite")._interpreter._get_ops_details()
    taken = [operator["op_name"] for operator in operators].count("DELEGATE")
    assert taken == 1 and len(operators) == len(kinds(folder / "int8.tflite")) + 1


def test_names_tell_what_a_tensor_holds_six_times(made, images):
    folder, _ = made
    names = [layer.name for layer in read_tflite(folder / "int8.tflite").layers]
    assert names == [
        "stem", "stem_hard_swish_gate", "stem_hard_swish_x6", "squeeze_x6", "excite", "scale_x6", "project",
        "spatial", "spatial_hard_swish_gate", "spatial_hard_swish_x6", "pool_x6", "answers",
    ]  # fmt: skip
    files = [folder / name for name in ("float.tflite", "written.tflite")]
    exact, written = (LiteRT(file, keep_tensors=True).tensors(images[0], SPEC) for file in files)
    compared = {name: single(name) for name in written if single(name)[0] in exact}
    multiples = {name for name, (_, factor) in compared.items() if factor == 6}
    assert multiples == {name for name in names if name.endswith("x6")}
    for held, (name, factor) in compared.items():
        np.testing.assert_allclose(written[held], factor * exact[name], atol=1e-4, err_msg=held)


def test_noise_of_the_layers_is_that_of_the_single_values(made, images, tmp_path):
    folder, _ = made
    for made_as, held_as in (("float", FLOAT), ("int8", INT8)):
        shutil.copy(folder / f"{made_as}.tflite", tmp_path / held_as)
    found = layer_noise(SimpleNamespace(folder=tmp_path, spec=SPEC), images[:8])
    networks = [LiteRT(tmp_path / name, keep_tensors=True) for name in (FLOAT, INT8)]
    exact, rounded = ([network.tensors(image, SPEC) for image in images[:8]] for network in networks)
    assert set(found) == set(exact[0])  # every layer of the float network, by its own name
    for name, held in (("stem", "stem"), ("stem_hard_swish", "stem_hard_swish_x6"), ("scale", "scale_x6")):
        factor = 6 if held.endswith("_x6") else 1
        one = np.stack([tensors[name] for tensors in exact])
        other = np.stack([tensors[held] for tensors in rounded]) / factor
        ratio = 10 * np.log10(one.var() / ((one - other) ** 2).mean())
        assert found[name] == pytest.approx(ratio, abs=0.01) and ratio > 20


def test_names_of_multiples():
    assert multiple("conv", 6) == "conv_x6"
    assert single("conv_x6") == ("conv", 6) and single("a_x6_x36") == ("a_x6", 36)
    assert [single(name) for name in ("conv", "conv_xy", "_x6")] == [("conv", 1), ("conv_xy", 1), ("_x6", 1)]


def test_ranges_around_a_written_out_h_swish(made):
    """What it reads ends one step below -3, though two operators read it; relu6(x + 3) keeps its rare 6."""
    folder, ranges = made
    wide = TensorRange(np.float32([-20]), np.float32([9]), np.float32([0]), np.float32([-20, 9] * 500))
    gate = TensorRange(np.float32([0]), np.float32([6]), np.float32([0]), np.float32([0, 1] * 500))
    ranges = ranges | {"stem": wide, "project": wide, "stem_hard_swish_gate": gate}
    limits = limits_of(ranges, read_tflite(folder / "written.tflite"), "99.9")
    assert limits["stem"] == pytest.approx((-3 - 12 / 254, 9)) and limits["project"] == (-20, 9)
    assert limits["stem_hard_swish_gate"] == (0, 6)


def test_an_h_swish_whose_factor_has_no_place_stays(tmp_path):
    (tmp_path / "n.tflite").write_bytes(to_tflite(write_out_swishes(network(joined=True))))
    layers = read_tflite(tmp_path / "n.tflite").layers
    assert [layer.name for layer in layers if layer.operator == "HARD_SWISH"] == ["stem_hard_swish"]
    assert "spatial_hard_swish_x6" in {layer.name for layer in layers}
    assert all(len(layer.inputs) == 2 for layer in layers if layer.operator == "MUL")


def test_two_factors_that_meet_in_one_product(tmp_path):
    """h(v) h(w) holds 36 times its value."""
    image = keras.Input((4, 4, 2))
    convolutions = [L.Conv2D(2, 1, bias_initializer="ones", name=name) for name in "vw"]
    x = L.Multiply(name="both")([L.Activation("hard_swish")(layer(image)) for layer in convolutions])
    model = keras.Model(image, L.Dense(2)(L.GlobalAveragePooling2D(name="pool")(x)))
    written = write_out_swishes(model)
    values = np.random.default_rng(0).normal(size=(5, 4, 4, 2)).astype(np.float32)
    np.testing.assert_allclose(written.predict_on_batch(values), model.predict_on_batch(values), atol=1e-6)
    pairs = ((model, "both"), (written, "both_x36"))
    exact, held = (keras.Model(m.input, m.get_layer(n).output).predict_on_batch(values) for m, n in pairs)
    np.testing.assert_allclose(held, 36 * exact, rtol=1e-4, atol=1e-5)


def test_a_network_without_an_h_swish_stays(tmp_path):
    image = keras.Input((4, 4, 2))
    model = keras.Model(image, L.Dense(2)(L.GlobalAveragePooling2D()(L.ReLU()(L.Conv2D(2, 1)(image)))))
    assert write_out_swishes(model) is model
