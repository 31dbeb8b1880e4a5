"""Networks of keras.applications, against Keras' own with Keras' own preprocessing."""

import keras
import numpy as np

from fer_hailo.common.config import Config
from fer_hailo.training.models.build import build_model


def check_same(name: str, make, normalise, tmp_path) -> None:
    """A file of initial weights gives in ours the features that it gives there."""
    pictures = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.float32)
    original = make(include_top=False, weights=None, input_shape=(64, 64, 3))
    original.save_weights(tmp_path / "w.weights.h5")
    wanted = np.asarray(original(normalise(pictures.copy())))
    ours = build_model(Config.of(arch=name, weights=str(tmp_path / "w.weights.h5"), input_size=64))
    features = keras.Model(ours.input, ours.get_layer("head_pool").input)
    np.testing.assert_allclose(features(pictures / 127.5 - 1), wanted, atol=2e-5 * np.abs(wanted).max())
