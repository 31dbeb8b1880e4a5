"""The TFLite reader against TensorFlow's interpreter, against counts made by hand, and on damaged files."""

import functools
import random
import resource
import time
from math import prod

import handmade
import numpy as np
import pytest

from fer_hailo.common.errors import UserError
from fer_hailo.formats.tflite import read_tflite


@functools.cache
def other() -> bytes:
    """A network with what the handmade one lacks: no bias, VALID padding, two outputs a channel, pooling,
    reshaping, softmax.
    """
    import keras
    import tensorflow as tf

    x = inputs = keras.Input((12, 10, 3), batch_size=1)
    x = keras.layers.Conv2D(8, (3, 5), use_bias=False)(x)  # to 10 x 6
    x = keras.layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2)(x)  # to 4 x 2 x 16
    x = keras.layers.MaxPooling2D((2, 1))(x)  # to 2 x 2 x 16
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(5, use_bias=False)(x)
    return tf.lite.TFLiteConverter.from_keras_model(keras.Model(inputs, keras.layers.Softmax()(x))).convert()


def content(name: str) -> bytes:
    return other() if name == "other" else handmade.networks()[name]


def written(tmp_path, data: bytes):
    (tmp_path / "n.tflite").write_bytes(data)
    return tmp_path / "n.tflite"


@pytest.mark.parametrize("name", ["float", "int8", "cut", "other"])
def test_agrees_with_tensorflow(tmp_path, name):
    import tensorflow as tf

    network = read_tflite(written(tmp_path, content(name)))
    interpreter = tf.lite.Interpreter(
        model_content=content(name),
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    tensors = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    for tensor, (detail,) in (
        (network.input, interpreter.get_input_details()),
        (network.output, interpreter.get_output_details()),
    ):
        assert (tensor.name, tensor.shape, tensor.dtype) == (
            detail["name"],
            tuple(detail["shape_signature"]),
            np.dtype(detail["dtype"]).name,
        )
        assert np.allclose(tensor.scales, detail["quantization_parameters"]["scales"]) and not tensor.constant
    operators = interpreter._get_ops_details()
    assert [layer.operator for layer in network.layers] == [operator["op_name"] for operator in operators]
    made = {interpreter.get_input_details()[0]["index"]} | {
        index for operator in operators for index in operator["outputs"]
    }
    for layer, operator in zip(network.layers, operators, strict=True):
        (output,) = operator["outputs"]
        inputs = [index for index in operator["inputs"] if index in made]
        weights = [index for index in operator["inputs"] if index not in made and index >= 0]
        assert (layer.name, layer.output_shape) == (
            tensors[output]["name"],
            tuple(tensors[output]["shape_signature"]),
        )
        assert layer.inputs == tuple(tensors[index]["name"] for index in inputs)
        assert layer.input_shape == tuple(tensors[inputs[0]]["shape_signature"])
        if layer.parameters:
            assert layer.parameters == sum(prod(tensors[index]["shape"]) for index in weights)


@pytest.mark.parametrize("name", ["float", "int8"])
def test_parameters_and_multiply_adds_by_hand(tmp_path, name):
    network = read_tflite(written(tmp_path, content(name)))
    assert {
        layer.name: layer.parameters for layer in network.layers if layer.parameters
    } == handmade.PARAMETERS
    assert {
        layer.name: layer.multiply_adds for layer in network.layers if layer.multiply_adds
    } == handmade.MULTIPLY_ADDS
    assert (network.parameters, network.multiply_adds) == (336 + 156 + 120 + 52, 20_736 + 144 + 6_912 + 48)
    assert network.unexpected() == []


def test_other_shapes_by_hand(tmp_path):
    network = read_tflite(written(tmp_path, other()))
    counts = {layer.operator: (layer.output_shape, layer.multiply_adds) for layer in network.layers}
    assert counts["CONV_2D"] == ((1, 10, 6, 8), 10 * 6 * 8 * (3 * 5 * 3))
    assert counts["DEPTHWISE_CONV_2D"] == ((1, 4, 2, 16), 4 * 2 * 16 * (3 * 3))
    assert counts["FULLY_CONNECTED"] == ((1, 5), 64 * 5)
    assert {layer.operator for layer in network.unexpected()} == {
        "RESHAPE"
    }  # pooling and softmax are in the zoo


def test_parameters_agree_with_keras(tmp_path):
    import keras

    from fer_hailo.training.convert.tflite import to_tflite

    x = inputs = keras.Input((16, 16, 3), name="image")
    x = keras.layers.Conv2D(6, 3, bias_initializer="normal", name="first")(x)
    x = keras.layers.GlobalAveragePooling2D()(
        keras.layers.DepthwiseConv2D(5, bias_initializer="normal", name="second")(x)
    )
    model = keras.Model(inputs, keras.layers.Dense(3, bias_initializer="normal", name="logits")(x))
    assert read_tflite(written(tmp_path, to_tflite(model))).parameters == model.count_params()


@pytest.mark.parametrize("name", ["float", "int8"])
def test_damaged_files_give_a_network_or_one_line(tmp_path, name):
    """300 cut files and 600 with one to eight bytes changed, among them the first 64, where the offsets of
    all else lie.
    """
    rng, data, refused = random.Random(5), content(name), 0
    limit = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + (200 << 10)  # KiB
    start = time.monotonic()
    for number in range(900):
        changed = bytearray(data)
        if number % 3 == 0:
            changed = changed[: rng.randrange(len(data))]
        else:
            for _ in range(rng.choice([1, 1, 8])):
                changed[rng.randrange(64 if number % 5 == 0 else len(data))] = rng.choice(
                    [0, 127, 128, 255, rng.randrange(256)]
                )
        try:
            assert read_tflite(written(tmp_path, changed)).input.name is not None
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and "n.tflite" in str(error) and len(str(error)) < 400
    assert 300 < refused < 900
    assert time.monotonic() - start < 30 and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < limit


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 8, b"TFL3", b"\x1c\0\0\0TFL3", b"\xff\xff\xff\xffTFL3" + b"\xff" * 64, b"PK\3\4" * 20],
)
def test_other_files(tmp_path, data):
    with pytest.raises(UserError, match=r"n\.tflite is (not a TFLite file|damaged)"):
        read_tflite(written(tmp_path, data))
    with pytest.raises(UserError, match=r"cannot read .*none\.tflite: No such file"):
        read_tflite(tmp_path / "none.tflite")
    with pytest.raises(UserError, match=r"cannot read .*: Is a directory"):
        read_tflite(tmp_path)
