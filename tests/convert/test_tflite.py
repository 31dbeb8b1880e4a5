"""Float and INT8 TFLite of a small network, judged by LiteRT and by what can be worked out by hand."""

import keras
import numpy as np
import pytest

from fer_hailo.convert.parity import check_parity
from fer_hailo.convert.quantise import quantise
from fer_hailo.convert.ranges import tensor_ranges
from fer_hailo.convert.tflite import to_tflite
from fer_hailo.errors import UserError
from fer_hailo.hailo.tflite import read_tflite
from fer_hailo.litert import LiteRT
from fer_hailo.preprocess import PreprocessSpec, normalise

SPEC = PreprocessSpec(source_size=16, input_size=16)
L = keras.layers


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(2)
    image = keras.Input((16, 16, 3))
    x = L.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(image)
    x = L.BatchNormalization(name="stem_norm")(x)
    x = L.Activation("hard_swish")(x)
    y = L.DepthwiseConv2D(3, padding="same", name="spatial")(x)
    s = L.GlobalAveragePooling2D(keepdims=True, name="squeeze_pool")(y)
    s = L.Conv2D(8, 1, name="excite")(s)
    s = L.ReLU(6.0)(s + 3.0) * (1 / 6)
    y = L.Multiply(name="scale")([y, s])
    x = L.Add(name="join")([x, y])
    x = L.GlobalAveragePooling2D(name="pool")(x)
    x = L.Dense(6, use_bias=False, name="hidden")(x)
    x = L.ReLU()(x)
    return keras.Model(image, L.Dense(3, name="answers")(x), name="small")


@pytest.fixture(scope="module")
def float32(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("tflite") / "float32.tflite"
    path.write_bytes(to_tflite(model))
    return path


def test_tensors_have_the_layers_names(float32):
    network = read_tflite(float32)
    names = [layer.name for layer in network.layers]
    assert (network.input.name, network.input.shape, network.output.name) == ("image", (1, 16, 16, 3), "answers")
    assert names == [
        "stem",
        "stem_hard_swish",
        "spatial",
        "squeeze_pool",
        "excite",
        "excite_mul",
        "scale",
        "join",
        "pool",
        "hidden",
        "answers",
    ]
    assert network.unexpected() == []
    # Kernel and bias of stem, spatial, excite (its bias is the 3 of x + 3); hidden and answers have no bias, or one of zeros.
    assert network.parameters == (216 + 8) + (72 + 8) + (64 + 8) + 48 + 18
    # stem on 8x8, spatial on 8x8, then vectors
    assert network.multiply_adds == 64 * 8 * 27 + 64 * 8 * 9 + 64 + 48 + 18


def test_answers_are_those_of_keras(model, float32, images):
    parity = check_parity(model, float32, images, SPEC)
    assert (parity.count, parity.same) == (40, 40) and parity.difference < 1e-5
    other = keras.models.clone_model(model)
    other.set_weights([w + 0.01 for w in model.get_weights()])
    with pytest.raises(UserError, match="does not give what the Keras model gives"):
        check_parity(other, float32, images, SPEC)


def test_a_channel_that_weight_decay_emptied_keeps_a_usable_scale(model, tmp_path, images):
    tiny = keras.models.clone_model(model)
    tiny.set_weights(model.get_weights())
    kernel, bias = tiny.get_layer("excite").get_weights()
    kernel[..., 3] = 1e-14
    tiny.get_layer("excite").set_weights([kernel, bias])
    (tmp_path / "t.tflite").write_bytes(to_tflite(tiny))
    assert check_parity(tiny, tmp_path / "t.tflite", images, SPEC).difference < 1e-4
    interpreter = LiteRT(tmp_path / "t.tflite")._interpreter
    index = next(d["index"] for d in interpreter.get_tensor_details() if d["name"] == "excite/kernel")
    largest = np.abs(interpreter.get_tensor(index)).max(axis=(1, 2, 3))
    assert largest[3] == pytest.approx(1e-4 * largest.max()) and (np.delete(largest, 3) > 1e-3).all()


def test_ranges_are_those_of_the_layers_outputs(model, float32, images):
    ranges = tensor_ranges(float32, images, SPEC)
    values = keras.Model(model.input, model.get_layer("pool").output).predict_on_batch(normalise(images, SPEC))
    np.testing.assert_allclose(ranges["pool"].low, values.min(0), atol=1e-5)
    np.testing.assert_allclose(ranges["pool"].high, values.max(0), atol=1e-5)
    assert (ranges["image"].low.min(), ranges["image"].high.max()) == (normalise(images, SPEC).min(), normalise(images, SPEC).max())
    facts = ranges["pool"].to_dict()
    assert (facts["channels"], facts["dead"], facts["constant"]) == (8, 0, 0) and 0.9 < facts["used"] <= 1


def test_facts_of_a_range_by_hand():
    from fer_hailo.convert.ranges import TensorRange

    sample = np.concatenate([np.linspace(0, 1, 99_990), np.full(10, 10.0)]).astype(np.float32)
    tensor = TensorRange(np.float32([0, 0, 2]), np.float32([10, 0, 2]), sample)
    facts = tensor.to_dict()
    assert (facts["channels"], facts["constant"], facts["dead"], facts["min"], facts["max"]) == (3, 2, 1, 0, 10)
    assert facts["used"] == pytest.approx(0.1, abs=0.001)
    assert tensor.clipped(100) == (0, 10) and tensor.clipped(99.9)[1] == pytest.approx(1, abs=0.002)
    assert TensorRange(np.float32([2]), np.float32([3]), np.float32([2, 3])).clipped(100) == (0, 3)  # 0 is always inside


def test_int8_runs_under_the_default_delegate_and_answers_alike(model, float32, images, tmp_path):
    target = tmp_path / "int8.tflite"
    trials = quantise(float32, target, tensor_ranges(float32, images, SPEC), images, SPEC, tmp_path)
    network, interpreter = read_tflite(target), LiteRT(target)
    assert (network.input.dtype, network.output.dtype, interpreter.dtype) == ("int8", "int8", np.int8)
    assert len(trials) == 12 and trials[0].divergence < 0.02
    exact, rounded = LiteRT(float32).logits(images, SPEC), interpreter.logits(images, SPEC)
    assert np.abs(exact - rounded).max() < 0.1 * np.ptp(exact)
    assert {t.percentile for t in trials} == {100, 99.99, 99.97, 99.95, 99.9, 99.7} and {t.stem for t in trials} == {0, 3}


def test_a_file_that_is_no_network(tmp_path):
    (tmp_path / "x.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    with pytest.raises(UserError, match=r"x\.tflite cannot be run by LiteRT"):
        LiteRT(tmp_path / "x.tflite")
    with pytest.raises(UserError, match="cannot read"):
        LiteRT(tmp_path / "nothing.tflite")
