"""EfficientNet-B0 sees images as its weights were trained on."""

from functools import partial

import keras
import numpy as np
from keras.src.applications import efficientnet as keras_efficientnet

from fer_hailo.training.networks.efficientnet_b0 import network


def shrink(patch):
    small = {"blocks_args": keras_efficientnet.DEFAULT_BLOCKS_ARGS[:2], "weights_name": "b0"}
    patch.setattr(
        keras.applications,
        "EfficientNetB0",
        partial(keras_efficientnet.EfficientNet, 0.25, 0.5, 224, **small),
    )


def test_efficientnet_without_the_normalisation_inside(tmp_path, monkeypatch):
    """Keras' graph for "imagenet" divides once more than its graph for a file; ours gives what the first
    gives, for both.
    """
    shrink(monkeypatch)
    pictures = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.float32)
    seed = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(64, 64, 3))
    (norm,) = (layer for layer in seed.layers if isinstance(layer, keras.layers.Normalization))
    norm.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]), np.array(0)])
    seed.save_weights(tmp_path / "w.weights.h5")
    monkeypatch.setattr(
        keras_efficientnet.file_utils,
        "get_file",
        lambda *arguments, **options: str(tmp_path / "w.weights.h5"),
    )
    wanted = np.asarray(
        keras.applications.EfficientNetB0(include_top=False, weights="imagenet", input_shape=(64, 64, 3))(
            pictures
        )
    )
    for weights in ("imagenet", str(tmp_path / "w.weights.h5")):
        given = np.asarray(network.efficientnet_b0(64, weights)(pictures / 127.5 - 1))
        np.testing.assert_allclose(given, wanted, atol=2e-5 * np.abs(wanted).max())
