"""DAN's losses, against values worked out by hand."""

import math

import numpy as np
import pytest
from values import number

from fer_hailo.training.networks.dan import loss


def test_affinity():
    """Two classes in two dimensions: centres (0, 0) and (4, 2), whose variances over C - 1 are 8 and 2."""
    centres = np.array([[0.0, 0.0], [4.0, 2.0]], "f4")
    features = np.array([[3.0, 4.0], [4.0, 0.0]], "f4")
    targets = np.eye(2, dtype="f4")
    assert number(loss.affinity(features, centres, targets)) == pytest.approx((25 + 4) / 2 / 10)
    mixed = np.array([[0.5, 0.5]], "f4")  # 25 to the one, 1 + 4 to the other
    assert number(loss.affinity(features[:1], centres, mixed)) == pytest.approx(15 / 10, rel=1e-5)


def test_partition():
    """Two heads whose numbers differ by 2 and by 0: variances over K - 1 are 2 and 0."""
    heads = np.array([[[1.0, 5.0], [3.0, 5.0]]], "f4")
    assert number(loss.partition(heads)) == pytest.approx(math.log(1 + 2 / 1))
    # Heads that are the same
    assert number(loss.partition(np.zeros((1, 4, 2), "f4"))) == pytest.approx(math.log(1 + 4e12), rel=1e-4)
