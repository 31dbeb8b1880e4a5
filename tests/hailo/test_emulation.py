"""The emulation in whole numbers: by hand, against LiteRT's reference kernels, and what it follows of a model
script.
"""

import functools

import handmade
import numpy as np
import pytest
from handmade import SPEC, pictures

from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import normalise
from fer_hailo.emulation.fixed_point import Factor, divide, multiplier_of
from fer_hailo.emulation.float_network import FloatNetwork, Measured
from fer_hailo.emulation.integer import SOFTMAX_GRID, Site, integer_function, rescale
from fer_hailo.emulation.precision import followed
from fer_hailo.emulation.program import IntegerNetwork
from fer_hailo.emulation.scheme import FileScheme, Grid, MeasuredScheme, Precision, with_activations
from fer_hailo.emulation.stages import noise_of
from fer_hailo.formats.tflite_graph import (
    Constant,
    Dense,
    Graph,
    Joining,
    Operation,
    Settings,
    Sharpness,
    Sliding,
    Value,
    read_graph,
)
from fer_hailo.script.layers import Layer, Layers


def test_factors_by_hand():
    assert (
        multiplier_of(0.5) == (1 << 30, 0)
        and multiplier_of(1.0) == (1 << 30, 1)
        and multiplier_of(0.0) == (0, 0)
    )
    assert multiplier_of(0.75 / 8) == (3 << 29, -3)
    # One half: the first rounding alone, halves upwards.
    assert Factor.of(0.5)(np.array([1, -1, 3, -3, 4])).tolist() == [1, 0, 2, -1, 2]
    # One quarter: the first rounding is exact, the second rounds halves away from zero.
    assert Factor.of(0.25)(np.array([2, -2, 6, -6, 5, -5])).tolist() == [1, -1, 2, -2, 2, -1]
    assert Factor.of([4.0, 0.25])(np.array([[3, 4], [-5, 8]])).tolist() == [[12, 1], [-20, 2]]
    assert Factor.of(0.25, "once")(np.array([2, -2, 6, -6, 5, -5])).tolist() == [1, 0, 2, -1, 1, -1]
    # 16 bits of the factor, one rounding, halves upwards.
    assert Factor.of(0.25, "wide")(np.array([2, -2, 1 << 40])).tolist() == [1, 0, 1 << 38]
    assert Factor.of(3.0).divided(4)(np.array([4, 8, -4])).tolist() == [3, 6, -3]
    assert divide(np.array([5, -5, 4, 7]), np.array([2, 2, 3, 3])).tolist() == [3, -3, 1, 2]


def value(
    name: str, shape: tuple, scale: float = 1.0, zero: int = 0, data=None, dtype: str = "int8"
) -> Value:
    scales = np.atleast_1d(np.array(scale, np.float32))
    known = (name, shape, dtype, scales, np.full(len(scales), zero, np.int64), 0)
    return Value(*known) if data is None else Constant(*known, data)


def computed(
    kind: str, inputs: list[Value], output: Value, *arrays, activation="NONE", settings: Settings = None
) -> list:
    """What the integer operator makes of arrays of whole numbers."""
    scheme = FileScheme()
    sources = tuple(scheme.grid(one) for one in inputs if one is not None and not isinstance(one, Constant))
    target = SOFTMAX_GRID if kind == "SOFTMAX" else scheme.grid(output)
    operation = Operation(output.name, kind, tuple(inputs), output, activation, settings)
    site = Site(operation, sources, target, scheme)
    return integer_function(site)(*(np.array(array, np.int8) for array in arrays)).tolist()


POINT, SAME = Sliding(same=False), Sliding(same=True)


def test_weighted_operators_by_hand():
    kernel = value("w", (2, 2), [0.25, 0.5], data=np.array([[2, -3], [1, 1]], np.int8))
    bias = value("b", (2,), dtype="int32", data=np.array([8, -4], np.int32))
    x, y = value("x", (1, 2), 0.5, 10), value("y", (1, 2), 1.0, -5)
    # steps 2 and -4: (2 * 2 + 4 * 3 + 8) * 0.125 = 3, (2 - 4 - 4) * 0.25 = -1.5, the half upwards: -1
    assert computed("FULLY_CONNECTED", [x, kernel, bias], y, [[12, 6]], settings=Dense()) == [[-2, -6]]
    assert computed(
        "FULLY_CONNECTED", [x, kernel, bias], y, [[12, 6]], activation="RELU", settings=Dense()
    ) == [[-2, -5]]
    # Three pixels in a row, padded with the zero point: 1 + 2, 1 + 2 + 3, 2 + 3
    row, sums = value("x", (1, 1, 3, 1), 1.0, 7), value("y", (1, 1, 3, 1), 1.0, 0)
    ones = value("w", (1, 1, 3, 1), 1.0, data=np.ones((1, 1, 3, 1), np.int8))
    for kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        assert computed(kind, [row, ones], sums, [[[[8], [9], [10]]]], settings=SAME) == [[[[3], [6], [5]]]]
    # Two outputs a channel, every second pixel
    two = value("w", (1, 1, 1, 2), [1.0, 1.0], data=np.array([[[[1, -2]]]], np.int8))
    pair = value("y", (1, 1, 2, 2), 1.0, 0)
    stride = Sliding(same=False, stride=(2, 2))
    assert computed("DEPTHWISE_CONV_2D", [row, two], pair, [[[[8], [9], [10]]]], settings=stride) == [
        [[[1, -2], [3, -6]]]
    ]


def test_other_operators_by_hand():
    x, y, z = (
        value("x", (1, 1, 2, 1), 0.5, 0),
        value("y", (1, 1, 2, 1), 0.25, 4),
        value("z", (1, 1, 2, 1), 0.5, -1),
    )
    # 1 + 2 = 3 and 10 - 1 = 9 in halves less one; RELU6 stops at 6
    one, other = [[[[2], [20]]]], [[[[12], [0]]]]
    assert computed("ADD", [x, y], z, one, other, activation="NONE") == [[[[5], [17]]]]
    assert computed("ADD", [x, y], z, one, other, activation="RELU6") == [[[[5], [11]]]]
    assert computed("MUL", [x, y], z, one, other, activation="NONE") == [[[[3], [-21]]]]  # 1 * 2 and 10 * -1
    third = value("c", (), 1 / 3, 0, np.array(1, np.int8))
    assert computed("MUL", [x, third], z, [[[[6], [9]]]], activation="NONE") == [[[[1], [2]]]]  # 1 and 1.5
    axes = value("axes", (2,), dtype="int32", data=np.array([1, 2], np.int32))
    # 2.75 in quarters and 3
    assert computed("MEAN", [x, axes], value("m", (1, 1), 0.25, 3), [[[[4], [7]]]]) == [[14]]
    pool = Sliding(same=True, size=(2, 2))
    # -1.5, without the padding
    assert computed("AVERAGE_POOL_2D", [x], x, [[[[4], [-7]]]], settings=pool) == [[[[-2], [-7]]]]
    assert computed("MAX_POOL_2D", [x], x, [[[[-4], [-7]]]], settings=pool) == [[[[-4], [-7]]]]
    pads = value("pads", (4, 2), dtype="int32", data=np.array([[0, 0], [0, 0], [1, 0], [0, 0]], np.int32))
    assert computed("PAD", [y, pads], value("p", (1, 1, 3, 1), 0.25, 4), other) == [[[[4], [12], [0]]]]
    joined = value("j", (1, 1, 2, 2), 0.5, 0)
    assert computed("CONCATENATION", [x, y], joined, one, other, settings=Joining(3)) == [
        [[[2, 4], [20, -2]]]
    ]
    # Differences of log 2 and 2 log 2: shares of 4, 2 and 1 of 7
    logits, shares = value("x", (1, 3), float(np.log(2)), 0), value("y", (1, 3))
    assert computed("SOFTMAX", [logits], shares, [[5, 4, 3]], settings=Sharpness(1.0)) == [
        [146 - 128, 73 - 128, 37 - 128]
    ]
    assert computed("RELU6", [x], z, [[[[-3], [40]]]]) == [[[[-1], [11]]]]
    assert rescale(Grid(0.001, 0, 16), Grid(0.5, -3, 8))(np.array([2500, -2500], np.int16)).tolist() == [
        2,
        -8,
    ]


@functools.cache
def small() -> tuple[dict[str, bytes], np.ndarray]:
    """TFLite files of a small network with all that MobileNetV3Small has, float, int8 and with 16-bit
    activations, and its images.
    """
    import keras
    import tensorflow as tf
    from keras import layers

    keras.utils.set_random_seed(3)
    images = pictures()[0][:48]
    scaled = images.astype(np.float32) / 127.5 - 1

    def block(x, name: str, squeeze: bool, activation: str):
        y = layers.Conv2D(24, 1, bias_initializer="normal", activation=activation, name=f"{name}_expand")(x)
        y = layers.DepthwiseConv2D(
            5 if squeeze else 3, padding="same", activation=activation, name=f"{name}_depthwise"
        )(y)
        if squeeze:
            gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
            gate = layers.Conv2D(6, 1, activation="relu", name=f"{name}_squeeze")(gate)
            gate = layers.Conv2D(
                24, 1, activation="hard_sigmoid", bias_initializer="normal", name=f"{name}_excite"
            )(gate)
            y = layers.Multiply(name=f"{name}_gated")([y, gate])
        return layers.Add(name=f"{name}_add")([x, layers.Conv2D(8, 1, name=f"{name}_project")(y)])

    def network(activation: str, squeeze: bool, **shape):
        x = inputs = keras.Input((16, 16, 3), name="image", **shape)
        x = layers.Conv2D(
            8, 3, strides=2, padding="same", activation=activation, bias_initializer="normal", name="stem"
        )(x)
        x = block(x, "first", False, activation)
        x = block(x, "second", squeeze, activation)
        features = layers.GlobalAveragePooling2D(name="head_pool")(x)
        return keras.Model(
            inputs,
            layers.Dense(4, kernel_initializer="he_normal", bias_initializer="normal", name="logits")(
                features
            ),
        )

    def converted(model, *kinds) -> bytes:
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if kinds:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([image[None]] for image in scaled)
            converter.target_spec.supported_ops = list(kinds)
            converter.inference_input_type = converter.inference_output_type = (
                tf.int16 if "INT16" in kinds[0].name else tf.int8
            )
        return converter.convert()

    sets, full, plain = (
        tf.lite.OpsSet,
        network("hard_swish", True, batch_size=1),
        network("relu", False, batch_size=1),
    )
    wide = sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    return {
        "float": converted(full),
        "int8": converted(full, sets.TFLITE_BUILTINS_INT8),
        "int16": converted(plain, wide),
        "other": converted(other_operators()),
        "other8": converted(other_operators(), sets.TFLITE_BUILTINS_INT8),
    }, images


def other_operators():
    """A network of what the others lack."""
    import keras
    from keras import layers

    x = inputs = keras.Input((16, 16, 3), batch_size=1, name="image")
    x = layers.Conv2D(6, 3, dilation_rate=2, activation="relu6", bias_initializer="normal")(x)
    y = layers.MaxPooling2D(3, 2, padding="same")(x)
    z = layers.AveragePooling2D(3, 2, padding="same")(x)
    x = layers.Concatenate()([y, z])
    x = layers.ZeroPadding2D(((1, 0), (0, 2)))(x)
    x = layers.Activation("sigmoid")(layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2)(x))
    x = layers.Activation("tanh")(x)
    x = layers.Dense(5, kernel_initializer="he_normal")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Softmax()(x))


def written(folder, content: bytes):
    (folder / "n.tflite").write_bytes(content)
    return folder / "n.tflite"


def litert(path, values: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Every tensor that LiteRT's reference kernels make of one input, and the output."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_path=str(path),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    made = {index for operator in interpreter._get_ops_details() for index in operator["outputs"]}
    tensors = {
        d["name"]: interpreter.get_tensor(d["index"])
        for d in interpreter.get_tensor_details()
        if d["index"] in made
    }
    return tensors, interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize("name", ["float", "other"])
def test_float_mode_is_litert(tmp_path, name):
    network = FloatNetwork(read_graph(written(tmp_path, small()[0][name])))
    values = normalise(small()[1][:3], SPEC)
    tensors: dict[str, np.ndarray] = {}
    answers = network.run(values, tensors.__setitem__)
    for number in range(3):
        expected, output = litert(tmp_path / "n.tflite", values[number : number + 1])
        assert np.abs(answers[number] - output[0]).max() < 1e-4 and set(expected) == set(tensors) - {
            "image"
        } - {network.graph.input.name}
        for tensor, exact in expected.items():
            assert np.abs(tensors[tensor][number] - exact[0]).max() < 1e-4, tensor


@pytest.mark.parametrize("name, kinds", [
    ("int8", "CONV_2D DEPTHWISE_CONV_2D HARD_SWISH ADD MUL MEAN FULLY_CONNECTED"),
    ("int16", "CONV_2D DEPTHWISE_CONV_2D ADD FULLY_CONNECTED"),
    ("other8", "CONV_2D DEPTHWISE_CONV_2D MAX_POOL_2D AVERAGE_POOL_2D CONCATENATION PAD FULLY_CONNECTED "
               "RESHAPE SOFTMAX"),
])  # fmt: skip
def test_each_layer_is_litert_s_own(tmp_path, name, kinds):
    """Fed LiteRT's own whole numbers, each layer makes the same; 16-bit fully connected ones, which it rounds
    otherwise, nearly.
    """
    network = IntegerNetwork(read_graph(written(tmp_path, small()[0][name])), FileScheme())
    images = network.whole(small()[1][:4], SPEC)
    assert {operation.kind for operation in network.graph.operations} >= set(kinds.split())
    for image in images:
        tensors, _ = litert(tmp_path / "n.tflite", image[None])
        tensors[network.graph.input.name] = image[None]
        for step in network.steps:
            mine, theirs = step.function(*(tensors[source] for source in step.inputs)), tensors[step.name]
            assert mine.dtype == theirs.dtype and mine.shape == theirs.shape, step.name
            apart = np.abs(mine.astype(int) - theirs).max()
            assert apart <= (1 if mine.dtype == np.int16 and mine.shape == (1, 4) else 0), (step.name, apart)


def test_from_end_to_end_it_is_litert(tmp_path):
    network = IntegerNetwork(read_graph(written(tmp_path, small()[0]["int8"])), FileScheme())
    images = network.whole(small()[1], SPEC)
    expected = np.concatenate([litert(tmp_path / "n.tflite", image[None])[1] for image in images])
    answers = network.run(images)
    assert (answers == expected).all() and len(np.unique(answers.argmax(axis=1))) > 1


@functools.cache
def measured(folder) -> tuple[Graph, FloatNetwork, dict[str, Measured]]:
    """The small float network with the ranges of its images."""
    network = FloatNetwork(read_graph(written(folder, small()[0]["float"])))
    return network.graph, network, network.measure(small()[1], SPEC)


def test_ranges_and_means(tmp_path):
    graph, network, ranges = measured(tmp_path)
    tensors: dict[str, np.ndarray] = {}
    network.run(normalise(small()[1], SPEC), tensors.__setitem__)
    assert ranges.keys() == tensors.keys()
    for name, values in tensors.items():
        assert (ranges[name].low, ranges[name].high) == (values.min(), values.max())
        assert ranges[name].mean == pytest.approx(values.reshape(-1, values.shape[-1]).mean(axis=0), abs=1e-5)
    assert Grid.of_range(-1.0, 4.1, 8) == Grid(pytest.approx(0.02), -78, 8)
    assert Grid.of_range(1.0, 5.1, 8) == Grid(pytest.approx(0.02), -128, 8)
    assert Grid.of_range(-6.5534, 4.1, 16) == Grid(pytest.approx(0.0002), 0, 16)
    assert Grid.of_range(0, 0, 8).scale == 1


def one_layer(kernel: np.ndarray, bias: np.ndarray, kind: str = "CONV_2D") -> Operation:
    shape = (1, 1, 1, len(bias))
    pairs = ("w", kernel.astype(np.float32)), ("b", bias.astype(np.float32))
    constants = [value(name, array.shape, (), data=array, dtype="float32") for name, array in pairs]
    return Operation(
        "y", kind, (value("x", (1, 1, 1, kernel.shape[-1])), *constants), value("y", shape), settings=POINT
    )


def test_weights_by_hand():
    kernel = np.array([[1.0, -0.5], [0.02, 0.013], [0.0, 0.0]]).reshape(3, 1, 1, 2)
    operation, source = one_layer(kernel, np.array([0.3, -0.1, 0.25])), Grid(0.05, 3, 8)
    weights = MeasuredScheme({}).weights(operation, source)
    # -63.5 and 82.55 steps; a channel without weights keeps its bias to nine digits.
    assert weights.kernel.reshape(3, 2).tolist() == [[127, -64], [127, 83], [0, 0]]
    assert weights.scales[:2] == pytest.approx([1 / 127, 0.02 / 127]) and weights.bias[:2].tolist() == [
        762,
        -12700,
    ]
    assert weights.bias[2] * 0.05 * weights.scales[2] == pytest.approx(0.25, rel=1e-6)
    wide = MeasuredScheme({}, {"y": Precision(16, 16)}).weights(operation, source)
    assert wide.kernel.reshape(3, 2)[:2].tolist() == [[32767, -16384], [32767, 21299]]


def test_bias_correction_by_hand():
    """b -= sum over the kernel of (rounded - exact) times the mean of the channel that it sees."""
    kernel, source = np.array([[1.0, -0.5], [0.02, 0.013]]).reshape(2, 1, 1, 2), Grid(0.001, 0, 8)
    ranges = {"x": Measured(0, 10, 1, np.array([3.0, 7.0]))}
    layer = one_layer(kernel, np.zeros(2))
    plain, corrected = (
        MeasuredScheme(ranges, correct=correct).weights(layer, source) for correct in (False, True)
    )
    errors = [-64 / 127 + 0.5, 83 * 0.02 / 127 - 0.013]
    expected = [-7 * errors[0] / (0.001 / 127), -7 * errors[1] / (0.001 * 0.02 / 127)]
    assert (
        plain.bias.tolist() == [0, 0]
        and corrected.bias == pytest.approx(expected, abs=0.6)
        and expected[0] > 3000
    )
    # Depthwise: each channel has its own nine weights, and their errors add up.
    wide = np.full((1, 3, 3, 2), 0.5)
    wide[0, 0, 0, :] = 1.0
    deep = MeasuredScheme(ranges, correct=True).weights(
        one_layer(wide, np.zeros(2), "DEPTHWISE_CONV_2D"), source
    )
    error = 8 * (64 / 127 - 0.5)
    assert deep.bias == pytest.approx([-error * mean / (0.001 / 127) for mean in (3, 7)], abs=0.6)


def test_correction_takes_the_shift_out_of_a_layer():
    """The mean error of a layer whose inputs are nearly constant is all but gone."""
    rng = np.random.default_rng(5)
    x = (np.arange(3, 23) / 4 + rng.normal(0, 0.2, (400, 1, 1, 20))).astype(np.float32)
    kernel = rng.normal(size=(6, 1, 1, 20)).astype(np.float32)
    y = (x.reshape(400, 20) @ kernel.reshape(6, 20).T).reshape(400, 1, 1, 6)
    ranges = {"x": Measured()}
    ranges["x"].add(x)
    source, target = Grid.of_range(0, float(x.max()), 8), Grid.of_range(float(y.min()), float(y.max()), 16)
    errors = []
    for correct in (False, True):
        site = Site(
            one_layer(kernel, np.zeros(6)), (source,), target, MeasuredScheme(ranges, correct=correct)
        )
        errors.append(np.abs((target.real(integer_function(site)(source.whole(x))) - y).mean(axis=0)).max())
    assert errors[1] * 5 < errors[0], errors


def test_sixteen_bits_are_a_hundred_times_finer():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(500, 1, 1, 20)).astype(np.float32)
    kernel = rng.normal(size=(10, 1, 1, 20)).astype(np.float32)
    y = (x.reshape(500, 20) @ kernel.reshape(10, 20).T).reshape(500, 1, 1, 10)
    operation = one_layer(kernel, np.zeros(10))
    errors = {}
    for bits in (8, 16):
        source, target = (Grid.of_range(float(v.min()), float(v.max()), bits) for v in (x, y))
        scheme = MeasuredScheme({}, {"y": Precision(bits, bits)})
        made = integer_function(Site(operation, (source,), target, scheme))(source.whole(x))
        assert made.dtype == (np.int8 if bits == 8 else np.int16)
        errors[bits] = np.sqrt(((target.real(made) - y) ** 2).mean())
    assert errors[16] * 100 < errors[8], errors


def test_precision_changes_between_layers(tmp_path):
    """8 bits are read as they are, 16 bits are rescaled for a layer of 8; all of it in 16 bits is nearly
    float.
    """
    graph, exact, ranges = measured(tmp_path)
    names = [operation.name for operation in graph.operations]
    some = with_activations(graph, {names[0]: Precision(16, 8)})
    assert graph.operations[1].kind == "HARD_SWISH"
    # The h-swish belongs to its convolution
    assert some == {names[0]: Precision(16, 8), names[1]: Precision(16, 8)}
    mixed = IntegerNetwork(graph, MeasuredScheme(ranges, some))
    narrowed = Grid.of_range(ranges[names[1]].low, ranges[names[1]].high, 8)
    assert mixed.grids[names[1]].bits == 16 and mixed.grids[f"{names[1]} in 8 bits"] == narrowed
    assert {mixed.grids[name].bits for name in names[2:]} == {8}

    # Float values of the image as it is in 8 bits, so that the image itself is no error and nothing leaves
    # the ranges.
    image, last = Grid.of_range(-1, 1, 8), graph.output.name
    whole = image.whole(normalise(small()[1], SPEC))
    ranges = {graph.input.name: Measured(-1, 1)}
    values = exact.run(
        image.real(whole), lambda name, values: ranges.setdefault(name, Measured()).add(values)
    )
    schemes = ({}, some, dict.fromkeys(names, Precision(16, 16)))
    narrow, mixed, all_wide = (
        IntegerNetwork(graph, MeasuredScheme(ranges, precisions)) for precisions in schemes
    )
    errors = [
        np.abs(network.grids[last].real(network.run(whole)) - values).max()
        for network in (narrow, mixed, all_wide)
    ]
    assert errors[2] * 100 < errors[0], errors
    ratios = [noise_of(exact, network, small()[1], SPEC) for network in (narrow, mixed, all_wide)]
    assert ratios[2][last] > ratios[0][last] and ratios[1].keys() == set(names)
    assert list(ratios[0]) == sorted(ratios[0], key=ratios[0].get)


LAYERS = Layers(
    "net",
    {
        name: Layer("conv", original_names=(name,))
        for name in ("conv", "block_expand", "block_project", "logits")
    },
)
SCRIPT = """\
normalization1 = normalization([127.5, 127.5, 127.5], [127.5, 127.5, 127.5])
model_optimization_flavor(optimization_level=2, compression_level=0)
model_optimization_config(calibration, batch_size=8, calibset_size=100)
pre_quantization_optimization(equalization, policy=enabled)
pre_quantization_optimization(activation_clipping, layers={*}, mode=percentile, clipping_values=[0.01, 99.9])
post_quantization_optimization(bias_correction, policy=enabled)
post_quantization_optimization(finetune, policy=disabled)
quantization_param(["block_*", "conv"], precision_mode=a16_w16)
quantization_param("conv", precision_mode=a16_w8)
quantization_param("logits", precision_mode=a8_w4)
quantization_param([conv7, {conv*}], precision_mode=a16_w16)
performance_param(compiler_optimization_level=max)
context_switch_param(mode=enabled)
"""


def test_what_a_script_asks_for():
    found = followed(SCRIPT, LAYERS)
    assert found.precisions == {
        "conv": Precision(16, 8),
        "block_expand": Precision(16, 16),
        "block_project": Precision(16, 16),
    }
    assert (
        found.calibset_size == 100
        and found.bias_correction
        and sorted(found.wide) == ["block_expand", "block_project", "conv"]
    )
    lines = [int(line.split(":")[0].removeprefix("line ")) for line in found.ignored]
    assert lines == [2, 4, 5, 10, 11, 11]
    assert found.ignored[0].endswith("the equalisation and fine-tuning of this level are not emulated")
    assert found.ignored[2].startswith(
        "line 5: pre_quantization_optimization(activation_clipping, layers={*}, mode=percentile"
    )
    assert (
        "a8_w4 is not emulated" in found.ignored[3] and "conv7: the compiler's own names" in found.ignored[4]
    )
    plain = followed(
        "quantization_param({*}, precision_mode=a16_w8)\nmodel_optimization_flavor(optimization_level=-100)",
        LAYERS,
    )
    assert plain.precisions == dict.fromkeys(LAYERS.layers, Precision(16, 8)) and plain.ignored == []
    assert plain.calibset_size == 64 and not plain.bias_correction


def test_what_is_not_known_is_named():
    x, y = value("x", (1, 4), dtype="float32"), value("y", (1, 4), dtype="float32")
    with pytest.raises(UserError, match=r"y \(EXP\) is not emulated"):
        FloatNetwork(Graph(x, y, (Operation("y", "EXP", (x,), y),)))
    with pytest.raises(UserError, match=r"y \(ADD\) is not emulated: with activation 2"):
        FloatNetwork(Graph(x, y, (Operation("y", "ADD", (x, x), y, "activation 2"),)))


def test_damaged_files_give_a_network_or_one_line(tmp_path):
    """200 files with one to eight bytes changed, or cut: read, built and, where that works, run, without
    another error.
    """
    import random

    rng, data, refused = random.Random(6), handmade.networks()["float"], 0
    for number in range(200):
        changed = bytearray(data)
        for _ in range(rng.choice([1, 1, 8])):
            changed[rng.randrange(len(data))] = rng.choice([0, 1, 127, 128, 255])
        path = written(tmp_path, bytes(changed[: rng.randrange(len(data))] if number % 4 == 0 else changed))
        try:
            FloatNetwork(read_graph(path))
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 500
    assert 50 < refused < 200


RELEASED = ["released", "released_minimalistic"]


@pytest.mark.slow
@pytest.mark.parametrize("name", RELEASED)
def test_released_networks_are_litert_s_own(name, tmp_path, shared):
    """INT8 throughout, 128 validation images: the same predictions as LiteRT's reference kernels, and each
    layer within one step.
    """
    from conftest import ROOT

    from fer_hailo.common.config import load_config
    from fer_hailo.training.convert.calibration import calibration_set, prepare_all
    from fer_hailo.training.convert.quantise import quantise_with
    from fer_hailo.training.convert.ranges import tensor_ranges
    from fer_hailo.training.data.dataset import load_dataset

    folder = ROOT / "fer2013_keras_hailo" / name
    config = load_config(folder / "config.yaml", {"data": str(shared / "data" / "fer2013.zip"), "votes": ""})
    data, spec = load_dataset(config, tmp_path / "cache"), config.preprocess
    calibration, _ = calibration_set(data.part("train"), spec, config.seed, 100)
    ranges = tensor_ranges(folder / "model_float32.tflite", calibration, spec)
    limits = {tensor: found.ends["100"] for tensor, found in ranges.items()}
    path = written(tmp_path, quantise_with(folder / "model_float32.tflite", limits, spec))
    network = IntegerNetwork(read_graph(path), FileScheme())
    images = network.whole(prepare_all(data.part("val").images[:128], spec), spec)
    same = 0
    for number, image in enumerate(images):
        tensors, output = litert(path, image[None])
        tensors[network.graph.input.name] = image[None]
        for step in network.steps if number < 8 else ():
            mine = step.function(*(tensors[source] for source in step.inputs))
            assert np.abs(mine.astype(int) - tensors[step.name]).max() <= 1, step.name
        same += network.run(image[None]).argmax() == output.argmax()
    assert same >= 0.995 * len(images), same
