"""DDAMFN's loss, against a value worked out by hand."""

import numpy as np
import pytest
from values import number

from fer_hailo.training.networks.ddamfn import loss


def test_diversity():
    """Three maps of constants 0, 1 and 3: squared differences of 1, 9 and 4."""
    maps = [np.full((2, 3, 3, 4), value, "f4") for value in (0, 1, 3)]
    assert number(loss.alike(maps)) == pytest.approx(3 / 14)
