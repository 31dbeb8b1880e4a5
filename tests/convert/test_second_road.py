"""The second road through Hailo's parser: the same network in operators that were seen to parse, judged by
LiteRT and by hand.
"""

import keras
import numpy as np
import pytest

from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.formats.tflite import WEIGHTED
from fer_hailo.formats.tflite_graph import Constant, read_graph
from fer_hailo.predict.litert import LiteRT
from fer_hailo.training.convert.flatbuffer import add_tensor, bytes_of, object_of, operators, set_kind
from fer_hailo.training.convert.second_road import NOTHING, NoSecondRoad, kinds_of, write_plainly
from fer_hailo.training.convert.tflite import to_tflite

SPEC = PreprocessSpec(source_size=16, input_size=16)
L = keras.layers


def network():
    """Two h-swishes, the first read by a sum too; a gate that is not folded; numbers that are added,
    subtracted and multiplied by.
    """
    keras.utils.set_random_seed(3)
    image = keras.Input((16, 16, 3))
    x = L.Conv2D(8, 3, strides=2, padding="same", bias_initializer="normal", name="stem")(image)
    x = L.Activation("hard_swish")(x)
    gate = L.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    gate = L.Conv2D(8, 1, name="excite")(gate)
    y = L.Multiply(name="scale")([x, L.ReLU(6.0)(gate + 3.0) * (1 / 6)])
    y = L.Conv2D(8, 1, name="project")(y)
    y = L.Add(name="join")([x, y])
    y = L.MaxPooling2D(name="halve")(y)
    y = L.Rescaling([1.0, 2, 3, 4, 5, 6, 7, 8], name="numbers")(y)
    y = 0.5 - y
    y = L.Activation("hard_swish")(L.DepthwiseConv2D(3, padding="same", name="spatial")(y))
    return keras.Model(image, L.Dense(3, name="answers")(L.GlobalAveragePooling2D(name="pool")(y)))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(the float TFLite, its plain form)"""
    folder = tmp_path_factory.mktemp("roads")
    first, second = folder / "first.tflite", folder / "second.tflite"
    first.write_bytes(to_tflite(network()))
    second.write_bytes(write_plainly(first.read_bytes()))
    return first, second


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)


def test_every_tensor_of_the_first_road_has_its_value_on_the_second(made, images):
    exact, plain = (LiteRT(file).logits(images, SPEC) for file in made)
    assert np.abs(exact - plain).max() <= 1e-5 and exact.std() > 0.01
    first, second = (LiteRT(file, keep_tensors=True).tensors(images[0], SPEC) for file in made)
    assert set(first) < set(second)
    for name, values in first.items():
        np.testing.assert_allclose(second[name], values, rtol=1e-5, atol=1e-5, err_msg=name)


def test_only_layers_with_weights_have_constants(made):
    graph = read_graph(made[1])
    kinds = {operation.kind for operation in graph.operations}
    assert kinds == {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MUL", "MEAN", "MAX_POOL_2D", "FULLY_CONNECTED"}
    for operation in graph.operations:
        numbers = [value.dtype for value in operation.inputs if isinstance(value, Constant)]
        assert operation.kind in WEIGHTED or numbers in ([], ["int32"])  # the axes of a mean
    assert "HARD_SWISH" in kinds_of(made[0].read_bytes()) and "SUB" in kinds_of(made[0].read_bytes())
    listed = object_of(made[1].read_bytes()).operatorCodes  # a parser may judge by the list
    assert len(listed) == len(kinds)


def test_an_h_swish_by_hand(made):
    operations = {operation.name: operation for operation in read_graph(made[1]).operations}
    gate, sixth = operations["stem_hard_swish_gate"], operations["stem_hard_swish_sixth"]
    assert gate.kind == sixth.kind == "DEPTHWISE_CONV_2D" and gate.kernel.shape == (1, 1, 1, 8)
    assert (gate.activation, sixth.activation) == ("RELU6", "NONE")
    assert set(gate.kernel.data.ravel()) == {1.0} and set(gate.bias.data) == {3.0}
    assert set(sixth.kernel.data.ravel()) == {np.float32(1 / 6)} and set(sixth.bias.data) == {0.0}
    assert (gate.sources, sixth.sources) == (("stem",), ("stem_hard_swish_gate",))
    product = operations["stem_hard_swish"]
    assert product.kind == "MUL" and product.sources == ("stem", "stem_hard_swish_sixth")


def test_numbers_become_kernels_and_biases(made):
    operations = {operation.name: operation for operation in read_graph(made[1]).operations}
    numbers = operations["numbers"]
    assert numbers.kind == "DEPTHWISE_CONV_2D" and numbers.kernel.data.ravel().tolist() == [*range(1, 9)]
    (turned,) = [operation for operation in operations.values() if "numbers" in operation.sources]
    assert turned.kind == "DEPTHWISE_CONV_2D"  # 0.5 - x
    assert set(turned.kernel.data.ravel()) == {-1.0} and set(turned.bias.data) == {0.5}


def test_operators_are_counted_with_what_is_fused(made):
    assert kinds_of(made[1].read_bytes()) == {
        # of the two h-swishes two each, the network's own, and the three with numbers (one is the gate's 1/6)
        "DEPTHWISE_CONV_2D": 4 + 1 + 3, "CONV_2D": 3, "MUL": 3, "ADD": 1, "MEAN": 2, "MAX_POOL_2D": 1,
        "FULLY_CONNECTED": 1, "RELU6": 3,
    }  # fmt: skip


def test_what_has_no_plain_form_is_named(made):
    with pytest.raises(NoSecondRoad, match=NOTHING):
        write_plainly(made[1].read_bytes())
    file = object_of(made[0].read_bytes())
    pool = next(operator for kind, operator in operators(file) if kind == "MAX_POOL_2D")
    set_kind(file, pool, "AVERAGE_POOL_2D", pool.builtinOptions)
    with pytest.raises(NoSecondRoad, match=r"^halve \(AVERAGE_POOL_2D\) has no plain form$"):
        write_plainly(bytes_of(file))


def test_an_h_swish_of_a_vector_has_no_plain_form():
    image = keras.Input((4, 4, 2))
    x = L.Activation("hard_swish")(L.Dense(2, name="hidden")(L.GlobalAveragePooling2D()(image)))
    with pytest.raises(NoSecondRoad, match=r"hidden_hard_swish \(HARD_SWISH\) has no plain form"):
        write_plainly(to_tflite(keras.Model(image, L.Dense(2, name="end")(x))))


def test_a_name_that_is_taken_gets_a_number(made):
    file = object_of(made[0].read_bytes())
    added = [add_tensor(file, name, (1, 2)) for name in ("stem", "stem", "new")]
    names = [file.subgraphs[0].tensors[index].name.decode() for index in added]
    assert names == ["stem#2", "stem#3", "new"]
