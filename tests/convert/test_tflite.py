"""Float and INT8 TFLite of a small network, judged by LiteRT and by what can be worked out by hand."""

import keras
import numpy as np
import pytest

from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec, normalise
from fer_hailo.formats.tflite import read_tflite
from fer_hailo.predict.litert import LiteRT, on_all_cores
from fer_hailo.training.convert.flatbuffer import object_of
from fer_hailo.training.convert.parity import check_parity
from fer_hailo.training.convert.quantise import NoInt8Kernel, quantise
from fer_hailo.training.convert.ranges import TensorRange, limits_of, tensor_ranges
from fer_hailo.training.convert.tflite import raise_small_kernels, to_tflite

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
    assert (network.input.name, network.input.shape, network.output.name) == (
        "image",
        (1, 16, 16, 3),
        "answers",
    )
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
    # By the constant 1/6; conversion folds it first
    (product,) = network.unexpected()
    assert product.name == "excite_mul" and "(MUL by a constant)" in product.doubt
    # Kernel and bias of stem, spatial, excite (its bias is the 3 of x + 3); hidden and answers have no
    # bias, or one of zeros.
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
    """One output channel of a convolution and one of a depthwise convolution, each with a bias that INT8 must
    carry.
    """
    tiny = keras.models.clone_model(model)
    tiny.set_weights(model.get_weights())
    for name, place in (("excite", (..., 3)), ("spatial", (..., 5, 0))):
        kernel, bias = tiny.get_layer(name).get_weights()
        kernel[place], bias[place[1]] = 1e-14, 2.0
        tiny.get_layer(name).set_weights([kernel, bias])
    path = tmp_path / "t.tflite"
    path.write_bytes(to_tflite(tiny))
    ranges = tensor_ranges(path, images, SPEC)
    assert raise_small_kernels(path, ranges) == 2
    assert check_parity(tiny, path, images, SPEC).difference < 1e-3
    interpreter = LiteRT(path)._interpreter
    for name, channel, bias, source in (
        ("excite", 3, 5.0, "squeeze_pool"),
        ("spatial", 5, 2.0, "stem_hard_swish"),
    ):  # 2, and the 3 of x + 3
        index = next(d["index"] for d in interpreter.get_tensor_details() if d["name"] == f"{name}/kernel")
        kernel = np.moveaxis(interpreter.get_tensor(index), 3 if name == "spatial" else 0, 0).reshape(8, -1)
        scale = (max(0, ranges[source].high.max()) - min(0, ranges[source].low.min())) / 255
        # The bias in steps of input scale x weight scale, worked out anew: 2^28 at most.
        assert bias / (scale * np.abs(kernel[channel]).max() / 127) == pytest.approx(2**28, rel=1e-3)
        np.testing.assert_array_equal(np.sort(np.abs(kernel[channel]))[:-1] < 1e-13, True)
    before = path.read_bytes()
    assert raise_small_kernels(path, ranges) == 0 and path.read_bytes() == before


def test_ranges_are_those_of_the_layers_outputs(model, float32, images):
    ranges = tensor_ranges(float32, images, SPEC)
    values = keras.Model(model.input, model.get_layer("pool").output).predict_on_batch(
        normalise(images, SPEC)
    )
    np.testing.assert_allclose(ranges["pool"].low, values.min(0), atol=1e-5)
    np.testing.assert_allclose(ranges["pool"].high, values.max(0), atol=1e-5)
    assert (ranges["image"].low.min(), ranges["image"].high.max()) == (
        normalise(images, SPEC).min(),
        normalise(images, SPEC).max(),
    )
    facts = ranges["pool"].facts("pool", 0.0)
    assert (facts.channels, facts.dead, facts.constant) == (8, 0, 0) and 0.9 < facts.used <= 1


def test_facts_of_a_range_by_hand():
    sample = np.concatenate([np.linspace(0, 1, 99_990), np.full(10, 10.0)]).astype(np.float32)
    tensor = TensorRange(np.float32([0, 0, 2]), np.float32([10, 0, 2]), np.float32([0.5, 0, 2]), sample)
    facts = tensor.facts("", 0.0)
    assert (facts.channels, facts.constant, facts.dead, facts.min, facts.max) == (3, 2, 1, 0, 10)
    assert facts.used == pytest.approx(0.1, abs=0.001)
    assert tensor.ends["100"] == (0, 10) and tensor.ends["99.9"][1] == pytest.approx(1, abs=0.002)
    outside = TensorRange(np.float32([2]), np.float32([3]), np.float32([2.5]), np.float32([2, 3]))
    assert outside.ends["100"] == (0, 3)  # 0 is always inside


def test_what_an_h_swish_makes_0_gets_no_steps(model, float32, images):
    """The range of what only an h-swish reads ends one step below -3: (9 - -3) / 254 below it.

    Others, and whole ranges, stay.
    """
    ranges = tensor_ranges(float32, images, SPEC)
    wide = TensorRange(np.float32([-20]), np.float32([9]), np.float32([0]), np.float32([-20, 9] * 500))
    ranges |= {"stem": wide, "join": wide}
    network = read_tflite(float32)
    for ends, low in (("99.99", -3 - 12 / 254), ("100", -20)):
        limits = limits_of(ranges, network, ends)
        assert limits["stem"] == pytest.approx((low, 9)) and limits["join"] == pytest.approx((-20, 9))
    narrow = ranges | {
        "stem": TensorRange(np.float32([-1]), np.float32([9]), np.float32([0]), np.float32([-1, 9] * 500))
    }
    assert limits_of(narrow, network, "99.99")["stem"] == pytest.approx((-1, 9))


def test_int8_runs_under_the_default_delegate_and_answers_alike(model, float32, images, tmp_path):
    target = tmp_path / "int8.tflite"
    trials = quantise(float32, target, tensor_ranges(float32, images, SPEC), images, SPEC, tmp_path)
    network, interpreter = read_tflite(target), LiteRT(target)
    assert (network.input.dtype, network.output.dtype, interpreter.dtype) == ("int8", "int8", np.int8)
    assert network.float_layers() == [] and {layer.dtype for layer in network.layers} == {"int8"}
    assert (
        len(trials) == 5
        and trials[0].divergence < 0.02
        and trials[0].divergence == min(trial.divergence for trial in trials)
    )
    exact, rounded = LiteRT(float32).logits(images, SPEC), interpreter.logits(images, SPEC)
    assert np.abs(exact - rounded).max() < 0.1 * np.ptp(exact)
    assert {t.ends for t in trials} == {"100", "99.99", "99.97", "99.95", "99.9"}


def test_no_tensor_between_input_and_output_is_float(model, float32, images, tmp_path):
    """Biases are int32, shapes int32 or int64, all else int8; looked up in TensorFlow's own view of the
    file.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    target = tmp_path / "int8.tflite"
    quantise(float32, target, tensor_ranges(float32, images, SPEC), images, SPEC, tmp_path)
    file = object_of(target.read_bytes())
    graph, types = file.subgraphs[0], schema.TensorType
    made = {index for operator in graph.operators for index in operator.outputs}
    for index, tensor in enumerate(graph.tensors):
        computed = index in {*made, *graph.inputs} or tensor.name.endswith(b"/kernel")
        allowed = {types.INT8} if computed else {types.INT8, types.INT32, types.INT64}
        assert tensor.type in allowed, tensor.name
    assert made and {graph.tensors[index].type for index in (*graph.inputs, *graph.outputs)} == {types.INT8}


def test_a_layer_without_an_int8_kernel_is_named(tmp_path, images):
    image = keras.Input((16, 16, 3))
    x = L.Activation("exponential", name="strange")(L.GlobalAveragePooling2D(name="pool")(image))
    path = tmp_path / "n.tflite"
    path.write_bytes(to_tflite(keras.Model(image, L.Dense(2, name="end")(x))))
    with pytest.raises(NoInt8Kernel, match=r"no INT8 kernel for pool_exp \(EXP\)"):
        quantise(path, tmp_path / "int8.tflite", tensor_ranges(path, images, SPEC), images, SPEC, tmp_path)


def test_a_network_that_no_quantizer_can_run_is_named(tmp_path, images, float32, monkeypatch):
    def refuse(path, spec):
        if path != float32:
            raise UserError("x cannot be run by LiteRT: failed to prepare")
        return on_all_cores(path, spec)

    ranges = tensor_ranges(float32, images, SPEC)
    ranges["join"].low[:] = ranges["join"].high[:] = 0
    monkeypatch.setattr("fer_hailo.training.convert.quantise.on_all_cores", refuse)
    with pytest.raises(
        UserError,
        match=r"no INT8 version of this network runs .*failed to prepare.* 1 tensors never change, the first "
        r"is join",
    ):
        quantise(float32, tmp_path / "int8.tflite", ranges, images, SPEC, tmp_path)


def test_an_operator_that_tflite_lacks_is_one_line(images):
    image = keras.Input((16, 16, 3))
    x = keras.ops.erfinv(L.GlobalAveragePooling2D()(image) * 0.1)
    with pytest.raises(
        UserError, match="TensorFlow cannot convert this network to TFLite: .*nothing was written"
    ):
        to_tflite(keras.Model(image, L.Dense(2)(x)))


def test_an_operator_with_several_outputs_is_converted(tmp_path, images):
    image = keras.Input((16, 16, 3))
    parts = keras.ops.split(L.Conv2D(4, 3, name="conv")(image), 2, axis=-1)
    x = L.GlobalAveragePooling2D()(L.Concatenate(name="turned")(parts[::-1]))
    (tmp_path / "split.tflite").write_bytes(to_tflite(keras.Model(image, L.Dense(2, name="end")(x))))
    network = read_tflite(tmp_path / "split.tflite")
    assert "SPLIT" in {layer.operator for layer in network.unexpected()} and network.output.name == "end"
    names = [d["name"] for d in LiteRT(tmp_path / "split.tflite")._interpreter.get_tensor_details()]
    assert len({"conv_split", "conv_split#2"} & set(names)) == 2


def test_a_file_that_is_no_network(tmp_path):
    (tmp_path / "x.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    with pytest.raises(UserError, match=r"x\.tflite cannot be run by LiteRT"):
        LiteRT(tmp_path / "x.tflite")
    with pytest.raises(UserError, match="cannot read"):
        LiteRT(tmp_path / "nothing.tflite")
