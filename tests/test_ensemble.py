"""Several runs as one model."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from scipy.optimize import minimize

from fer_hailo.commands import ensemble as command
from fer_hailo.common.errors import UserError
from fer_hailo.common.metrics import softmax
from fer_hailo.deploy.home import Use, resolve
from fer_hailo.training import ensemble
from fer_hailo.training.convert.conversion import convert
from fer_hailo.training.data.dataset import load_dataset
from fer_hailo.training.evaluate.evaluation import evaluate_file
from fer_hailo.training.evaluate.score import Scorer
from fer_hailo.training.fit.distill import Distillation, Teachers, load_teachers
from fer_hailo.training.fit.loop import start
from fer_hailo.training.models.build import build_model, load_model
from fer_hailo.training.models.ensemble import fit_shares


@pytest.fixture(scope="module")
def other(small, tmp_path_factory):
    """A second run, with another size of input and another seed."""
    return start(
        small.change(seed=1, input_size=40, stage2_epochs=0), tmp_path_factory.mktemp("other") / "other"
    )


@pytest.fixture(scope="module")
def joined(trained, other, tmp_path_factory):
    return ensemble.join([str(trained), str(other)], False, {}, tmp_path_factory.mktemp("joined") / "both")


def test_shares_are_the_likeliest():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    answers = np.stack(
        [softmax(rng.normal(size=(200, 3)) + skill * np.eye(3)[labels]) for skill in (0.5, 1.5, 1.0)]
    )
    shares = fit_shares(answers, labels)

    def unlikely(values):
        mean = np.tensordot(softmax(values[None])[0], answers, 1)
        return -np.log(mean[np.arange(200), labels]).mean()

    best = minimize(unlikely, np.zeros(3), tol=1e-10)
    assert shares.sum() == pytest.approx(1) and shares.argmax() == 1
    assert unlikely(np.log(shares)) == pytest.approx(best.fun, abs=1e-6)


def test_the_vote_is_the_weighted_mean_of_its_members(joined, trained, other, small):
    record = json.loads((joined / "environment.json").read_text())["members"]
    test = load_dataset(small, None).test
    mean = 0
    for member, run in zip(record, (trained, other), strict=True):
        assert member["run"] == str(run)
        spec = small.preprocess if run == trained else replace(small.preprocess, input_size=40)
        mean = mean + member["share"] * softmax(
            Scorer(load_model(run / "best_model_float32.keras"), spec).logits(test.images)
        )
    spec = replace(small.preprocess, input_size=48)
    given = softmax(Scorer(load_model(joined / "best_model_float32.keras"), spec).logits(test.images))
    np.testing.assert_allclose(given, mean, atol=2e-5)
    stated = json.loads((joined / "metrics_test.json").read_text())
    assert stated["accuracy"] == (mean.argmax(axis=1) == test.labels).mean() and (joined / "DONE").exists()


def test_it_is_evaluated_as_one_model(joined):
    metrics, folder = evaluate_file(resolve(joined, Use.SCORE), "test", None)
    with pytest.raises(UserError, match="is an ensemble, which serves as a teacher"):
        convert(str(joined), {}, None, None, None)
    assert (
        folder == joined
        and metrics.accuracy == json.loads((joined / "metrics_test.json").read_text())["accuracy"]
    )


def test_it_can_teach(joined, small):
    config = small.change(teacher=(str(joined),), weights="none")
    (teacher,) = load_teachers(config)
    faces = keras.random.uniform((4, 32, 32, 3), -1, 1, seed=1)
    layer = Distillation(2.0, 1.0)
    layer(Teachers([teacher])(faces), build_model(config)(faces))
    assert np.isfinite(float(layer.losses[0])) and float(layer.losses[0]) > 0


def test_members_that_do_not_go_together(trained, small, converted, tmp_path):
    with pytest.raises(UserError, match="two or more"):
        command.main([str(trained)])
    with pytest.raises(UserError, match="is no Keras model"):
        ensemble.join([str(trained), str(converted / "model_float32.tflite")], True, {}, tmp_path / "x")
    two = start(small.change(classes=("angry", "happy"), stage2_epochs=0), tmp_path / "two")
    with pytest.raises(UserError, match="has classes"):
        ensemble.join([str(trained), str(two)], True, {}, tmp_path / "x")
    with pytest.raises(UserError, match="not an empty folder"):
        ensemble.join([str(trained), str(trained)], True, {}, trained)
    out = ensemble.join([str(trained), str(trained)], True, {}, tmp_path / "equal")
    assert [member["share"] for member in json.loads((out / "environment.json").read_text())["members"]] == [
        0.5,
        0.5,
    ]
    assert not (tmp_path / "x").exists()
