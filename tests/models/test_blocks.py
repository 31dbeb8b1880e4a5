"""The pieces that networks are built of."""

import keras
import numpy as np
import pytest
from keras import ops

from fer_hailo.training.networks.blocks import depthwise


@pytest.mark.parametrize(("size", "area"), [(3, 9), (7, 49), ((1, 5), 5)])
def test_a_depthwise_kernel_starts_as_large_as_what_it_sees(size, area):
    """Noise keeps twice its variance, which a ReLU would halve, however many channels stand beside each
    other.
    """
    keras.utils.set_random_seed(0)
    image = keras.Input((9, 9, 400))
    network = keras.Model(image, depthwise(image, size, pad=False, name="d"))
    kernel = ops.convert_to_numpy(network.get_layer("d").kernel)
    assert kernel.std() == pytest.approx((2 / area) ** 0.5, rel=0.05)
    noise = np.random.default_rng(0).normal(size=(8, 9, 9, 400)).astype("f4")
    assert ops.convert_to_numpy(network(noise)).var() == pytest.approx(2, rel=0.1)
