"""What LiteRT sees inside of a network is what Keras computes."""

import keras
import numpy as np
import pytest

from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.training.convert import watch as module
from fer_hailo.training.convert.watch import watcher
from fer_hailo.training.evaluate.score import Scorer

SPEC = PreprocessSpec(source_size=16, input_size=24)


@pytest.mark.parametrize("many", [1, 1000], ids=["LiteRT", "Keras"])
def test_values_are_those_of_keras(many, monkeypatch):
    monkeypatch.setattr(module, "MANY", many)
    keras.utils.set_random_seed(1)
    image = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu", name="first")(image)
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True, name="pool")(x)
    x = keras.layers.Flatten()(x * gate)
    model = keras.Model(image, keras.layers.Dense(3, name="end")(x))
    images = np.random.default_rng(0).integers(0, 256, (150, 16, 16), dtype=np.uint8)
    chunks = list(watcher(model, ["pool", "first", "end"], SPEC, len(images))(images, "watching"))
    found = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    for name, shape in (("first", (150, 11, 11, 4)), ("pool", (150, 1, 1, 4))):
        assert found[name].shape == shape
        flat = keras.Model(model.input, keras.layers.Flatten()(model.get_layer(name).output))
        expected = Scorer(flat, SPEC).logits(images).reshape(shape)
        np.testing.assert_allclose(found[name], expected, atol=0.02)  # FaceInput: within one grey level
    np.testing.assert_allclose(found["first"].mean(axis=(1, 2)), found["pool"][:, 0, 0], atol=1e-5)
    np.testing.assert_allclose(found["end"], Scorer(model, SPEC).logits(images), atol=0.05)
