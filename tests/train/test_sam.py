"""Sharpness-aware minimization, on a network small enough to follow by hand."""

import keras
import numpy as np
import pytest

from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.training.fit.sam import SharpnessAware
from fer_hailo.training.fit.state import keras_numpy

RHO, RATE = 0.5, 0.1


def slope(w, x, y):
    """Of the mean of (w x - y)^2."""
    return 2 * np.mean((x @ w - y)[:, None] * x, axis=0)


def test_a_step_by_hand():
    image = keras.Input((2,))
    model = SharpnessAware(image, keras.layers.Dense(1, use_bias=False)(image))
    model.rho = RHO
    x, y, w = (
        np.array([[1.0, 2.0], [3.0, -1.0]], "f4"),
        np.array([1.0, 0.0], "f4"),
        np.array([0.3, -0.2], "f4"),
    )
    model.layers[-1].set_weights([w[:, None]])
    model.compile(keras.optimizers.SGD(RATE), "mse", metrics=["mae"])
    history = model.fit(x, y[:, None], batch_size=2, epochs=1, verbose=0).history
    first = slope(w, x, y)
    near = w + RHO * first / np.linalg.norm(first)
    np.testing.assert_allclose(
        keras_numpy(model.layers[-1].kernel)[:, 0], w - RATE * slope(near, x, y), rtol=1e-5
    )
    # Of where it stands, not of where it looks
    assert history["loss"] == pytest.approx([np.mean((x @ w - y) ** 2)])
    assert history["mae"] == pytest.approx([np.mean(np.abs(x @ w - y))])


class Draws(keras.layers.Layer):
    """Multiplies by numbers drawn anew in each call, and notes them."""

    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(0)
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        self.calls.assign(self.calls + 1)
        return x * keras.random.uniform((1, 2), seed=self.seeds)


def test_both_passes_see_the_same_and_statistics_move_once():
    image = keras.Input((2,))
    draws = Draws()
    model = SharpnessAware(image, keras.layers.Dense(1, use_bias=False)(draws(image)))
    model.rho = RHO
    x, y, w = np.array([[1.0, 2.0]], "f4"), np.array([3.0], "f4"), np.array([0.3, -0.2], "f4")
    model.layers[-1].set_weights([w[:, None]])
    model.compile(keras.optimizers.SGD(RATE), "mse")
    factors = keras_numpy(keras.random.uniform((1, 2), seed=keras.random.SeedGenerator(0)))
    model.fit(x, y[:, None], epochs=1, verbose=0)
    first = slope(w, x * factors, y)
    near = w + RHO * first / np.linalg.norm(first)
    np.testing.assert_allclose(
        keras_numpy(model.layers[-1].kernel)[:, 0], w - RATE * slope(near, x * factors, y), rtol=1e-5
    )
    assert float(keras_numpy(draws.calls)) == 1


def test_what_it_does_not_go_with():
    with pytest.raises(UserError, match="loss scaling of mixed_float16"):
        Config.of(sam_rho=0.05, precision="mixed_float16")
