"""Oversampling, class weights, MixUp, and the two feeders."""

import numpy as np
import pytest

from fer_hailo.training.data.balance import (
    balanced_weights,
    compute_class_weights_effective,
    oversample_minority_classes,
)
from fer_hailo.training.data.feed import TrainingBatches, create_tf_dataset
from fer_hailo.training.data.mix import mixup, mixup_weights

FER2013_FIVE = np.array([3995, 436, 7215, 4965, 3171])  # train folder, five classes


def test_published_counts_of_the_seed():
    labels = np.repeat(np.arange(5), FER2013_FIVE)
    indices = np.arange(len(labels)) + 100
    out = oversample_minority_classes(indices, labels, 0.6, 42)
    assert np.bincount(labels[out - 100]).tolist() == [4329, 4329, 7215, 4965, 4329]
    assert (out[: len(indices)] == indices).all()
    times = np.bincount(out - 100)[labels == 1]
    assert set(times) <= {9, 10}  # 4329 = 9 x 436 + 405
    assert (out == oversample_minority_classes(indices, labels, 0.6, 42)).all()


def test_oversampling_off_or_needless():
    labels = np.array([0, 0, 1])
    assert oversample_minority_classes(np.arange(3), labels, 0.0, 0).tolist() == [0, 1, 2]
    assert oversample_minority_classes(np.arange(3), labels, 0.5, 0).tolist() == [0, 1, 2]


def test_class_weights_by_hand():
    # (1 - .5) / (1 - .5^n): n = 1 gives 1, n = 2 gives 2/3; mean 5/6
    np.testing.assert_allclose(compute_class_weights_effective([1, 2], 0.5), [1.2, 0.8])
    assert compute_class_weights_effective([5, 9], 0).tolist() == [1, 1]


def test_class_weights_of_the_seed_hardly_differ():
    weights = compute_class_weights_effective(FER2013_FIVE, 0.99)
    np.testing.assert_allclose(weights, [0.9975, 1.0101, 0.9975, 0.9975, 0.9975], atol=5e-5)
    assert compute_class_weights_effective(FER2013_FIVE, 0.9999)[1] > 3


@pytest.mark.parametrize(("counts", "beta"), [([0, 3], 0.9), ([1, 2], 1.0), ([1, 2], -0.1)])
def test_class_weights_refuse(counts, beta):
    with pytest.raises(ValueError):
        compute_class_weights_effective(counts, beta)


def test_mixup_blends_pictures_and_labels_alike():
    rng = np.random.default_rng(0)
    images, onehot = rng.integers(0, 256, (6, 4, 4), dtype=np.uint8), np.eye(6, dtype=np.float32)
    mixed, labels = mixup(images, onehot, 0.4, seed=1)
    weight = labels.diagonal()
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
    for i in range(6):
        assert labels[i, i - 1] == pytest.approx(1 - weight[i], abs=1e-6)
        np.testing.assert_allclose(
            mixed[i], weight[i] * images[i] + (1 - weight[i]) * images[i - 1], rtol=1e-5
        )
    assert (mixup(images, onehot, 0.4, seed=1)[0] == mixed).all()
    assert (mixup(images, onehot, 0, seed=1)[1] == onehot).all()


def test_mixup_weights_are_beta_distributed():
    weights = mixup_weights(200_000, 0.2, 1.0, np.random.default_rng(0))
    assert weights.mean() == pytest.approx(0.5, abs=0.005)
    assert weights.var() == pytest.approx(1 / (4 * (2 * 0.2 + 1)), abs=0.002)  # Beta(a, a)
    assert (mixup_weights(10_000, 0.2, 0.3, np.random.default_rng(0)) == 1).mean() == pytest.approx(
        0.7, abs=0.05
    )


def batches(**options):
    images = np.random.default_rng(0).integers(0, 256, (10, 48, 48), dtype=np.uint8)
    return TrainingBatches(images, np.arange(10) % 3, 3, 4, 5, **options)


def test_every_picture_comes_once_an_epoch_and_orders_differ():
    feed, orders = batches(), []
    for epoch in (0, 1):
        feed.set_epoch(epoch)
        got = np.concatenate([feed[i][0]["images"] for i in range(len(feed))])
        assert sorted(map(bytes, got)) == sorted(map(bytes, feed.images))
        orders.append(got)
    assert len(feed) == 3 and (orders[0] != orders[1]).any()
    feed.set_epoch(0)
    assert (feed[0][0]["images"] == orders[0][:4]).all()


def test_batches_have_uint8_pictures_and_mixed_labels():
    inputs, onehot = batches(mixup_alpha=0.2, indices=np.array([0, 0, 1, 2, 2]))[0]
    assert inputs["images"].dtype == np.uint8 and inputs["images"].shape == (4, 48, 48)
    assert inputs["mix"].shape == (4, 1) and onehot.shape == (4, 3)
    np.testing.assert_allclose(onehot.sum(axis=1), 1, rtol=1e-6)


def test_tf_dataset_gives_the_same_batches_in_the_same_order():
    feed = batches(mixup_alpha=0.2)
    dataset = create_tf_dataset(feed.images, feed.targets, 3, 4, 5, epochs=2, mixup_alpha=0.2)
    got = list(dataset.as_numpy_iterator())
    assert len(got) == 6
    for number, (inputs, onehot) in enumerate(got):
        feed.set_epoch(number // 3)
        wanted, labels = feed[number % 3]
        assert all((inputs[name] == wanted[name]).all() for name in wanted) and (onehot == labels).all()


def test_balanced_weights_by_hand():
    np.testing.assert_allclose(
        balanced_weights(np.array([0, 2, 2, 0, 2, 1])), [1 / 2, 1 / 3, 1 / 3, 1 / 2, 1 / 3, 1]
    )


def test_a_balanced_epoch_shows_every_class_as_often():
    labels = np.repeat([0, 1, 2], [900, 90, 10])
    images = np.zeros((1000, 16, 16), np.uint8)
    feed = TrainingBatches(images, labels, 3, 100, 5, weights=balanced_weights(labels))
    again = TrainingBatches(images, labels, 3, 100, 5, weights=balanced_weights(labels))
    again.set_epoch(3)  # as a run goes on that was cut
    assert len(feed) == 10
    orders = []
    for epoch in (0, 3):
        feed.set_epoch(epoch)
        counts = np.bincount(labels[feed.order])
        assert counts.sum() == 1000 and abs(counts - 1000 / 3).max() < 4 * np.sqrt(1000 * 2 / 9)
        orders.append(feed.order)
    assert (orders[0] != orders[1]).any() and (orders[1] == again.order).all()
