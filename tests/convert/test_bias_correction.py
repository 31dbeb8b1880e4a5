"""What the rounding of weights adds on average, taken out of the biases: by hand, and on networks of
LiteRT.
"""

import copy

import keras
import numpy as np
import pytest

from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.predict.litert import LiteRT
from fer_hailo.training.convert.bias_correction import correct_biases, shift_of
from fer_hailo.training.convert.flatbuffer import bytes_of, constant, object_of, operators, replace_constant
from fer_hailo.training.convert.quantise import quantise_with
from fer_hailo.training.convert.ranges import tensor_ranges
from fer_hailo.training.convert.tflite import to_tflite

SPEC = PreprocessSpec(source_size=16, input_size=16)
L = keras.layers


def test_shifts_by_hand():
    mean = np.array([10.0, 100.0])
    # One output channel, 1 x 2 places, two inputs: (1 + 3) * 10 + (2 + 4) * 100
    assert shift_of("CONV_2D", np.float32([1, 2, 3, 4]).reshape(1, 1, 2, 2), mean).tolist() == [640]
    # Two channels of 1 x 2 places: (1 + 3) * 10, (2 + 4) * 100
    assert shift_of("DEPTHWISE_CONV_2D", np.float32([1, 2, 3, 4]).reshape(1, 1, 2, 2), mean).tolist() == [
        40,
        600,
    ]
    # Two outputs of each input: 1 * 10, 2 * 10, 3 * 100, 4 * 100
    assert shift_of("DEPTHWISE_CONV_2D", np.float32([1, 2, 3, 4]).reshape(1, 1, 1, 4), mean).tolist() == [
        10,
        20,
        300,
        400,
    ]
    assert shift_of("FULLY_CONNECTED", np.float32([[1, 2], [3, 4]]), mean).tolist() == [210, 430]


@pytest.fixture(scope="module")
def images():
    """Bright and nearly constant, so that rounding errors add up to a shift."""
    return np.random.default_rng(0).integers(230, 256, (32, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def network(tmp_path_factory, images):
    """(float TFLite, its ranges, INT8 as quantized)"""
    keras.utils.set_random_seed(4)
    image = keras.Input((16, 16, 3))
    x = L.Conv2D(6, 3, activation="relu", bias_initializer="ones", name="conv")(image)
    x = L.DepthwiseConv2D(3, bias_initializer="ones", name="depth")(x)
    x = L.GlobalAveragePooling2D(name="pool")(x)
    path = tmp_path_factory.mktemp("n") / "float.tflite"
    path.write_bytes(to_tflite(keras.Model(image, L.Dense(4, bias_initializer="ones", name="logits")(x))))
    ranges = tensor_ranges(path, images, SPEC)
    return (
        path,
        ranges,
        quantise_with(path, {name: tensor.ends["100"] for name, tensor in ranges.items()}, SPEC),
    )


def biases(content):
    file = object_of(content)
    tensors = file.subgraphs[0].tensors
    weighted = [operator for _, operator in operators(file) if len(operator.inputs) > 2]
    return {
        tensors[o.outputs[0]].name.decode(): constant(file, tensors[o.inputs[2]], np.int32) for o in weighted
    }


def test_biases_of_a_network_against_its_kernels(network):
    """Worked out anew from LiteRT's view of both files."""
    path, ranges, int8 = network
    corrected = correct_biases(
        int8, path.read_bytes(), {name: tensor.mean for name, tensor in ranges.items()}
    )
    exact, rounded = (_seen(network) for network in (LiteRT(path, keep_tensors=True), _opened(path, int8)))
    for layer, source, axes in (
        ("conv", "image", "oijc,c->o"),
        ("depth", "conv", "zijc,c->c"),
        ("logits", "pool", "oc,c->o"),
    ):
        kernel, scales = rounded[f"{layer}/kernel"]
        along = scales.reshape((1, 1, 1, -1) if layer == "depth" else (-1,) + (1,) * (kernel.ndim - 1))
        shift = np.einsum(axes, kernel * along - exact[f"{layer}/kernel"][0], ranges[source].mean)
        expected = biases(int8)[layer] - np.rint(shift / (rounded[source][1][0] * scales))
        assert (
            np.abs(biases(corrected)[layer] - expected).max() <= 1
            and np.abs(expected - biases(int8)[layer]).max() > 10
        )


def _seen(network):
    """(values, scales) of kernels and of what they read."""
    details = [
        d
        for d in network._interpreter.get_tensor_details()
        if "/kernel" in d["name"] or d["name"] in ("image", "conv", "pool")
    ]
    return {
        d["name"]: (network._interpreter.get_tensor(d["index"]), d["quantization_parameters"]["scales"])
        for d in details
    }


def _opened(path, content):
    (path.parent / "int8.tflite").write_bytes(content)
    return LiteRT(path.parent / "int8.tflite", keep_tensors=True)


def test_the_average_output_is_right_again(network, images):
    path, ranges, int8 = network
    expected = LiteRT(path).logits(images, SPEC).mean(axis=0)
    corrected = correct_biases(
        int8, path.read_bytes(), {name: tensor.mean for name, tensor in ranges.items()}
    )
    off = [
        np.abs(_opened(path, content).logits(images, SPEC).mean(axis=0) - expected).max()
        for content in (int8, corrected)
    ]
    assert off[1] < 0.4 * off[0]


def test_only_biases_change(network):
    path, ranges, int8 = network
    corrected = correct_biases(
        int8, path.read_bytes(), {name: tensor.mean for name, tensor in ranges.items()}
    )
    before, after = object_of(int8), object_of(corrected)
    own = {
        t.buffer
        for o in (o for _, o in operators(before) if len(o.inputs) > 2)
        for t in [before.subgraphs[0].tensors[o.inputs[2]]]
    }
    for number, (old, new) in enumerate(zip(before.buffers, after.buffers, strict=True)):
        if number not in own and old.data is not None:
            np.testing.assert_array_equal(old.data, new.data)
    assert bytes_of(object_of(corrected)) == corrected


def test_layers_that_share_a_bias_get_their_own(network):
    """Two biases of equal zeros may lie in one buffer, or be one tensor."""
    path, ranges, int8 = network
    file = object_of(int8)
    graph, first = file.subgraphs[0], next(operators(file))[1]
    again = copy.deepcopy(first)
    graph.operators.append(again)
    before = constant(file, graph.tensors[first.inputs[2]], np.int32)
    replace_constant(file, first, 2, before + 1)
    own, other = (constant(file, graph.tensors[operator.inputs[2]], np.int32) for operator in (first, again))
    assert (own == before + 1).all() and (other == before).all()
