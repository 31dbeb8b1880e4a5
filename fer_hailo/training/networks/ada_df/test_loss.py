"""Ada-DF's loss, against values worked out by hand."""

import math

import numpy as np
import pytest
from keras import ops
from values import array, number

from fer_hailo.training.networks.ada_df import loss


def test_ramp():
    early, late = loss.ramp(ops.convert_to_tensor(1.0), 3), loss.ramp(ops.convert_to_tensor(6.0), 3)
    assert [number(value) for value in early] == pytest.approx([math.exp(-((2 / 3) ** 2)), 1])
    assert [number(value) for value in late] == pytest.approx([1, math.exp(-0.25)])
    assert [number(value) for value in loss.ramp(ops.convert_to_tensor(3.0), 3)] == pytest.approx([1, 1])


def test_class_distributions():
    sums = np.array([[7.2, 0.8, 0.0], [2.0, 2.0, 0.0], [0, 0, 0]], "f4")
    known = array(loss.distributions(sums, np.array([8, 4, 0], "f4"), 0.7))
    np.testing.assert_allclose(known, [[0.9, 0.1, 0], [0.15, 0.7, 0.15], [0.15, 0.15, 0.7]], rtol=1e-6)


def test_fused_targets():
    """Gates .2, .4 and .6 within the batch: shares .2, .6 and 1."""
    first, gates = np.zeros((3, 2), "f4"), np.array([[0.2], [0.4], [0.6]], "f4")
    known = np.array([[0.9, 0.1], [0.3, 0.7]], "f4")
    given = array(loss.fused(first, gates, known, np.array([[1, 0], [0, 1], [0, 1]], "f4")))
    np.testing.assert_allclose(given, [[0.58, 0.42], [0.38, 0.62], [0.3, 0.7]], rtol=1e-5)
    same = array(loss.fused(first, np.full((3, 1), 0.5, "f4"), known, np.array([[1, 0]] * 3, "f4")))
    np.testing.assert_allclose(same[:, 0], 0.2 * 0.9 + 0.8 * 0.5)  # no gate is larger than another


def test_rank_hinge():
    gates = np.array([[0.5], [0.1], [0.3]] + [[0.5]] * 7, "f4")  # the lowest three: .1, .3, .5
    assert number(loss.rank_hinge(gates)) == 0
    near = np.array([[0.5]] * 7 + [[0.46]] * 3, "f4")
    assert number(loss.rank_hinge(near)) == pytest.approx(0.03, rel=1e-4)


def test_fusion_adds_both_losses_and_learns_the_classes():
    """Two steps an epoch: the distributions are renewed after the second, from what the first branch said."""
    layer = loss.Fusion(2)
    second, first = np.log(np.array([[0.6, 0.4]], "f4")), np.log(np.array([[0.9, 0.1]], "f4"))
    gates, targets = np.array([[0.5]], "f4"), np.array([[1.0, 0.0]], "f4")
    layer(second, first, gates, targets, training=True)
    wanted = 0.8 * np.array([0.9, 0.1]) + 0.2 * np.array([0.7, 0.3])  # the gate is the batch's lowest
    divergence = np.sum(wanted * np.log(wanted / [0.6, 0.4]))
    wanted = -math.log(0.9) + math.exp(-((2 / 3) ** 2)) * divergence  # and no ranks of a single image
    assert number(layer.losses[0]) == pytest.approx(wanted, rel=1e-4)
    np.testing.assert_allclose(array(layer.known), loss.fallback(2, 0.7), rtol=1e-6)
    layer(second, first, gates, targets, training=True)
    np.testing.assert_allclose(array(layer.known), [[0.9, 0.1], [0.3, 0.7]], rtol=1e-5)
    assert array(layer.counts).sum() == 0 and number(layer.step) == 2
    layer(second, first, gates, targets, training=False)
    assert number(layer.step) == 2


def test_with_a_teacher_the_labels_count_less():
    layer = loss.Fusion(2, own=0.25)
    values = (
        np.zeros((2, 2), "f4"),
        np.zeros((2, 2), "f4"),
        np.array([[0.4], [0.5]], "f4"),
        np.eye(2, dtype="f4"),
    )
    whole = loss.Fusion(2)
    layer(*values), whole(*values)
    assert number(layer.losses[0]) == pytest.approx(0.25 * number(whole.losses[0]))
