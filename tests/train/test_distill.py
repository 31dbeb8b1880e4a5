"""Learning from more than the labels: a teacher's predictions, classes that are not scored, votes."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from scipy.special import softmax

from fer_hailo.common.config import Config, load_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_csv
from fer_hailo.common.runs import CONFIG, ENVIRONMENT, LABELS, MODEL
from fer_hailo.training.data import pictures as pictures_module
from fer_hailo.training.data.cache import Pictures
from fer_hailo.training.data.dataset import load_dataset
from fer_hailo.training.data.ferplus import VOTES
from fer_hailo.training.data.targets import Targets, image_digests, write_targets
from fer_hailo.training.fit import loop
from fer_hailo.training.fit.distill import Distillation, Teachers, load_teachers
from fer_hailo.training.fit.lineage import check_lineage, split_of
from fer_hailo.training.models.build import load_model
from fer_hailo.training.start import resume

pytestmark = pytest.mark.usefixtures("undrawn")


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
    teachers = Teachers([linear(8, [1, 0, -1]), linear(8, [0, 2, 0])])
    layer = Distillation(temperature=2.0, weight=0.3)
    assert (keras.ops.convert_to_numpy(layer(teachers(faces), logits)) == logits).all()
    corner = np.array([[0.5], [-1.0]])
    wanted = (softmax(corner * [1, 0, -1] / 2, axis=1) + softmax(corner * [0, 2, 0] / 2, axis=1)) / 2
    expected = 0.3 * 2**2 * divergence(wanted, softmax(logits / 2, axis=1))
    assert float(layer.losses[0]) == pytest.approx(expected, rel=1e-5)
    assert not teachers.trainable_variables  # a teacher does not learn


def test_logits_of_extra_classes_are_left_out_of_the_comparison():
    faces, logits = np.ones((1, 8, 8, 3), "f4"), np.array([[0.2, -0.1, 9.0]], "f4")
    layer = Distillation(temperature=1.0, weight=1.0)
    layer(Teachers([linear(8, [0.2, -0.1])])(faces), logits)
    assert float(layer.losses[0]) == pytest.approx(0, abs=1e-6)


def test_a_teacher_of_another_input_size_sees_the_picture_resized_as_all_faces_are():
    """OpenCV's bicubic, of which its own enlargement of the same image gives the upper left corner."""
    faces = np.random.default_rng(0).random((1, 8, 8, 3), "f4")
    corner = cv2.resize(faces[0, :, :, 0], (16, 16), interpolation=cv2.INTER_CUBIC)[0, 0]
    assert abs(corner - faces[0, 0, 0, 0]) > 0.01
    logits = np.array([[0.3, -0.2]], "f4")
    layer = Distillation(temperature=1.0, weight=1.0)
    layer(Teachers([linear(16, [1, -1])])(faces), logits)
    expected = divergence(softmax(np.array([[corner, -corner]]), axis=1), softmax(logits, axis=1))
    assert float(layer.losses[0]) == pytest.approx(expected, rel=1e-4)


def test_teachers_that_do_not_fit(trained, tmp_path, small):
    three = small.change(classes=("angry", "happy", "neutral"), teacher=(str(trained),))
    with pytest.raises(UserError, match="the student is to know angry, happy, neutral"):
        load_teachers(three)
    other = shutil.copytree(trained, tmp_path / "other", ignore=shutil.ignore_patterns("checkpoint"))
    (other / LABELS).write_text("a\nb\nc\nd\ne\n")
    with pytest.raises(UserError, match="knows a, b, c, d, e"):
        load_teachers(small.change(teacher=(str(other / MODEL),)))
    with pytest.raises(UserError, match="no model at"):
        load_teachers(small.change(teacher=(str(tmp_path / "none"),)))
    with pytest.raises(UserError, match="trained with color False"):
        load_teachers(small.change(teacher=(str(trained),), color=True))


def test_a_model_that_has_learnt_from_validation_is_refused(trained, small):
    data = load_dataset(small.change(split_seed=7), None)
    for learnt in ({"weights": str(trained / MODEL)}, {"teacher": (str(trained),)}):
        check_lineage(small.change(**learnt), load_dataset(small, None))  # the same split
        with pytest.raises(
            UserError,
            match="split with split_seed 42, not 7: it has learnt images that would now be validation",
        ):
            check_lineage(small.change(split_seed=7, **learnt), data)
        other = small.change(classes=("angry", "happy"), **learnt)
        with pytest.raises(UserError, match="split with classes"):
            check_lineage(other, load_dataset(other, None))
        check_lineage(small.change(split_seed=7, **learnt), replace(data, key="another data set"))


@pytest.mark.parametrize("fold", ["", "2/4"])
def test_no_copy_of_a_scored_or_left_out_image_is_learnt_from_under_an_extra_class(fold, monkeypatch):
    """With conflicts kept, an image may stand under a scored and under an extra class."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 48, 48), dtype=np.uint8)
    images[40:60] = images[:20]  # every copy is of an angry or happy image
    labels = np.array(["angry", "happy"] * 20 + ["sad"] * 20)
    pictures = Pictures(
        images, np.array([f"p{i}" for i in range(60)]), labels, np.full(60, "train"), np.zeros((60, 8), "f4"),
        np.full((60, 2), 48),
        np.arange(60) % 40,
        np.empty((0, 2), np.int64), np.empty((0, 2), str), "made up", "key",
    )  # fmt: skip
    monkeypatch.setattr(pictures_module, "load_pictures", lambda *arguments: pictures)
    values = {"classes": ("angry", "happy"), "extra_classes": ("sad",), "drop_conflicts": False}
    data = load_dataset(Config.of(**values, fold=fold), None)
    assert len(data.left_out) == (8 if fold else 0)
    unseen = [int(name[1:]) for name in (*data.val.ids, *data.left_out.ids)]
    copies = {f"p{number + 40}" for number in unseen if number < 20}
    assert copies and set(data.extra.ids) == {f"p{i}" for i in range(40, 60)} - copies
    assert set(data.extra.labels) == {2}


def test_configuration_refuses_a_class_twice():
    with pytest.raises(UserError, match="happy, which is there already"):
        Config.of(extra_classes=("happy",))
    assert Config.of(extra_classes=("sad", "fear")).data.extra_classes == ("fear", "sad")


@pytest.fixture(scope="module")
def taught(small, trained, tmp_path_factory):
    """A run of three classes with all that can be learnt from beside: two extra classes, votes, refined
    labels, a teacher.

    And its arguments.
    """
    folder = tmp_path_factory.mktemp("taught")
    everything = load_dataset(small, None)
    with open(folder / "votes.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["split", "class", "file", *VOTES])
        for id, label in zip(everything.train.ids, everything.train.labels, strict=True):
            rows.writerow([*id.split("/"), *np.eye(10, dtype=int)[label] * 10])
    values = {
        "classes": ["angry", "happy", "neutral"],
        "extra_classes": ["disgust", "surprise"],
        "votes": str(folder / "votes.csv"),
    }
    own = load_config(trained / CONFIG).change(**values)
    teacher = loop.start(own.change(stage2_epochs=0, votes=""), folder / "teacher")
    data, targets = load_dataset(own, None), str(folder / "labels.npz")
    digests = np.unique(image_digests(data.train.images))
    made = {
        "models": [],
        "data": {"key": data.key},
        "split": split_of(own),
        "source_size": 48,
        "color": False,
    }
    likely = np.tile(np.float16([0.5, 0.25, 0.25]), (len(digests), 1))
    write_targets(Path(targets), Targets(digests, likely, data.names, made))
    config = own.change(teacher=(str(teacher),), views=2, degrade=0.3, targets=targets, targets_weight=0.4)
    return loop.start(config, folder / "whole"), config


def test_extra_classes_are_learnt_from_and_not_scored(taught, small):
    run, config = taught
    data = load_dataset(config, None)
    assert data.names == ("angry", "happy", "neutral") and data.extra_names == ("disgust", "surprise")
    assert [int((data.lessons().labels == label).sum()) for label in (3, 4)] == [20, 20]
    # The sides are those that the three classes alone would have.
    alone = load_dataset(config.change(extra_classes=()), None)
    assert (
        (data.val.ids == alone.val.ids).all()
        and (data.train.ids == alone.train.ids).all()
        and (data.test.ids == alone.test.ids).all()
    )
    assert load_model(run / MODEL).output_shape == (None, 3)
    assert (run / LABELS).read_text().split() == ["angry", "happy", "neutral"]
    assert all(
        row["count"] == str(len(getattr(data, row["split"]))) for row in read_csv(run.parent / "results.csv")
    )


@pytest.mark.slow
def test_what_is_learnt_from_survives_an_interruption(taught, tmp_path, monkeypatch):
    """Cut after the first epoch of stage 2, and resumed without votes and refined labels: the same weights,
    bit for bit. The teacher must be the same, and is not asked again.
    """
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
    for file in (config.loss.votes, config.loss.targets):
        Path(file).rename(f"{file}.away")
    answers = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("views/*/*/*.npy")}
    record = (tmp_path / "cut" / ENVIRONMENT).read_text()
    (digest,) = json.loads(record)["teachers"]
    (tmp_path / "cut" / ENVIRONMENT).write_text(record.replace(digest, "0" * 64))
    with pytest.raises(UserError, match="is not the model that it began with"):
        resume(tmp_path / "cut", {})
    (tmp_path / "cut" / ENVIRONMENT).write_text(record)
    resume(tmp_path / "cut", {})
    assert len(answers) == 2 and all(path.stat().st_mtime_ns == time for path, time in answers.items())
    one, other = (load_model(folder / MODEL).get_weights() for folder in (run, tmp_path / "cut"))
    assert all((a == b).all() for a, b in zip(one, other, strict=True))


def test_mistakes_leave_nothing_behind(small, tmp_path):
    for mistake in ({"teacher": ("nowhere",)}, {"votes": "none.csv"}):
        with pytest.raises(UserError, match="nowhere|none.csv"):
            loop.start(small.change(**mistake), tmp_path / "run")
    assert not (tmp_path / "run").exists()
