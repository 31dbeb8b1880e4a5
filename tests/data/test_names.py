"""Class names as other people write them, and classes that are asked for in vain."""

import shutil

import numpy as np
import pytest

from fer_hailo.common.classes import AFFECTNET, FER2013, RAF_DB, canonical, class_names
from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.common.progress import say_once
from fer_hailo.training.data.dataset import load_dataset
from fer_hailo.training.data.sources import load_filtered_image_paths


@pytest.fixture
def renamed(sample_set, tmp_path):
    """The sample set with other names for its folders: {own: other}."""

    def make(names):
        data = tmp_path / "renamed"
        for side in ("train", "test"):
            for own in (folder.name for folder in (sample_set / side).iterdir()):
                shutil.copytree(sample_set / side / own, data / side / names.get(own, own))
        return data

    return make


def test_what_others_call_them():
    theirs = (
        "anger Angry disgusted Disgusting fearful FEAR happiness neutral sadness surprised suprise Contempt"
    )
    ours = "angry angry disgust disgust fear fear happy neutral sad surprise surprise contempt"
    assert [canonical(name) for name in theirs.split()] == ours.split()
    assert canonical("Bored ") == "bored"


def test_orders_are_the_published_ones():
    """FER2013's readme, RAF-DB's readme.txt (1 surprise to 7 neutral), AffectNet's section 3."""
    assert [FER2013.index(name) for name in ("angry", "happy", "neutral")] == [0, 3, 6]
    assert [RAF_DB.index(name) + 1 for name in ("surprise", "happy", "angry", "neutral")] == [1, 4, 6, 7]
    assert [AFFECTNET.index(name) for name in ("neutral", "surprise", "contempt")] == [0, 3, 7]


def test_other_names_are_the_same_classes(renamed, sample_set, capsys):
    data = renamed({"angry": "Anger", "happy": "happiness", "surprise": "Suprised"})
    expected, found = (load_dataset(Config.of(data=str(place)), None) for place in (sample_set, data))
    assert found.names == expected.names
    for side in ("train", "val", "test"):
        counts = [np.bincount(getattr(each, side).labels).tolist() for each in (expected, found)]
        assert counts[0] == counts[1]
    assert (
        capsys.readouterr().err.count(
            f"{data}: angry: called anger; happy: called happiness; surprise: called suprised\n"
        )
        == 1
    )
    load_dataset(Config.of(data=str(data)), None)
    assert "called" not in capsys.readouterr().err


def test_two_folders_of_one_class_are_joined(sample_set, tmp_path, capsys):
    data = shutil.copytree(sample_set, tmp_path / "d")
    (data / "train/happiness").mkdir()
    for number in range(5):
        (data / f"train/happy/drawn_{number:04d}.png").rename(data / f"train/happiness/{number}.png")
    found = load_dataset(Config.of(data=str(data)), None)
    assert (np.bincount(found.train.labels) + np.bincount(found.val.labels)).tolist() == [20] * 5
    assert f"{data}: happy: called happiness and happy\n" in capsys.readouterr().err
    ids, labels, names = load_filtered_image_paths(data, ["happy", "anger"])
    assert names == ["anger", "happy"] and np.bincount(labels).tolist() == [26, 26] and len(ids) == 52


def test_numbers_in_the_order_of_their_data_set(capsys):
    for first, data_set, order in ((0, "FER2013", FER2013), (1, "RAF-DB", RAF_DB)):
        names, (told,) = class_names(str(number) for number in range(first, first + 7))
        assert [names[str(number)] for number in range(first, first + 7)] == list(order)
        assert f"in {data_set}'s order: {first} {order[0]}, " in told
    names, (told,) = class_names("01234567")
    assert names["7"] == "7" and "which AffectNet and FER+ count in different orders" in told
    assert class_names(["0", "1"]) == ({"0": "0", "1": "1"}, [])


def test_asked_for_by_another_name(sample_set):
    found = load_dataset(Config.of(data=str(sample_set), classes=("Happiness", "anger")), None)
    plain = load_dataset(Config.of(data=str(sample_set), classes=("happy", "angry")), None)
    assert found.names == ("Happiness", "anger") and plain.names == ("angry", "happy")
    for side in ("train", "val", "test"):
        one, other = getattr(found, side), getattr(plain, side)
        assert one.ids.tolist() == other.ids.tolist() and (one.labels == 1 - other.labels).all()
    with pytest.raises(UserError, match="classes names anger and angry, which are one class"):
        Config.of(classes=("happy", "anger", "angry"))
    with pytest.raises(UserError, match="extra_classes names anger, which is there already"):
        Config.of(extra_classes=("anger",))


def test_an_unknown_class_is_told_with_all_that_there_are(renamed, sample_set):
    data = renamed({"disgust": "yawning"})
    with pytest.raises(UserError) as told:
        load_dataset(Config.of(data=str(data), classes=("angry", "yawnin")), None)
    assert str(told.value) == (
        f"class 'yawnin' has no images in {data} (did you mean yawning?): it holds angry, happy, neutral, "
        "surprise, yawning"
    )


def test_a_class_of_the_test_side_alone(sample_set, tmp_path):
    data = shutil.copytree(sample_set, tmp_path / "d")
    shutil.rmtree(data / "train/happy")
    with pytest.raises(
        UserError, match="'happy' has no images to learn from in .*: its images stand in test"
    ):
        load_dataset(Config.of(data=str(data)), None)


def test_a_mistyped_class_is_refused_where_another_is_right(sample_set, tmp_path):
    shutil.copytree(sample_set / "test", tmp_path / "test")
    for data in (sample_set, tmp_path):  # both sides, and a test side alone
        with pytest.raises(UserError, match=r"'hapy' has no images in .* \(did you mean happy\?\)"):
            load_dataset(Config.of(data=str(data), classes=("angry", "hapy")), None)
    shutil.rmtree(tmp_path / "test" / "happy")  # a test side may lack a class
    assert len(load_dataset(Config.of(data=str(tmp_path), classes=("angry", "happy")), None).test) == 6


def test_said_once(capsys):
    for _ in range(2):
        say_once("this")
    assert capsys.readouterr().err == "this\n"
