"""LNSU-Net's losses, against values worked out by hand."""

import math

import keras
import numpy as np
import pytest
from values import array, number

from fer_hailo.training.fit.losses import FocalLoss
from fer_hailo.training.networks.lnsu import loss


def test_rebalanced_labels():
    """Of 100 images 50, 30 and 20: weights .2, 1/3 and .5."""
    counts = np.array([50, 30, 20])
    np.testing.assert_allclose(loss.balance(counts), [0.2, 1 / 3, 0.5])
    rows = loss.spread(counts)
    np.testing.assert_allclose(rows[0], [0.7, 0.3 * (1 / 3) / (5 / 6), 0.3 * 0.5 / (5 / 6)])
    np.testing.assert_allclose(rows.sum(axis=1), 1)


def test_the_loss_of_rebalanced_labels():
    rows = np.array([[0.7, 0.3], [0.3, 0.7]])
    focal = FocalLoss(0, spread=rows)
    logits = np.log(np.array([[0.8, 0.2]], "f4"))
    wanted = -(0.7 * math.log(0.8) + 0.3 * math.log(0.2))
    assert number(focal(np.array([[1.0, 0.0]], "f4"), logits)) == pytest.approx(wanted, rel=1e-5)
    again = FocalLoss.from_config(focal.get_config())
    assert number(again(np.array([[1.0, 0.0]], "f4"), logits)) == pytest.approx(wanted, rel=1e-5)


def test_disagreement():
    """One row of two places, two classes. The mirrored view has the first class at the wrong end."""
    here = np.array([[[[1.0, 0.0], [3.0, 0.0]]]], "f4")
    there = np.array([[[[1.0, 0.0], [3.0, 2.0]]]], "f4")  # turned back: (3, 2), (1, 0)
    wanted = ((4 * 0.5 + 4 * 2.0) + (4 * 0.5 + 0)) / 2
    assert number(loss.disagreement(here, there, np.array([0.5, 2.0], "f4"))) == pytest.approx(wanted)
    assert number(loss.disagreement(here, here[:, :, ::-1], np.array([0.5, 2.0], "f4"))) == 0


def test_consistency_sees_through_the_head():
    """A norm that doubles the first feature and a dense layer that adds both: the map is 2 a + b."""
    norm, dense = keras.layers.BatchNormalization(epsilon=0.0), keras.layers.Dense(1, use_bias=False)
    norm.build((None, 2))
    dense.build((None, 2))
    norm.set_weights([np.array(value, "f4") for value in ([4, 1], [0, 0], [0, 0], [4, 1])])
    dense.set_weights([np.ones((2, 1), "f4")])
    layer = loss.Consistency(np.array([1.0]), norm, dense)
    here = np.array([[[[1.0, 1.0], [0.0, 0.0]]]], "f4")  # 3, 0
    there = np.array([[[[0.0, 0.0], [2.0, 0.0]]]], "f4")  # turned back: 4, 0
    logits = np.zeros((1, 1), "f4")
    assert array(layer(logits, here, there)).tolist() == [[0.0]]
    assert number(layer.losses[0]) == pytest.approx(0.1 * 1 / 2)
