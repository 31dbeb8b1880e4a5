import keras
import numpy as np
import pytest

from fer_hailo.training.fit.losses import FocalLoss
from fer_hailo.training.fit.schedules import WarmupCosine, WarmupSteps


def test_focal_loss_by_hand():
    # p = (.5, .25, .25) from logits log p; truth 0: w (1 - .5)^g (-log .5)
    logits = np.log([[0.5, 0.25, 0.25]]).astype("f4")
    truth = np.array([[1, 0, 0]], "f4")
    assert float(FocalLoss(2.0)(truth, logits)) == pytest.approx(0.25 * np.log(2), rel=1e-5)
    assert float(FocalLoss(0.5, [3, 1, 1])(truth, logits)) == pytest.approx(
        3 * 0.5**0.5 * np.log(2), rel=1e-5
    )


def test_mixed_labels_and_batch_mean_by_hand():
    logits = np.log([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]]).astype("f4")
    truth = np.array([[0.7, 0.3, 0], [0, 0, 1]], "f4")
    first = 0.7 * 0.5 * -np.log(0.5) * 2 + 0.3 * 0.75 * -np.log(0.25) * 1  # gamma 1, weights 2 and 1
    second = 0.4 * -np.log(0.6) * 1
    assert float(FocalLoss(1.0, [2, 1, 1])(truth, logits)) == pytest.approx((first + second) / 2, rel=1e-5)


def test_gamma_0_is_cross_entropy():
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(8, 5)).astype("f4"), np.eye(5, dtype="f4")[rng.integers(0, 5, 8)]
    for smoothing in (0.0, 0.1):
        plain = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)(
            truth, logits
        )
        assert float(FocalLoss(0.0, label_smoothing=smoothing)(truth, logits)) == pytest.approx(
            float(plain), rel=1e-4
        )


def test_loss_survives_serialisation():
    loss = FocalLoss(0.7, [1, 2], 0.1)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    truth, logits = np.array([[0, 1]], "f4"), np.array([[1, -1]], "f4")
    assert float(again(truth, logits)) == float(loss(truth, logits))
    assert again.get_config() == loss.get_config()


def test_schedule_by_hand():
    rate = WarmupCosine(peak=1.0, floor=0.1, warmup_steps=10, total_steps=30)
    at = [float(rate(step)) for step in (0, 5, 10, 20, 30, 99)]
    # linear .1 to 1; half way down the cosine (1 + .1) / 2
    assert at == pytest.approx([0.1, 0.55, 1.0, 0.55, 0.1, 0.1], abs=1e-6)


def test_schedule_without_warm_up_and_round_trip():
    rate = WarmupCosine(1e-3, 1e-6, 0, 100)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(rate))
    for schedule in (rate, again):
        assert [float(schedule(s)) for s in (0, 50, 100)] == pytest.approx(
            [1e-3, (1e-3 + 1e-6) / 2, 1e-6], rel=1e-4
        )


@pytest.mark.parametrize("steps", [(5, 5), (-1, 5)])
def test_schedule_refuses(steps):
    with pytest.raises(ValueError, match="warmup_steps"):
        WarmupCosine(1, 0, *steps)


def test_steps():
    rate = WarmupSteps(0.8, factor=0.5, every=10, warmup_steps=4)
    given = [float(rate(step)) for step in (0, 1, 4, 13, 14, 24)]
    assert given == pytest.approx([0, 0.2, 0.8, 0.8, 0.4, 0.2])
    assert float(WarmupSteps(**WarmupSteps(0.8, 0.5, 10, 0).get_config())(0)) == pytest.approx(0.8)
