"""The average of the weights: what is exported, and its batch-norm statistics."""

import keras
import numpy as np
import pytest

from fer_hailo.training.data.dataset import load_dataset
from fer_hailo.training.data.feed import TrainingBatches
from fer_hailo.training.evaluate.score import Scorer
from fer_hailo.training.fit import step
from fer_hailo.training.fit.callbacks import Validate
from fer_hailo.training.fit.devices import Devices
from fer_hailo.training.fit.state import keras_numpy
from fer_hailo.training.models.build import batch_norms, build_model


@pytest.fixture(scope="module")
def validated(small):
    """Two steps with an average of momentum .5, then one validation."""
    config = small.change(ema=0.5, unfreeze_layers=0, train_batch_norm=True)
    data = load_dataset(config, None)
    network, export = build_model(config, stage=2), build_model(config, stage=2)
    model = step.training_model(network, step.Setting(config, np.bincount(data.train.labels), 2))
    batches = TrainingBatches(data.train.images[:64], data.train.labels[:64], 5, 32, 0)
    loss = step.make_loss(config, np.bincount(data.train.labels))
    model.compile(step.make_optimizer(config, 1, 2), loss, metrics=["accuracy"])
    seen = []

    class Record(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            # JAX keeps the weights elsewhere during an epoch
            getattr(self.model, "jax_state_sync", lambda: None)()
            seen.append(keras_numpy(network.get_layer("logits").kernel).copy())

        def on_epoch_end(self, epoch, logs=None):
            call.set_model(self.model)
            call.on_epoch_end(epoch, logs)

    call = Validate(
        network, export, Scorer(export, config.preprocess), data.val, loss, batches, Devices(), config
    )
    model.fit(batches, callbacks=[Record()], verbose=0, shuffle=False)
    return network, export, seen


def test_export_holds_the_average(validated):
    _, export, seen = validated
    np.testing.assert_allclose(
        keras_numpy(export.get_layer("logits").kernel), 0.5 * seen[0] + 0.5 * seen[1], rtol=1e-5, atol=1e-7
    )


def test_statistics_are_re_estimated_and_momentum_is_put_back(validated):
    network, export, _ = validated
    first = export.get_layer("head_norm1")
    assert not np.allclose(
        keras_numpy(first.moving_mean), keras_numpy(network.get_layer("head_norm1").moving_mean), atol=1e-4
    )
    assert all(layer.momentum in (0.9, 0.99) for layer in batch_norms(export.layers))
    assert (
        keras_numpy(export.get_layer("norm0").moving_mean)
        == keras_numpy(network.get_layer("norm0").moving_mean)
    ).all()  # frozen


def test_statistics_of_the_first_head_norm_by_another_way(validated, small):
    """Its input is the pooled features, which no dropout precedes: the mean over all training images,
    computed directly.
    """
    _, export, _ = validated
    data = load_dataset(small, None)
    pooled = keras.Model(export.input, export.get_layer("head_pool").output)
    features = Scorer(pooled, small.preprocess).logits(data.train.images[:64])
    np.testing.assert_allclose(
        keras_numpy(export.get_layer("head_norm").moving_mean), features.mean(axis=0), rtol=1e-3, atol=1e-5
    )
    np.testing.assert_allclose(
        keras_numpy(export.get_layer("head_norm").moving_variance), features.var(axis=0), rtol=1e-3, atol=1e-6
    )
