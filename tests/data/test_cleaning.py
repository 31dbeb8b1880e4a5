"""Cache, duplicates, cleaning and split on small arrays whose result is plain."""

import dataclasses
import shutil

import numpy as np
import pytest

from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.training.data.cache import Pictures, load_pictures
from fer_hailo.training.data.clean import blank, clean, conflicting, duplicate_groups
from fer_hailo.training.data.dataset import load_dataset
from fer_hailo.training.data.duplicates import exact_groups, merge_groups, near_pairs
from fer_hailo.training.data.split import split_groups

SPEC = PreprocessSpec()


def faces(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 48, 48), dtype=np.uint8)


def pictures(images, labels, splits, bad=()):
    n = len(images)
    ids, votes, sizes = (
        np.array([f"p{i}" for i in range(n)]),
        np.zeros((n, 8), np.float32),
        np.full((n, 2), 48),
    )
    sides = np.array(labels), np.array(splits), votes, sizes
    return Pictures(
        images,
        ids,
        *sides,
        exact_groups(images),
        near_pairs(images),
        np.array(bad, str).reshape(-1, 2),
        "made up",
        "key",
    )


def test_exact_and_near_duplicates():
    from fer_hailo.training.data.sample import draw_face

    drawn = np.stack([draw_face("happy", np.random.default_rng(i)) for i in range(4)])
    brighter = np.clip(drawn[0] * 0.8 + 30, 0, 255).astype(np.uint8)
    images = np.concatenate([drawn, drawn[1:2], brighter[None]])
    assert exact_groups(images).tolist() == [0, 1, 2, 3, 1, 4]
    assert near_pairs(images).tolist() == [[0, 5]]
    assert merge_groups(exact_groups(images), near_pairs(images)).tolist() == [0, 1, 2, 3, 1, 0]


def test_chains_of_pairs_join():
    assert merge_groups(np.arange(5), np.array([[3, 4], [1, 3]])).tolist() == [0, 1, 2, 1, 1]
    assert merge_groups(np.arange(3), np.empty((0, 2), np.int64)).tolist() == [0, 1, 2]


def test_blank_pictures_are_no_near_duplicates():
    images = np.stack([np.full((48, 48), v, np.uint8) for v in (0, 90, 255)])
    assert blank(images).all() and len(near_pairs(images)) == 0


def test_conflicts():
    assert conflicting(np.array(["a", "b", "a", "a"]), np.array([0, 0, 1, 1])).tolist() == [
        True,
        True,
        False,
        False,
    ]


def test_rules_of_cleaning():
    base = faces(6)
    base[5] = 7  # blank
    images = base[[0, 0, 1, 1, 2, 2, 3, 5, 4, 5]]
    labels = ["angry", "sad", "happy", "happy", "angry", "angry", "happy", "angry", "happy", "sad"]
    splits = ["train", "train", "train", "train", "train", "test", "train", "train", "test", "test"]
    data = pictures(images, labels, splits, [("x.jpg", "is empty")])
    keep, dropped = clean(data, Config())
    assert dropped == {"corrupt": 1, "blank": 1, "under several labels": 2, "also in test": 1}
    assert keep.tolist() == [False, False, True, True, False, True, True, False, True, True]
    keep, dropped = clean(data, Config.of(drop_blank=False, drop_conflicts=False, drop_test_copies=False))
    assert keep.all() and dropped == {"corrupt": 1}
    with pytest.raises(UserError, match=r"x.jpg is empty \(1 corrupt in all\)"):
        clean(data, Config.of(drop_corrupt=False))


def test_split_is_stratified_and_keeps_groups_together():
    rng = np.random.default_rng(0)
    labels_of_group = np.repeat([0, 1, 2], [300, 100, 50])
    groups = np.repeat(np.arange(450), rng.integers(1, 4, 450))
    labels = labels_of_group[groups]
    rest, part = split_groups(labels, groups, 0.2, 42)
    assert sorted([*rest, *part]) == list(range(len(labels)))
    assert not set(groups[rest]) & set(groups[part])
    assert [len(set(groups[part][labels[part] == c])) for c in range(3)] == [60, 20, 10]
    again = split_groups(labels, groups, 0.2, 42)
    assert (again[1] == part).all() and (split_groups(labels, groups, 0.2, 43)[1][:50] != part[:50]).any()


def test_same_pictures_under_another_name_keep_that_name(sample_set, tmp_path):
    other = shutil.copytree(sample_set, tmp_path / "other", ignore=shutil.ignore_patterns("SYNTHETIC.txt"))
    assert load_pictures(sample_set, SPEC, tmp_path / "cache").name == "synthetic sample set"
    assert load_pictures(other, SPEC, tmp_path / "cache").name == "other"
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 1


def test_split_of_too_little():
    with pytest.raises(UserError, match="too few"):
        split_groups(np.repeat(np.arange(5), 2), np.arange(10), 0.9, 0)
    with pytest.raises(UserError, match="too few"):
        split_groups(np.array([0, 0, 1]), np.arange(3), 0.5, 0)


def test_cache_is_kept_by_content_and_can_be_the_data_itself(sample_set, tmp_path):
    first = load_pictures(sample_set, SPEC, tmp_path)
    file = next(tmp_path.glob("*.npz"))
    stamp = file.stat().st_mtime_ns
    second, third = load_pictures(sample_set, SPEC, tmp_path), load_pictures(file, SPEC, None)
    for field in dataclasses.fields(Pictures):
        for other in (second, third):
            assert np.array_equal(getattr(first, field.name), getattr(other, field.name))
    assert file.stat().st_mtime_ns == stamp and len(list(tmp_path.glob("*.npz"))) == 1
    assert first.name == "synthetic sample set" and len(first.ids) == 130


def test_damaged_cache_is_made_again_and_a_foreign_one_refused(sample_set, tmp_path):
    load_pictures(sample_set, SPEC, tmp_path)
    file = next(tmp_path.glob("*.npz"))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match="not a data cache"):
        load_pictures(file, SPEC, None)
    assert len(load_pictures(sample_set, SPEC, tmp_path).ids) == 130
    with pytest.raises(UserError, match="asks for"):
        load_pictures(next(tmp_path.glob("*.npz")), PreprocessSpec(source_size=32), None)


def test_a_few_bad_pictures_are_listed_and_skipped(sample_set, tmp_path):
    data = shutil.copytree(sample_set, tmp_path / "d")
    (data / "train/angry/drawn_0003.png").write_bytes(b"")
    (data / "train/happy/drawn_0001.png").write_text("text")
    found = load_pictures(data, SPEC, None)
    assert found.bad.tolist() == [
        ["train/angry/drawn_0003.png", "is empty (0 bytes)"],
        ["train/happy/drawn_0001.png", "is not an image"],
    ]
    assert len(found.ids) == 128


def test_mostly_bad_pictures_are_an_error(sample_set, tmp_path):
    data = shutil.copytree(sample_set, tmp_path / "d")
    for file in (data / "train/angry").glob("*.png"):
        file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(
        UserError, match="20 of 130 images .* cannot be read, the first: train/angry/drawn_0000.png"
    ):
        load_pictures(data, SPEC, None)


def test_dataset_of_kaggle_layout(sample_set):
    data = load_dataset(Config.of(data=str(sample_set)), None)
    assert (len(data.train), len(data.val), len(data.test)) == (80, 20, 30)
    assert (
        np.bincount(data.train.labels).tolist() == [16] * 5
        and np.bincount(data.val.labels).tolist() == [4] * 5
    )
    assert all(id.startswith("test/") for id in data.test.ids)
    assert all(
        data.names[label] == id.split("/")[1] for id, label in zip(data.val.ids, data.val.labels, strict=True)
    )


def test_plain_class_folders_need_resplit(sample_set):
    with pytest.raises(UserError, match="--resplit"):
        load_dataset(Config.of(data=str(sample_set / "train")), None)
    data = load_dataset(Config.of(data=str(sample_set / "train"), resplit=True), None)
    assert (len(data.train), len(data.val), len(data.test)) == (80, 10, 10)


def test_resplit_takes_the_sides_of_a_split_set_together(sample_set, tmp_path):
    data = shutil.copytree(sample_set, tmp_path / "d")
    for number in range(6):  # copies of test images, which must stay with them
        name = f"{number:04d}.png"
        shutil.copy(data / f"test/happy/drawn_{name}", data / f"train/happy/copy_{name}")
    found = load_dataset(Config.of(data=str(data), resplit=True), None)
    assert (len(found.train) + len(found.val) + len(found.test)) == 136
    assert all(abs(len(part) - 13) <= 3 for part in (found.val, found.test))
    sides = {id: side for side in ("train", "val", "test") for id in getattr(found, side).ids}
    for number in range(6):
        assert sides[f"test/happy/drawn_{number:04d}.png"] == sides[f"train/happy/copy_{number:04d}.png"]
    assert {sides[id] for id in sides if id.startswith("test/")} == {"train", "val", "test"}


def test_classes_that_the_data_does_not_have(sample_set, tmp_path):
    shutil.copytree(sample_set / "test", tmp_path / "test")
    for data in (sample_set, tmp_path):
        with pytest.raises(UserError, match="class 'bored' has no images"):
            load_dataset(Config.of(data=str(data), classes=("bored", "tired")), None)


def test_test_side_only(sample_set, tmp_path):
    shutil.copytree(sample_set / "test", tmp_path / "test")
    data = load_dataset(Config.of(data=str(tmp_path)), None)
    assert (len(data.train), len(data.val), len(data.test)) == (0, 0, 30)
    with pytest.raises(UserError, match="no val images"):
        data.part("val")


def test_missing_class_is_named(sample_set):
    with pytest.raises(UserError, match="class 'fear' has no images"):
        load_dataset(Config.of(data=str(sample_set), classes=("angry", "fear")), None)
    assert len(load_dataset(Config.of(data=str(sample_set), classes=("angry", "happy")), None).test) == 12


def test_data_report(sample_set, tmp_path):
    from fer_hailo.common.files import read_csv
    from fer_hailo.training.evaluate.data_report import write_data_report

    data = shutil.copytree(sample_set, tmp_path / "d")
    shutil.copy(data / "train/angry/drawn_0000.png", data / "train/happy/copy.png")
    shutil.copy(data / "train/angry/drawn_0001.png", data / "test/angry/copy.png")
    (data / "train/sad").mkdir()
    (data / "train/sad/broken.jpg").write_bytes(b"x")
    text = write_data_report(Config.of(data=str(data)), tmp_path / "cache", tmp_path / "out")
    assert "132 readable images, 1 corrupt" in text and "broken.jpg is not an image" in text
    assert "train, exact: 2 images in 1 groups, 1 groups with conflicting labels" in text
    assert "exact: 1 train images also stand in test; 1 test images also stand in train" in text
    rows = {row["id"]: row for row in read_csv(tmp_path / "out/manifest.csv")}
    assert len(rows) == 133
    assert rows["train/happy/copy.png"]["conflict"] == "1" and rows["train/happy/copy.png"]["kept"] == "0"
    assert rows["train/angry/drawn_0001.png"]["in_test"] == "1" and rows["test/angry/copy.png"]["kept"] == "1"
    assert (tmp_path / "out/samples.png").stat().st_size > 10000 and (
        tmp_path / "out/data_report.txt"
    ).is_file()


def test_duplicate_groups_of_real_split_sides(sample_set):
    data = load_pictures(sample_set, SPEC, None)
    assert len(np.unique(duplicate_groups(data))) == 130  # no two drawn faces are copies
