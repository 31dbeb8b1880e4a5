"""Function matching: a teacher that answered once on a fixed set of augmented views."""

import os

import keras
import numpy as np
import pytest
import tiny  # noqa: F401, registers the network

from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_csv
from fer_hailo.training.data.dataset import load_dataset
from fer_hailo.training.fit import loop, views
from fer_hailo.training.fit.batches import training_batches
from fer_hailo.training.fit.devices import Devices
from fer_hailo.training.fit.distill import load_teachers
from fer_hailo.training.fit.step import training_model
from fer_hailo.training.fit.views import view_answers
from fer_hailo.training.models.build import build_model
from fer_hailo.training.models.inputs import FACES, AugmentedFaceInput
from fer_hailo.training.networks.record import Setting

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def matching(small, trained) -> Config:
    """Pure matching, strongly mixed, with every draw of the augmentation on."""
    return small.change(
        teacher=(str(trained),),
        views=2,
        distill_weight=1.0,
        mixup_alpha=1.0,
        mixup_share=1.0,
        erase=0.3,
        stage1_epochs=0,
        stage2_epochs=3,
        tensorboard=False,
    )


@pytest.fixture(scope="module")
def cache(matching, tmp_path_factory):
    """The answers of `matching`, computed."""
    folder = tmp_path_factory.mktemp("cache")
    view_answers(matching, load_dataset(matching, None).lessons(), folder)
    return folder


def all_batches(config, answers=()):
    data = load_dataset(config, None)
    return data, training_batches(config, data.lessons(), data.targets, 2, Devices(), answers)


def test_a_view_is_the_same_each_time_and_at_every_size(matching):
    """Bit for bit at one size; at another it is the same image, with the same place, mirror, mixture."""
    images = np.random.default_rng(0).integers(0, 256, (16, 6, 6), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    mix = np.linspace(0.2, 1, 16, dtype="f4")[:, None]
    small, large = (AugmentedFaceInput(matching.change(input_size=side)) for side in (48, 96))

    def view(layer, number, seed=42):
        layer.begin_view(seed, number)
        return [keras.ops.convert_to_numpy(layer(images, mix)) for _ in range(2)]

    first, second = view(small, 0)
    view(small, 1)
    again = view(small, 0)
    assert (first == again[0]).all() and (second == again[1]).all() and (first != second).any()
    halved = view(large, 0)[0].reshape(16, 48, 2, 48, 2, 3).mean((2, 4))

    def likeness(other):
        return [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(halved, other, strict=True)]

    assert min(likeness(first)) > 0.98
    for other in (second, view(small, 1)[0], view(small, 0, seed=43)[0]):
        assert np.mean(likeness(other)) < 0.8


def test_answers_are_what_the_teacher_says_in_the_student_s_own_step(matching, cache):
    """The same loss as of a student whose teacher is asked at every step of the same views."""
    data, batches = all_batches(matching)
    answers = view_answers(matching, data.lessons(), cache)
    answered = all_batches(matching, answers)[1]
    assert [logits.shape for logits in answers[0]] == [(len(data.train), 5)]
    network = build_model(matching, training=True)
    counts = np.bincount(data.train.labels)
    given = training_model(network, Setting(matching, counts, len(batches)))
    without = Setting(matching.change(views=0), counts, len(batches))
    live = training_model(network, without, load_teachers(matching))
    for model in (given, live):
        model.compile()  # eagerly, some grey levels are rounded the other way
    for view, number in ((0, 0), (0, 2), (1, 0)):
        losses = []
        for model, source in ((given, answered), (live, batches)):
            source.set_epoch(view)
            model.get_layer(FACES).begin_view(source.seed, view)
            said = [model.test_on_batch(source[step][0]) for step in range(number + 1)]
            losses.append(float(said[-1]))  # what was drawn before counts
        assert losses[0] == pytest.approx(losses[1], rel=1e-5, abs=1e-6) and losses[0] > 1e-3


def test_views_come_in_turn_whatever_the_stage_and_the_seed(matching, cache):
    data, _ = all_batches(matching)
    answers = view_answers(matching, data.lessons(), cache)
    shown = []
    for config, stage, epoch in ((matching, 1, 0), (matching.change(seed=7), 2, 4), (matching, 2, 1)):
        batches = training_batches(config, data.lessons(), data.targets, stage, Devices(), answers)
        batches.set_epoch(epoch)
        inputs, targets = batches[1]
        shown.append((inputs["images"], inputs["mix"], inputs["answers"], targets))
    first, same_view, other = shown
    assert all((a == b).all() for a, b in zip(first, same_view, strict=True))
    assert not any((a == b).all() for a, b in zip(first, other, strict=True))
    assert (first[2] == np.stack([answers[0][0][32:64]], axis=1)).all() and first[2].dtype == np.float32


def times(folder):
    return {path: os.stat(path).st_mtime_ns for path in sorted(folder.rglob("*.npy"))}


@pytest.fixture
def asked(monkeypatch) -> list[tuple[int, int]]:
    """The (view, step) that a teacher was asked about, who says how much of each image is its own."""
    steps = []

    class Quick:
        def __init__(self, teacher, config):
            self.classes = len(config.data.classes)

        def begin(self, batches, view):
            batches.set_epoch(view)
            self.view, self.step = view, -1

        def logits(self, inputs):
            self.step += 1
            steps.append((self.view, self.step))
            return np.tile(inputs["mix"], self.classes)

    monkeypatch.setattr(views, "Answering", Quick)
    monkeypatch.setattr(views, "load_teacher", lambda place, config: None)
    return steps


def test_only_what_is_missing_is_computed(matching, trained, asked, tmp_path):
    """Other students and more views share what is there, and so do teachers; what changes a view does not."""

    def folders(**changes):
        config = matching.change(**changes)
        asked.clear()
        view_answers(config, load_dataset(config, None).lessons(), tmp_path)
        return len(list((tmp_path / "views").iterdir()))

    assert folders() == 1 and asked == [(view, step) for view in (0, 1) for step in range(3)]
    before = times(tmp_path)
    for same_views in ({"seed": 5}, {"input_size": 64}, {"temperature": 1.0}, {"views": 1}):
        assert folders(**same_views) == 1 and not asked
    assert folders(views=3) == 1 and {view for view, _ in asked} == {2}
    second = tmp_path / "second.keras"
    second.write_bytes(b"another model")
    assert folders(teacher=(str(trained), str(second))) == 1 and len(asked) == 6
    assert times(tmp_path).items() > before.items() and len(times(tmp_path)) == 5
    others = [
        {"views_seed": 1},
        {"batch_size": 16},
        {"rotation": 5.0},
        {"mixup_alpha": 0.5},
        {"split_seed": 3},
    ]
    assert [folders(**other) for other in others] == [2, 3, 4, 5, 6]
    assert folders(oversample_ratio=1.0) == 6  # which repeats none of 16 images of each class


def test_a_cut_costs_the_view_in_work_and_a_damaged_one_is_made_again(matching, asked, tmp_path, monkeypatch):
    lessons = load_dataset(matching, None).lessons()
    whole, logits = view_answers(matching, lessons, tmp_path / "whole"), views.Answering.logits

    def stopping(self, inputs):
        if self.view == 1 and self.step == 1:
            raise KeyboardInterrupt
        return logits(self, inputs)

    with monkeypatch.context() as patch:
        patch.setattr(views.Answering, "logits", stopping)
        with pytest.raises(KeyboardInterrupt, match="every whole view is kept, the same command goes on"):
            view_answers(matching, lessons, tmp_path / "cut")
    (left,) = times(tmp_path / "cut")
    assert left.name == "0000.npy" and not list(tmp_path.rglob(".0001*"))
    for damage, views_asked in ((None, {1}), (left, {0})):
        if damage:
            damage.write_bytes(damage.read_bytes()[:-100])
        asked.clear()
        again = view_answers(matching, lessons, tmp_path / "cut")
        assert {view for view, _ in asked} == views_asked
        assert all((one[0] == other[0]).all() for one, other in zip(whole, again, strict=True))


def test_in_training_the_student_sees_what_the_teacher_saw(matching, tmp_path):
    """One that is the teacher, and hardly learns, agrees with its answers in every epoch."""
    fixed = {"head_units": (), "head_dropout": (0.0,), "train_batch_norm": False, "freeze": ("head_norm",)}
    config = matching.change(
        **fixed, stage2_lr=1e-9, stage2_floor_lr=0, head_l2=0, ema=0, temperature=1, rotation=0, contrast=0
    )
    teacher = build_model(config)
    teacher.layers[-1].kernel.assign(10 * teacher.layers[-1].kernel)  # its answers depend on what it sees
    teacher.save(tmp_path / "teacher.keras")
    place = str(tmp_path / "teacher.keras")
    run = loop.start(config.change(weights=place, teacher=(place,)), tmp_path / "run")
    assert np.ptp(np.load(next((tmp_path / "cache" / "views").rglob("*.npy"))), axis=0).min() > 0.1
    rows = read_csv(run / "history.csv")
    assert len(rows) == 3 and all(abs(float(row["loss"])) < 1e-5 for row in rows)


def test_teachers_are_checked_as_without_views(matching, trained, tmp_path):
    config = matching.change(classes=("angry", "happy"))
    with pytest.raises(UserError, match="split with classes"):
        loop.start(config, tmp_path / "run")
    with pytest.raises(UserError, match="the student is to know angry, happy"):
        view_answers(config, load_dataset(config, None).lessons(), tmp_path)
    with pytest.raises(UserError, match="views 2 are what a teacher answers on: name one with --teacher"):
        matching.change(teacher=())
    assert not (tmp_path / "run").exists()
