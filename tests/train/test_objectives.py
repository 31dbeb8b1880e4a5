"""What the papers add to the loss, against values worked out by hand."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.training.fit.losses import FocalLoss
from fer_hailo.training.networks.ada_df import loss as ada_df
from fer_hailo.training.networks.dan import loss as dan
from fer_hailo.training.networks.ddamfn import loss as ddamfn
from fer_hailo.training.networks.lnsu import loss as lnsu
from fer_hailo.training.networks.registry import objective


def number(value) -> float:
    return float(ops.convert_to_numpy(value))


def array(value) -> np.ndarray:
    return ops.convert_to_numpy(ops.convert_to_tensor(value))


def test_affinity():
    """Two classes in two dimensions: centres (0, 0) and (4, 2), whose variances over C - 1 are 8 and 2."""
    centres = np.array([[0.0, 0.0], [4.0, 2.0]], "f4")
    features = np.array([[3.0, 4.0], [4.0, 0.0]], "f4")
    targets = np.eye(2, dtype="f4")
    assert number(dan.affinity(features, centres, targets)) == pytest.approx((25 + 4) / 2 / 10)
    mixed = np.array([[0.5, 0.5]], "f4")  # 25 to the one, 1 + 4 to the other
    assert number(dan.affinity(features[:1], centres, mixed)) == pytest.approx(15 / 10, rel=1e-5)


def test_partition():
    """Two heads whose numbers differ by 2 and by 0: variances over K - 1 are 2 and 0."""
    heads = np.array([[[1.0, 5.0], [3.0, 5.0]]], "f4")
    assert number(dan.partition(heads)) == pytest.approx(math.log(1 + 2 / 1))
    assert number(dan.partition(np.zeros((1, 4, 2), "f4"))) == pytest.approx(math.log(1 + 4e12), rel=1e-4)  # heads that are the same


def test_diversity():
    """Three maps of constants 0, 1 and 3: squared differences of 1, 9 and 4."""
    maps = [np.full((2, 3, 3, 4), value, "f4") for value in (0, 1, 3)]
    assert number(ddamfn.alike(maps)) == pytest.approx(3 / 14)


def test_rebalanced_labels():
    """Of 100 pictures 50, 30 and 20: weights .2, 1/3 and .5."""
    counts = np.array([50, 30, 20])
    np.testing.assert_allclose(lnsu.balance(counts), [0.2, 1 / 3, 0.5])
    rows = lnsu.spread(counts)
    np.testing.assert_allclose(rows[0], [0.7, 0.3 * (1 / 3) / (5 / 6), 0.3 * 0.5 / (5 / 6)])
    np.testing.assert_allclose(rows.sum(axis=1), 1)


def test_the_loss_of_rebalanced_labels():
    rows = np.array([[0.7, 0.3], [0.3, 0.7]])
    loss = FocalLoss(0, spread=rows)
    logits = np.log(np.array([[0.8, 0.2]], "f4"))
    wanted = -(0.7 * math.log(0.8) + 0.3 * math.log(0.2))
    assert number(loss(np.array([[1.0, 0.0]], "f4"), logits)) == pytest.approx(wanted, rel=1e-5)
    again = FocalLoss.from_config(loss.get_config())
    assert number(again(np.array([[1.0, 0.0]], "f4"), logits)) == pytest.approx(wanted, rel=1e-5)


def test_disagreement():
    """One row of two places, two classes. The mirrored view has the first class at the wrong end."""
    here = np.array([[[[1.0, 0.0], [3.0, 0.0]]]], "f4")
    there = np.array([[[[1.0, 0.0], [3.0, 2.0]]]], "f4")  # turned back: (3, 2), (1, 0)
    wanted = ((4 * 0.5 + 4 * 2.0) + (4 * 0.5 + 0)) / 2
    assert number(lnsu.disagreement(here, there, np.array([0.5, 2.0], "f4"))) == pytest.approx(wanted)
    assert number(lnsu.disagreement(here, here[:, :, ::-1], np.array([0.5, 2.0], "f4"))) == 0


def test_consistency_sees_through_the_head():
    """A norm that doubles the first feature and a dense layer that adds both: the map is 2 a + b."""
    norm, dense = keras.layers.BatchNormalization(epsilon=0.0), keras.layers.Dense(1, use_bias=False)
    norm.build((None, 2))
    dense.build((None, 2))
    norm.set_weights([np.array(value, "f4") for value in ([4, 1], [0, 0], [0, 0], [4, 1])])
    dense.set_weights([np.ones((2, 1), "f4")])
    layer = lnsu.Consistency(np.array([1.0]), norm, dense)
    here = np.array([[[[1.0, 1.0], [0.0, 0.0]]]], "f4")  # 3, 0
    there = np.array([[[[0.0, 0.0], [2.0, 0.0]]]], "f4")  # turned back: 4, 0
    logits = np.zeros((1, 1), "f4")
    assert array(layer(logits, here, there)).tolist() == [[0.0]]
    assert number(layer.losses[0]) == pytest.approx(0.1 * 1 / 2)


def test_ramp():
    early, late = ada_df.ramp(ops.convert_to_tensor(1.0)), ada_df.ramp(ops.convert_to_tensor(6.0))
    assert [number(value) for value in early] == pytest.approx([math.exp(-((2 / 3) ** 2)), 1])
    assert [number(value) for value in late] == pytest.approx([1, math.exp(-0.25)])
    assert [number(value) for value in ada_df.ramp(ops.convert_to_tensor(3.0))] == pytest.approx([1, 1])


def test_class_distributions():
    sums = np.array([[7.2, 0.8, 0.0], [2.0, 2.0, 0.0], [0, 0, 0]], "f4")
    known = array(ada_df.distributions(sums, np.array([8, 4, 0], "f4")))
    np.testing.assert_allclose(known, [[0.9, 0.1, 0], [0.15, 0.7, 0.15], [0.15, 0.15, 0.7]], rtol=1e-6)


def test_fused_targets():
    """Gates .2, .4 and .6 within the batch: shares .2, .6 and 1."""
    first, gates = np.zeros((3, 2), "f4"), np.array([[0.2], [0.4], [0.6]], "f4")
    known = np.array([[0.9, 0.1], [0.3, 0.7]], "f4")
    given = array(ada_df.fused(first, gates, known, np.array([[1, 0], [0, 1], [0, 1]], "f4")))
    np.testing.assert_allclose(given, [[0.58, 0.42], [0.38, 0.62], [0.3, 0.7]], rtol=1e-5)
    same = array(ada_df.fused(first, np.full((3, 1), 0.5, "f4"), known, np.array([[1, 0]] * 3, "f4")))
    np.testing.assert_allclose(same[:, 0], 0.2 * 0.9 + 0.8 * 0.5)  # no gate is larger than another


def test_rank_hinge():
    gates = np.array([[0.5], [0.1], [0.3]] + [[0.5]] * 7, "f4")  # the lowest three: .1, .3, .5
    assert number(ada_df.rank_hinge(gates)) == 0
    near = np.array([[0.5]] * 7 + [[0.46]] * 3, "f4")
    assert number(ada_df.rank_hinge(near)) == pytest.approx(0.03, rel=1e-4)


def test_fusion_adds_both_losses_and_learns_the_classes():
    """Two steps an epoch: the distributions are renewed after the second, from what the first branch said."""
    layer = ada_df.Fusion(2)
    second, first = np.log(np.array([[0.6, 0.4]], "f4")), np.log(np.array([[0.9, 0.1]], "f4"))
    gates, targets = np.array([[0.5]], "f4"), np.array([[1.0, 0.0]], "f4")
    layer(second, first, gates, targets, training=True)
    wanted = 0.8 * np.array([0.9, 0.1]) + 0.2 * np.array([0.7, 0.3])  # the gate is the batch's lowest
    divergence = np.sum(wanted * np.log(wanted / [0.6, 0.4]))
    loss = -math.log(0.9) + math.exp(-((2 / 3) ** 2)) * divergence  # and no ranks of a single picture
    assert number(layer.losses[0]) == pytest.approx(loss, rel=1e-4)
    np.testing.assert_allclose(array(layer.known), ada_df.fallback(2), rtol=1e-6)
    layer(second, first, gates, targets, training=True)
    np.testing.assert_allclose(array(layer.known), [[0.9, 0.1], [0.3, 0.7]], rtol=1e-5)
    assert array(layer.counts).sum() == 0 and number(layer.step) == 2
    layer(second, first, gates, targets, training=False)
    assert number(layer.step) == 2


def test_with_a_teacher_the_labels_count_less():
    layer = ada_df.Fusion(2, own=0.25)
    values = np.zeros((2, 2), "f4"), np.zeros((2, 2), "f4"), np.array([[0.4], [0.5]], "f4"), np.eye(2, dtype="f4")
    whole = ada_df.Fusion(2)
    layer(*values), whole(*values)
    assert number(layer.losses[0]) == pytest.approx(0.25 * number(whole.losses[0]))


def test_a_method_that_does_not_fit():
    with pytest.raises(UserError, match="a head of one dense layer"):
        objective(Config.of(method="lnsu"))
    with pytest.raises(UserError, match="dan has a head and a method of its own"):
        objective(Config.of(method="lnsu", arch="dan", head_units=(), head_dropout=(0.1,)))
    assert objective(Config().change(arch="ddamfn")).outside == 1
