"""Batch norms and constant factors that go into kernels, on networks whose numbers are worked out by hand."""

import keras
import numpy as np
import pytest

from fer_hailo.formats.tflite import read_tflite
from fer_hailo.training.convert.folding import fold_constants
from fer_hailo.training.convert.tflite import to_tflite

L = keras.layers


def names(model):
    return {operation.name for operation in model.operations}


def answers(model, values):
    return np.asarray(model.predict_on_batch(values))


def norm(layer, gamma, beta, mean, variance):
    layer.epsilon = 0.0
    layer.set_weights([np.float32(value) for value in (gamma, beta, mean, variance)])


def test_a_batch_norm_goes_into_the_convolution_before_it():
    image = keras.Input((2, 2, 1))
    x = L.Conv2D(2, 1, use_bias=False, name="conv")(image)
    x = L.BatchNormalization(epsilon=0, name="norm")(x)
    model = keras.Model(image, L.Flatten()(x))
    model.get_layer("conv").set_weights([np.float32([[[[1, 2]]]])])
    norm(model.get_layer("norm"), [4, 3], [1, -1], [2, 4], [4, 9])
    folded = fold_constants(model)
    # scale gamma / sqrt(variance): 4 / 2 = 2 and 3 / 3 = 1; shift beta - mean * scale: 1 - 4 = -3 and -1 - 4
    # = -5
    kernel, bias = folded.get_layer("conv").get_weights()
    assert kernel.ravel().tolist() == [2, 2] and bias.tolist() == [-3, -5] and "norm" not in names(folded)
    values = np.float32([0, 1, 2, -1]).reshape(1, 2, 2, 1)
    np.testing.assert_allclose(answers(folded, values), answers(model, values), atol=1e-6)


def test_a_batch_norm_before_a_dense_layer_goes_into_that():
    image = keras.Input((2, 2, 2))
    x = L.BatchNormalization(epsilon=0, name="norm")(L.GlobalAveragePooling2D()(image))
    model = keras.Model(image, L.Dense(1, use_bias=False, name="dense")(L.Dropout(0.5)(x)))
    model.get_layer("dense").set_weights([np.float32([[10], [100]])])
    norm(model.get_layer("norm"), [1, 2], [0, 5], [3, 1], [1, 4])
    folded = fold_constants(model)
    # scales 1 / 1 and 2 / 2 = 1; shifts 0 - 3 and 5 - 1: bias 10 * -3 + 100 * 4
    kernel, bias = folded.get_layer("dense").get_weights()
    assert kernel.ravel().tolist() == [10, 100] and bias.tolist() == [370] and "norm" not in names(folded)


def test_a_depthwise_convolution_and_a_dense_layer_between_two_batch_norms():
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    x = L.BatchNormalization()(L.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(image))
    x = L.BatchNormalization()(L.GlobalAveragePooling2D()(L.ReLU()(x)))
    x = L.ReLU()(L.BatchNormalization()(L.Dense(5, use_bias=False)(x)))
    model = keras.Model(image, L.Dense(2)(x))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 2, weight.shape) for weight in layer.weights])
    folded, values = fold_constants(model), rng.normal(size=(4, 8, 8, 3)).astype(np.float32)
    assert not any(isinstance(layer, L.BatchNormalization) for layer in folded.layers)
    np.testing.assert_allclose(answers(folded, values), answers(model, values), atol=1e-5)


def test_a_batch_norm_without_a_layer_to_hold_it_stays():
    """Behind an activation, before a convolution that pads with zeros: where the padding is, the shift would
    be wrong.
    """
    image = keras.Input((4, 4, 1))
    x = L.BatchNormalization(name="norm")(L.ReLU()(image))
    model = keras.Model(image, L.Flatten()(L.Conv2D(1, 3, padding="same")(x)))
    assert fold_constants(model) is model


def gated(hard_sigmoid):
    image = keras.Input((4, 4, 2))
    x = L.Conv2D(2, 1, activation="relu", name="first")(image)
    gate = L.Conv2D(2, 1, name="excite")(L.GlobalAveragePooling2D(keepdims=True)(x))
    x = L.Multiply(name="scale")([x, hard_sigmoid(gate)])
    x = L.Conv2D(3, 1, use_bias=False, name="project")(x)
    return keras.Model(image, L.Dense(2)(L.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize(
    "hard_sigmoid",
    [lambda x: L.ReLU(6.0)(x + 3.0) * (1 / 6), lambda x: (1 / 6) * L.ReLU(6.0)(x + 3.0),
    lambda x: L.ReLU(6.0)(x + 3.0) / 6.0,
     lambda x: L.Rescaling(1 / 6)(L.ReLU(6.0)(x + 3.0))],
)  # fmt: skip
def test_the_sixth_of_a_hard_sigmoid_goes_into_the_projection(hard_sigmoid, tmp_path):
    keras.utils.set_random_seed(1)
    model = gated(hard_sigmoid)
    folded = fold_constants(model)
    before = model.get_layer("project").get_weights()[0]
    np.testing.assert_allclose(folded.get_layer("project").get_weights()[0], before / 6, rtol=1e-6)
    values = np.random.default_rng(0).normal(size=(4, 4, 4, 2)).astype(np.float32)
    np.testing.assert_allclose(answers(folded, values), answers(model, values), atol=1e-6)
    for network, products in ((model, 1), (folded, 0)):
        (tmp_path / "n.tflite").write_bytes(to_tflite(network))
        assert len(read_tflite(tmp_path / "n.tflite").unexpected()) == products
    # Of two tensors
    assert [layer.operator for layer in read_tflite(tmp_path / "n.tflite").layers].count("MUL") == 1


@pytest.mark.parametrize("end", ["something else reads it", "not linear", "negative", "a number divided"])
def test_a_factor_that_nothing_can_hold_stays(end):
    image = keras.Input((4, 4, 2))
    x = L.Conv2D(2, 1)(image)
    y = {"negative": lambda: x * -0.5, "a number divided": lambda: 2.0 / x}.get(end, lambda: x * 0.5)()
    z = L.Activation("sigmoid")(y) if end == "not linear" else y
    z = L.GlobalAveragePooling2D()(L.Conv2D(2, 1)(z))
    if end == "something else reads it":
        z = L.Add()([z, L.Activation("tanh")(L.GlobalAveragePooling2D()(y))])
    model = keras.Model(image, L.Dense(2)(z))
    assert fold_constants(model) is model
