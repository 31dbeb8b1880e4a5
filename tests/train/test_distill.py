"""Learning from more than the labels: a teacher's answers, classes that are not scored, votes."""

import csv
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
from scipy.special import softmax

from fer_hailo.config import Config, load_config
from fer_hailo.data.dataset import load_dataset
from fer_hailo.data.votes import VOTES
from fer_hailo.errors import UserError
from fer_hailo.files import read_csv
from fer_hailo.models.build import load_model
from fer_hailo.runs import CONFIG, LABELS, MODEL
from fer_hailo.train import loop
from fer_hailo.train.distill import Distillation, load_teachers


def linear(side, kernel):
    """A network whose logits are the red value of the upper left corner times `kernel`."""
    inputs = keras.Input((side, side, 3))
    corner = keras.layers.Reshape((1,))(inputs[:, :1, :1, :1])
    model = keras.Model(inputs, keras.layers.Dense(len(kernel), use_bias=False)(corner))
    model.layers[-1].set_weights([np.array([kernel], "f4")])
    return model


def divergence(wanted, given):
    return (wanted * np.log(wanted / given)).sum(axis=1).mean()


def test_divergence_by_hand():
    faces = np.zeros((2, 8, 8, 3), "f4")
    faces[:, 0, 0, 0] = 0.5, -1.0
    logits = np.array([[0.2, -0.1, 0.4], [1.0, 0.3, -2.0]], "f4")
    layer = Distillation([linear(8, [1, 0, -1]), linear(8, [0, 2, 0])], temperature=2.0, weight=0.3)
    assert (keras.ops.convert_to_numpy(layer(faces, logits)) == logits).all()
    corner = np.array([[0.5], [-1.0]])
    wanted = (softmax(corner * [1, 0, -1] / 2, axis=1) + softmax(corner * [0, 2, 0] / 2, axis=1)) / 2
    expected = 0.3 * 2**2 * divergence(wanted, softmax(logits / 2, axis=1))
    assert float(layer.losses[0]) == pytest.approx(expected, rel=1e-5)
    assert not layer.trainable_variables  # a teacher does not learn


def test_logits_of_extra_classes_are_left_out_of_the_comparison():
    faces, logits = np.ones((1, 8, 8, 3), "f4"), np.array([[0.2, -0.1, 9.0]], "f4")
    layer = Distillation([linear(8, [0.2, -0.1])], temperature=1.0, weight=1.0)
    layer(faces, logits)
    assert float(layer.losses[0]) == pytest.approx(0, abs=1e-6)


def test_a_teacher_of_another_input_size_sees_the_whole_picture():
    faces = np.full((1, 8, 8, 3), 0.5, "f4")
    layer = Distillation([linear(16, [1, -1])], temperature=1.0, weight=1.0)
    layer(faces, np.array([[0.5, -0.5]], "f4"))
    assert float(layer.losses[0]) == pytest.approx(0, abs=1e-6)


def test_teachers_that_do_not_fit(trained, tmp_path, small):
    three = replace(small, classes=("angry", "happy", "neutral"), teacher=(str(trained),))
    with pytest.raises(UserError, match="the student is to know angry, happy, neutral"):
        load_teachers(three)
    other = shutil.copytree(trained, tmp_path / "other", ignore=shutil.ignore_patterns("checkpoint"))
    (other / LABELS).write_text("a\nb\nc\nd\ne\n")
    with pytest.raises(UserError, match="knows a, b, c, d, e"):
        load_teachers(replace(small, teacher=(str(other / MODEL),)))
    with pytest.raises(UserError, match="no model at"):
        load_teachers(replace(small, teacher=(str(tmp_path / "none"),)))
    with pytest.raises(UserError, match="one has colour"):
        load_teachers(replace(small, teacher=(str(trained),), color=True))


def test_configuration_refuses_a_class_twice():
    with pytest.raises(UserError, match="happy, which is there already"):
        Config(extra_classes=("happy",))
    assert Config(extra_classes=("sad", "fear")).extra_classes == ("fear", "sad")


@pytest.fixture(scope="module")
def taught(small, trained, tmp_path_factory):
    """A run of three classes with all that can be learnt from beside: two extra classes, votes, a teacher. And its arguments."""
    folder = tmp_path_factory.mktemp("taught")
    everything = load_dataset(small, None)
    with open(folder / "votes.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["split", "class", "file", *VOTES])
        for id, label in zip(everything.train.ids, everything.train.labels, strict=True):
            rows.writerow([*id.split("/"), *np.eye(10, dtype=int)[label] * 10])
    values = {"classes": ["angry", "happy", "neutral"], "extra_classes": ["disgust", "surprise"], "votes": str(folder / "votes.csv")}
    own = replace(load_config(trained / CONFIG), **values)
    teacher = loop.start(replace(own, stage2_epochs=0, votes=""), folder / "teacher")
    config = replace(own, teacher=(str(teacher),))
    return loop.start(config, folder / "whole"), config


def test_extra_classes_are_learnt_from_and_not_scored(taught, small):
    run, config = taught
    data = load_dataset(config, None)
    assert data.names == ("angry", "happy", "neutral") and data.extra_names == ("disgust", "surprise")
    assert [int((data.lessons().labels == label).sum()) for label in (3, 4)] == [20, 20]
    # The sides are those that the three classes alone would have.
    alone = load_dataset(replace(config, extra_classes=()), None)
    assert (data.val.ids == alone.val.ids).all() and (data.train.ids == alone.train.ids).all() and (data.test.ids == alone.test.ids).all()
    assert load_model(run / MODEL).output_shape == (None, 3)
    assert (run / LABELS).read_text().split() == ["angry", "happy", "neutral"]
    assert all(row["count"] == str(len(getattr(data, row["split"]))) for row in read_csv(run.parent / "results.csv"))


def test_what_is_learnt_from_survives_an_interruption(taught, tmp_path, monkeypatch):
    """Cut after the first epoch of stage 2, and resumed: the same weights, bit for bit."""
    run, config = taught
    save = loop.cb.SaveState.on_epoch_end

    def cut(self, epoch, logs=None):
        save(self, epoch, logs)
        if self.progress.stage == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop.cb.SaveState, "on_epoch_end", cut)
    with pytest.raises(KeyboardInterrupt):
        loop.start(config, tmp_path / "cut")
    monkeypatch.undo()
    loop.resume(tmp_path / "cut", {})
    one, other = (load_model(folder / MODEL).get_weights() for folder in (run, tmp_path / "cut"))
    assert all((a == b).all() for a, b in zip(one, other, strict=True))


def test_mistakes_leave_nothing_behind(small, tmp_path):
    for mistake in ({"teacher": ("nowhere",)}, {"votes": "none.csv"}):
        with pytest.raises(UserError, match="nowhere|none.csv"):
            loop.start(replace(small, **mistake), tmp_path / "run")
    assert not (tmp_path / "run").exists()
