"""Folders as people lay them: which side is which, lists of classes, and a split that is written and read."""

import csv
import hashlib
import shutil
import zipfile

import cv2
import numpy as np
import pytest

from fer_hailo.common.config import SPLITS_BY, Config
from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.training.data.cache import load_pictures
from fer_hailo.training.data.dataset import load_dataset
from fer_hailo.training.data.saved_split import save_split
from fer_hailo.training.data.sources import open_source

CLASSES = ("angry", "happy")


def image(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 48), dtype=np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def lay(root, counts):
    """Folders with images, all different: {folder: number}. Returns the root."""
    seed = 0
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True)
        for number in range(count):
            (root / folder / f"{number}.png").write_bytes(image(seed := seed + 1))
    return root


def loaded(root, **options):
    return load_dataset(Config.of(data=str(root), classes=CLASSES, **options), None)


def sizes(data):
    return len(data.train), len(data.val), len(data.test)


def both(**counts):
    return {f"{side}/{label}": count for side, count in counts.items() for label in CLASSES}


def test_training_and_testing_are_train_and_test(tmp_path):
    data = loaded(lay(tmp_path, both(Training=10, Testing=3)))
    assert sizes(data) == (16, 4, 6)
    assert data.test.ids[0] == "Testing/angry/0.png"


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Dev"])
def test_validation_without_test_is_held_out(tmp_path, name, capsys):
    data = loaded(lay(tmp_path, both(train=10) | both(**{name: 3})))
    assert sizes(data) == (16, 4, 6) and {id.split("/")[0] for id in data.test.ids} == {name}
    assert "without a test folder its validation folder is held out as test" in capsys.readouterr().err


def test_a_validation_folder_is_the_validation_side(tmp_path, capsys):
    root = lay(tmp_path, both(train=10, valid=4, test=3))
    data = loaded(root, validation_fraction=0.5)
    assert sizes(data) == (20, 8, 6) and {id.split("/")[0] for id in data.val.ids} == {"valid"}
    assert "its validation folder is the validation side" in capsys.readouterr().err
    for side in ("train", "valid"):
        shutil.copytree(root / "train/angry", root / side / "sad")
    for number, file in enumerate(sorted(root.glob("*/sad/*.png"))):
        file.write_bytes(image(1000 + number))
    assert len(loaded(root, extra_classes=("sad",)).extra) == 10  # those in train
    everything = loaded(root, validation_fraction=0, selected_by="x")
    assert sizes(everything) == (28, 0, 6)


def test_copies_of_what_is_scored_are_not_learnt(tmp_path):
    root = lay(tmp_path, both(train=10, val=4, test=3))
    shutil.copy(root / "val/happy/0.png", root / "train/happy/of_val.png")
    shutil.copy(root / "test/happy/0.png", root / "train/happy/of_test.png")
    shutil.copy(root / "test/happy/1.png", root / "val/happy/of_test.png")
    data = loaded(root)
    assert sizes(data) == (20, 8, 6) and not [id for id in (*data.train.ids, *data.val.ids) if "of_" in id]
    assert data.dropped["also in test"] == 2 and data.dropped["also in validation"] == 1
    assert sizes(loaded(root, drop_test_copies=False)) == (22, 9, 6)


def test_an_archive_that_was_decoded_before_there_were_validation_folders(tmp_path):
    root = lay(tmp_path / "d", both(train=10, val=4, test=3))
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        for file in sorted(root.rglob("*.png")):
            archive.write(file, file.relative_to(root))
    options = {"data": str(tmp_path / "d.zip"), "classes": CLASSES}
    spec, cache = PreprocessSpec(), tmp_path / "cache"
    load_pictures(tmp_path / "d.zip", spec, cache)
    (known,) = cache.glob("*.npz")
    with np.load(known) as file:
        content = dict(file)
    kept = content["splits"] != "val"  # as it was then
    images = np.load(known.with_suffix(".images.npy"))
    fields = ("ids", "labels", "splits", "votes", "sizes", "exact")
    np.savez(known, **content | {name: content[name][kept] for name in fields})
    np.save(known.with_suffix(".images.npy"), images[kept])
    data = load_dataset(Config.of(**options), cache)
    assert sizes(data) == (20, 8, 6) and data.key == str(content["key"])


RAF = {"train_00001": 5, "train_00002": 4, "train_00003": 6, "test_0001": 1}


def test_raf_db_as_its_users_lay_it(tmp_path):
    root = tmp_path / "raf"
    for number, name in enumerate(RAF):
        side = "train" if number < 2 else "valid"
        (root / side).mkdir(parents=True, exist_ok=True)
        (root / side / f"{name}_aligned.jpg").write_bytes(image(number))
    with pytest.raises(
        UserError, match="has images in train and valid, and no class folders there: the list"
    ):
        open_source(root)
    (root / "list_patition_label.txt").write_text("".join(f"{name}.jpg {RAF[name]}\n" for name in RAF))
    expected = [("surprise", "val"), ("sad", "train"), ("happy", "train"), ("angry", "val")]
    assert [(e.label, e.split) for e in open_source(root).entries] == expected
    (root / "list_patition_label.txt").unlink()
    for side in ("train", "valid"):
        rows = [f"{name}_aligned.jpg,{RAF[name]}" for name in RAF]
        own = [row for row in rows if (root / side / row.split(",")[0]).exists()]
        (root / f"{side}_labels.csv").write_text("\n".join(["image,label", *own]))
    by_number = {"1": "surprise", "5": "sad", "4": "happy", "6": "angry"}
    found = [(by_number[e.label], e.split) for e in open_source(root).entries]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize(("first", "order"), [
    (0, "angry disgust fear happy sad surprise neutral"),
    (1, "surprise fear disgust happy sad angry neutral"),
])  # fmt: skip
def test_numbered_folders(tmp_path, first, order, capsys):
    counts = {f"DATASET/{side}/{first + i}": 6 + i for side in ("train", "test") for i in range(7)}
    classes = sorted(order.split())
    data = load_dataset(Config.of(data=str(lay(tmp_path, counts)), classes=classes), None)
    assert np.bincount(data.test.labels).tolist() == [6 + order.split().index(name) for name in classes]
    assert "its classes are numbered, and read in " in capsys.readouterr().err


def test_a_csv_names_the_classes(tmp_path, capsys):
    root = lay(tmp_path, {"pictures": 6, "more": 2})
    (root / "more/7.png").write_bytes(image(99))
    rows = ["pictures/0.png,Happiness,train", "1.png,anger,Training", "pictures\\2.png,happy,val"]
    rows = [row if "\\" in row or "/" in row else f"pictures/{row}" for row in rows]
    rows += ["7.png,happy,PrivateTest", "gone.png,happy,test"]
    (root / "labels.csv").write_text("\n".join(["File,Label,split", *rows]) + "\n")
    entries = open_source(root).entries
    assert [(e.id, e.label, e.split) for e in entries] == [
        ("more/7.png", "happy", "test"),
        ("pictures/0.png", "happiness", "train"),
        ("pictures/1.png", "anger", "train"),
        ("pictures/2.png", "happy", "val"),
    ]
    said = capsys.readouterr().err
    assert f"{root}: classes by labels.csv; 1 images that are listed are not there, as gone.png" in said
    entries_then = (root / "labels.csv").read_text()
    (root / "labels.csv").write_text("\ufeff" + entries_then.replace(",", ";"))  # as Excel does in Europe
    assert open_source(root).entries == entries
    with pytest.raises(UserError, match=f"is a list of images: point --data at its folder, {root}$"):
        (root / "labels.csv").write_text(entries_then)
        open_source(root / "labels.csv")
    for added, said in (
        ("pictures/3.png,happy", "line 7 has 2 of 3 columns"),
        ("pictures/3.png,happy,trian", r"line 7: unknown side 'trian' \(did you mean train\?\)"),
        ("pictures/0.png,angry,train", "line 7: pictures/0.png was listed before, otherwise"),
        ("pictures/3.png,happy,", "not known whether they are train or test"),
    ):
        (root / "labels.csv").write_text("\n".join(["File,Label,split", *rows, added]) + "\n")
        with pytest.raises(UserError, match=said):
            open_source(root)


def test_a_csv_that_is_no_list_is_told(tmp_path, capsys):
    root = lay(tmp_path, {"pictures": 2})
    (root / "notes.csv").write_text("name,mood\n0.png,happy\n")
    assert {entry.label for entry in open_source(root).entries} == {"pictures"}
    assert "notes.csv is no list of images: it lacks a column file, or label" in capsys.readouterr().err


def test_public_test_as_validation(tmp_path, capsys):
    assert "public_test" in SPLITS_BY and Config().data.public_test == "test"
    rng = np.random.default_rng(0)
    usages = ["Training"] * 10 + ["PublicTest"] * 4 + ["PrivateTest"] * 6
    rows = [
        f"{3 * (i % 2)},{' '.join(map(str, rng.integers(0, 256, 2304)))},{usage}"
        for i, usage in enumerate(usages)
    ]
    path = tmp_path / "fer2013.csv"
    path.write_text("\n".join(["emotion,pixels,Usage", *rows]))
    assert sizes(loaded(path)) == (8, 2, 10)
    assert sizes(loaded(path, public_test="val")) == (10, 4, 6)
    assert "its PublicTest, 4 images, is the validation side" in capsys.readouterr().err
    path.write_text("\n".join(["emotion,pixels,Usage", *rows[:14]]))
    with pytest.raises(UserError, match="has no test images but PublicTest"):
        loaded(path, public_test="val")
    with pytest.raises(UserError, match="has no PublicTest"):
        loaded(lay(tmp_path / "d", both(train=10, test=3)), public_test="val")


@pytest.mark.parametrize("color", [False, True])
def test_a_saved_split_is_read_back(sample_set, tmp_path, color):
    options = {"color": color, "source_size": 40, "classes": ("angry", "happy", "neutral"), "split_seed": 3}
    data = load_dataset(Config.of(data=str(sample_set), **options), None)
    folder = tmp_path / "split"
    assert f"written: {folder} (48 train, 12 val, 18 test)" in save_split(data, folder)
    with open(folder / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 78 and set(rows[0]) == {"file", "split", "class", "id"}
    first = rows[0]
    assert first["file"] == "train/angry/angry_00000.png" and first["id"] == min(data.train.ids)
    again = load_dataset(Config.of(data=str(folder), **options), None)
    assert again.name == "synthetic sample set" == data.name
    original = {row["file"]: row["id"] for row in rows}
    for side in ("train", "val", "test"):
        before, after = getattr(data, side), getattr(again, side)
        assert [original[id] for id in after.ids] == sorted(before.ids)
        order = np.argsort(before.ids)
        assert (after.labels == before.labels[order]).all() and np.array_equal(
            after.images[:], before.images[order]
        )
    with pytest.raises(UserError, match="is not an empty folder"):
        save_split(data, folder)


def test_train_saves_the_split(sample_set, inside, tmp_path):
    done = inside("train.py", "--data", sample_set, "--save-split", "here", "--resplit")
    assert done.returncode == 0 and "written: here (104 train, 13 val, 13 test)" in done.stdout, done.stderr
    assert len(list((tmp_path / "here/val").rglob("*_*.png"))) == 13


def test_what_was_read_before_is_read_as_before(sample_set, shared):
    """Names, classes, sides and cache keys, by the program before it knew other folders and names."""
    for data, listing, digest in (
        (sample_set, "8a388ae8429a3f0f", "79be0b2127f5704c"),
        (shared / "data/fer2013.zip", "10f988cebca78675", "25cf72f2656447fd"),
    ):
        source = open_source(data)
        lines = "\n".join(f"{entry.id} {entry.label} {entry.split}" for entry in source.entries)
        assert hashlib.sha256(lines.encode()).hexdigest()[:16] == listing
        assert source.digest()[:16] == digest
