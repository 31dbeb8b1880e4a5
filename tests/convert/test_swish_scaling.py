"""Nearly constant channels of an h-swish, widened: lines, gains and kernels worked out by hand."""

import keras
import numpy as np
import pytest

from fer_hailo.common.preprocess import PreprocessSpec, normalise
from fer_hailo.training.convert.graph import rebuild
from fer_hailo.training.convert.scaling import channel_groups
from fer_hailo.training.convert.swish_scaling import (
    Straight,
    hard_swish,
    straight_channels,
    straightened,
    widen_swishes,
)
from fer_hailo.training.evaluate.score import Scorer

SPEC = PreprocessSpec(source_size=16, input_size=16)
L = keras.layers


def between(*limits):
    """Values that each channel takes evenly from its low to its high."""
    low, high = np.float32(limits).T
    return np.linspace(low, high, 20_001, dtype=np.float32)


def test_h_swish():
    assert hard_swish(np.array([-4.0, -3, -1.5, 0, 1, 3, 5])).tolist() == pytest.approx(
        [0, 0, -0.375, 0, 4 / 6, 3, 5]
    )


def test_lines_and_gains_by_hand():
    """h(x) = (x^2 + 3 x) / 6 for x evenly between 1 and 2: by least squares the slope of x^2 is 2 * 1.5 = 3,
    that of h (3 + 3) / 6 = 1; E[x^2] = 7 / 3, so E[h] = (7 / 3 + 4.5) / 6 = 1.13889 and the offset 1.13889 -
    1.5 = -0.36111; at both ends, 4/6 and 10/6, the line is off by 4 / 6 - 1 + 0.36111 = 0.02778.
    """
    values = between((-3, 9), (1, 2), (5, 12))
    first, second = straight_channels(values, 0.0278)
    assert (first.number, first.slope) == (1, pytest.approx(1, abs=1e-4)) and first.offset == pytest.approx(
        -0.36111, abs=1e-4
    )
    # As wide as the widest other channel, whose h-swish goes to 9
    assert first.gain == pytest.approx(9 / (10 / 6), rel=1e-3)
    # The identity already, and too wide.
    assert (second.number, second.gain) == (
        2,
        pytest.approx(9 / 12, rel=1e-3),
    ) and second.slope == pytest.approx(1)
    assert [straight.number for straight in straight_channels(values, 0.0277)] == [2]


def test_rare_values_do_not_count():
    values = between((-3, 9), (1, 1.3))
    values[0, 1] = -2
    (straight,) = straight_channels(values, 0.01)
    assert straight.gain == pytest.approx(9 / (1.3 * 4.3 / 6), rel=1e-3)


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ((0.01, 0.02), "h-swish is as good as 0 there"),
        ((-1, 0.5), "no straight line"),
        ((2.0, 2.1), "9 / 1.785 * 1.667 = 8.4 is above 3"),
        ((0.05, 0.3), "9 / 0.165 * 0.025 = 1.4 is below 3"),
    ],
)
def test_which_channels_qualify(limits, why):
    assert [s.number for s in straight_channels(between((-3, 9), limits), 0.01)] == [1] * ("above" in why), (
        why
    )


def test_all_or_none_straight_is_left():
    assert (
        straight_channels(between((1, 1.1), (2, 2.1)), 0.01) == []
        and straight_channels(between((-3, 9), (-2, 8)), 0.01) == []
    )


def network():
    image = keras.Input((16, 16, 3))
    x = L.Conv2D(2, 1, name="stem")(image)
    x = L.Activation("hard_swish", name="swish")(x)
    x = L.DepthwiseConv2D(3, padding="same", use_bias=False, name="depth")(x)
    model = keras.Model(image, L.Dense(2, name="logits")(L.GlobalAveragePooling2D()(x)))
    # Channel 0 goes from -9 to 9, channel 1 from 1 to 2 over [-1, 1] of the first colour.
    model.get_layer("stem").set_weights(
        [np.float32([[9, 0.5], [0, 0], [0, 0]]).reshape(1, 1, 3, 2), np.float32([0, 1.5])]
    )
    return model


def test_kernels_by_hand():
    model = network()
    (group,) = [group for group in channel_groups(model) if group.swishes]
    edit = straightened(model, {"swish": ("stem", group)}, {"swish": [Straight(1, -0.25, 0.5, 8.0)]})
    kernel, bias = edit.weights["stem"]
    # 8 * 0.5 * kernel; 8 * (-0.25 + 0.5 * bias)
    assert kernel[0, 0].tolist() == [[9, 2], [0, 0], [0, 0]] and bias.tolist() == [0, 8 * (-0.25 + 0.75)]
    before = model.get_layer("depth").get_weights()[0]
    np.testing.assert_array_equal(edit.weights["depth"][0], before / np.float32([1, 8])[:, None])
    # What the depthwise convolution reads is 8 times what it read, the zeros of its padding with it.
    widened = rebuild(model, edit)
    x = normalise(np.full((1, 16, 16, 3), 255, np.uint8), SPEC)
    seen = [
        keras.Model(m.input, m.get_layer("swish").output).predict_on_batch(x)[0, 0, 0, 1]
        for m in (model, widened)
    ]
    assert seen == pytest.approx([2 * 5 / 6, 8 * (-0.25 + 0.5 * 2)])


def test_the_tolerance_is_the_largest_that_validation_bears():
    keras.utils.set_random_seed(5)
    model, rng = network(), np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    val = images[:, :, :, 0]
    widened, outcome = widen_swishes(model, images, val, SPEC)
    assert (
        outcome.tolerance == 0.1
        and [s.number for s in outcome.channels["swish"]] == [1]
        and outcome.same == 1
    )
    values = normalise(np.repeat(val[..., None], 3, axis=-1), SPEC)
    moved = np.abs(widened.predict_on_batch(values) - model.predict_on_batch(values)).max()
    assert outcome.moved == pytest.approx(float(moved), rel=1e-3) and 0 < moved < 0.1


def test_a_smaller_tolerance_is_taken_where_the_larger_ones_spoil_answers(monkeypatch):
    """The channel is off by some 0.028, as worked out above: with at most 0.02 it is not straight."""
    model, images = network(), np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    monkeypatch.setattr("fer_hailo.training.convert.swish_scaling.TOLERANCES", (0.02,))
    assert widen_swishes(model, images, images[:, :, :, 0], SPEC)[1].channels == {}
    monkeypatch.setattr("fer_hailo.training.convert.swish_scaling.TOLERANCES", (0.03,))
    assert widen_swishes(model, images, images[:, :, :, 0], SPEC)[1].tolerance == 0.03


def test_what_validation_does_not_bear_is_not_done(monkeypatch):
    monkeypatch.setattr("fer_hailo.training.convert.swish_scaling.SAME", 1.1)
    model, images = network(), np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    same, outcome = widen_swishes(model, images, images[:, :, :, 0], SPEC)
    assert same is model and (outcome.channels, outcome.tolerance, outcome.moved) == ({}, 0.0, 0.0)


def test_a_network_without_an_h_swish_costs_nothing(monkeypatch):
    monkeypatch.setattr("fer_hailo.training.convert.swish_scaling.Scorer", None)
    image = keras.Input((16, 16, 3))
    model = keras.Model(image, L.Dense(2)(L.GlobalAveragePooling2D()(L.ReLU()(L.Conv2D(2, 1)(image)))))
    same, outcome = widen_swishes(
        model, np.zeros((2, 16, 16, 3), np.uint8), np.zeros((2, 16, 16), np.uint8), SPEC
    )
    assert same is model and outcome.channels == {}


def test_what_is_known_is_not_computed_again(monkeypatch):
    """The original's logits, which the conversion has from scoring it."""
    model, images = network(), np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    val, scored = images[:, :, :, 0], []

    class Counted(Scorer):
        def logits(self, images, label=""):
            scored.append(len(images))
            return super().logits(images, label)

    monkeypatch.setattr("fer_hailo.training.convert.swish_scaling.Scorer", Counted)
    _, outcome = widen_swishes(model, images, val, SPEC)
    _, again = widen_swishes(model, images, val, SPEC, Scorer(model, SPEC).logits(val))
    assert again == outcome and scored == [40, 40, 40]
