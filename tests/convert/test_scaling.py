"""Channels that are made equally wide: scales, kernels and outputs worked out by hand."""

import keras
import numpy as np
import pytest

from fer_hailo.common.preprocess import PreprocessSpec, normalise
from fer_hailo.training.convert.channels import Channels, measure
from fer_hailo.training.convert.graph import rebuild
from fer_hailo.training.convert.scaling import channel_groups, factors_of, rescaled, scale_channels

SPEC = PreprocessSpec(source_size=16, input_size=16)
L = keras.layers


def channels(peak):
    peak = np.float32(peak)
    return Channels(-peak, peak, peak)


def test_factors_by_hand():
    # The median of 1, 2, 8 is 2.
    np.testing.assert_allclose(factors_of([channels([1, 2, 8])]), [2, 1, 0.25])
    # A dead channel does not count and stays; 2 / 0.001 = 2000 is limited to 64.
    np.testing.assert_allclose(factors_of([channels([0, 2, 2, 0.001, 4])]), [1, 1, 1, 64, 0.5], rtol=1e-6)
    # Of two tensors the geometric mean: sqrt(2 * 1), sqrt(1 * 4), sqrt(0.25 * 1).
    both = factors_of([channels([1, 2, 8]), channels([2, 0.5, 2])])
    np.testing.assert_allclose(both, np.sqrt([2 * 1, 1 * 4, 0.25 * 1]), rtol=1e-6)
    np.testing.assert_array_equal(factors_of([channels([0, 0])]), [1, 1])


def test_two_channels_by_hand():
    """A convolution with ReLU and one that reads it, scales 2 and 1/2."""
    image = keras.Input((1, 1, 1))
    x = L.Conv2D(2, 1, activation="relu", name="first")(image)
    model = keras.Model(image, L.Flatten()(L.Conv2D(1, 1, name="second")(x)))
    model.get_layer("first").set_weights([np.float32([[[[1, 4]]]]), np.float32([0.5, -2])])
    model.get_layer("second").set_weights([np.float32([[[[3], [5]]]]), np.float32([7])])
    (group,) = [group for group in channel_groups(model) if group.makers and group.readers]
    assert (group.makers, group.readers, group.free) == (["first"], ["second"], True)
    edit = rescaled(model, [(group, np.float32([2, 0.5]))])
    assert [weight.ravel().tolist() for weight in edit.weights["first"]] == [[2, 2], [1, -1]]
    assert [weight.ravel().tolist() for weight in edit.weights["second"]] == [[1.5, 10], [7]]
    # x = 1: 3 relu(1.5) + 5 relu(2) + 7 = 21.5; x = -1: both are cut off, 7
    scaled = rebuild(model, edit)
    assert scaled.predict_on_batch(np.float32([1, -1]).reshape(2, 1, 1, 1)).ravel().tolist() == [21.5, 7]


def test_channels_of_zeros_end_a_group():
    """A shortcut that zeros continue to more channels: its four are not those of the convolution's two, which
    stay as they are.
    """
    image = keras.Input((4, 4, 3))
    short = L.Conv2D(2, 1, name="short")(image)
    more = L.ZeroPadding2D(((0, 0), (0, 2)), data_format="channels_first", name="more")(short)
    total = L.Add(name="total")([more, L.Conv2D(4, 1, name="wide")(image)])
    model = keras.Model(image, L.Conv2D(1, 1, name="last")(total))
    groups = {maker: group for group in channel_groups(model) for maker in group.makers}
    assert groups["short"] is not groups["wide"] and not groups["short"].free and not groups["wide"].free


def test_a_peak_is_the_percentile_of_absolute_values():
    image = keras.Input((16, 16, 3))
    model = keras.Model(image, L.Flatten()(L.Conv2D(1, 1, use_bias=False, name="conv")(image)))
    model.get_layer("conv").set_weights([np.float32([-2, 0, 0]).reshape(1, 1, 3, 1)])
    images = np.random.default_rng(0).integers(0, 256, (79, 16, 16, 3), dtype=np.uint8)
    values = -2 * normalise(images, SPEC)[..., 0].ravel()
    found = measure(model, ["conv"], images, SPEC)["conv"]
    assert (found.low[0], found.high[0]) == (values.min(), values.max())
    # 79 * 256 values, of which a ten-thousandth, rounded up, is 3: the third largest
    assert found.peak[0] == np.sort(np.abs(values))[-3]


def network():
    """All that passes a factor on, and all that does not."""
    keras.utils.set_random_seed(3)
    image = keras.Input((16, 16, 3))
    x = L.Conv2D(4, 3, strides=2, padding="same", name="stem")(image)
    x = L.Activation("hard_swish", name="swish")(x)
    x = L.Conv2D(6, 1, name="linear")(x)
    y = L.Conv2D(8, 1, activation="relu", name="expand")(x)
    y = L.ZeroPadding2D()(y)
    y = L.ReLU(name="relu")(L.DepthwiseConv2D(3, name="depth")(y))
    gate = L.Conv2D(2, 1, activation="relu", name="squeeze")(L.GlobalAveragePooling2D(keepdims=True)(y))
    gate = L.ReLU(6.0)(L.Conv2D(8, 1, name="excite")(gate) + 3.0)
    y = L.Conv2D(6, 1, name="project")(L.Multiply()([y, gate]))
    x = L.Add(name="sum")([x, y])
    x = L.MaxPooling2D()(L.Conv2D(5, 3, activation="relu", name="conv")(x))
    x = L.Dense(3, activation="relu", name="hidden")(L.GlobalAveragePooling2D()(x))
    return keras.Model(image, L.Dense(2, name="logits")(x))


def test_groups_of_a_network():
    groups = {
        tuple(group.makers): group
        for group in channel_groups(network())
        if group.free and group.makers and group.readers
    }
    assert {makers: group.readers for makers, group in groups.items()} == {
        ("expand",): ["depth"], ("depth",): ["squeeze", "project"], ("squeeze",): ["excite"],
        ("linear", "project"): ["expand", "conv"], ("conv",): ["hidden"], ("hidden",): ["logits"],
    }  # fmt: skip
    (stem,) = [group for group in channel_groups(network()) if group.swishes]
    assert (stem.swishes, stem.readers, stem.makers, stem.free) == (["swish"], ["linear"], [], True)


def test_scaled_networks_answer_alike_and_have_equal_channels():
    model, images = network(), np.random.default_rng(1).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    kernel, bias = model.get_layer("expand").get_weights()
    uneven = np.float32([0.05, 0.1, 1, 1, 2, 4, 8, 20])
    model.get_layer("expand").set_weights([kernel * uneven, bias])
    scaled, count = scale_channels(model, images, SPEC)
    values = normalise(images, SPEC)
    np.testing.assert_allclose(scaled.predict_on_batch(values), model.predict_on_batch(values), atol=1e-5)
    before, after = (measure(m, ["expand"], images, SPEC)["expand"].peak for m in (model, scaled))
    live = before > 0
    assert after[live] == pytest.approx(np.full(live.sum(), np.median(before[live])), rel=1e-4) and count > 8
    assert np.ptp(before[live]) > 1


@pytest.mark.parametrize("what", ["relu6", "sigmoid", "answers", "concatenated", "same times same", "split"])
def test_what_passes_no_factor_on_is_left(what):
    image = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 1, name="conv")(image)
    y = {
        "relu6": lambda: L.ReLU(6.0)(x), "sigmoid": lambda: L.Activation("sigmoid")(x), "answers": lambda: x,
        "concatenated": lambda: L.Concatenate()([x, x]), "same times same": lambda: L.Multiply()([x, x]),
        "split": lambda: L.Add()(keras.ops.split(x, 2, axis=-1)),
    }[what]()  # fmt: skip
    y = L.GlobalAveragePooling2D()(y)
    model = keras.Model(image, y if what == "answers" else L.Dense(2)(y))
    assert not [
        group for group in channel_groups(model) if "conv" in group.makers and group.free and group.readers
    ]
