"""Other data sets than FER2013, each as a small copy made up in its own layout."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.training.data.cache import load_pictures
from fer_hailo.training.data.dataset import load_dataset
from fer_hailo.training.data.ferplus import majority
from fer_hailo.training.data.rows import Rows
from fer_hailo.training.data.sources import open_source


def jpeg(seed, side=100):
    colours = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(colours).resize((side, side)).save(data, "PNG")
    return data.getvalue()


def write(root, files):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return root


def npy(value):
    data = io.BytesIO()
    np.save(data, np.array(value))
    return data.getvalue()


RAF = [("train_00001", 5), ("train_00002", 4), ("test_0001", 1), ("test_0002", 7)]


@pytest.fixture
def raf(tmp_path):
    files = {f"basic/Image/aligned/{name}_aligned.jpg": jpeg(i) for i, (name, _) in enumerate(RAF)}
    files |= {f"basic/Image/original/{name}.jpg": jpeg(9) for name, _ in RAF}
    lists = "".join(f"{name}.jpg {code}\n" for name, code in RAF)
    return write(tmp_path / "RAF-DB", files | {"basic/EmoLabel/list_patition_label.txt": lists})


def test_raf_db(raf, tmp_path):
    source = open_source(raf)
    assert [(e.id, e.label, e.split) for e in source.entries] == [
        ("test/test_0001", "surprise", "test"),
        ("test/test_0002", "neutral", "test"),
        ("train/train_00001", "sad", "train"),
        ("train/train_00002", "happy", "train"),
    ]
    assert source.read(source.entries[2]) == jpeg(0)
    with zipfile.ZipFile(tmp_path / "raf.zip", "w") as archive:
        for file in raf.rglob("*.*"):
            archive.write(file, f"RAF-DB/{file.relative_to(raf)}")
    packed = open_source(tmp_path / "raf.zip")
    assert packed.entries == source.entries and packed.read(packed.entries[0]) == source.read(
        source.entries[0]
    )


def test_raf_db_in_colour_keeps_its_size_and_stays_on_disk(raf, tmp_path):
    spec = PreprocessSpec(source_size=100, input_size=112, color=True)
    for _ in range(2):  # made, then found
        pictures = load_pictures(raf, spec, tmp_path / "cache")
        assert isinstance(pictures.images, np.memmap) and pictures.images.shape == (4, 100, 100, 3)
        assert pictures.images[2].tobytes() == np.asarray(Image.open(io.BytesIO(jpeg(0)))).tobytes()
    (known,) = (tmp_path / "cache").glob("*.npz")
    assert np.array_equal(load_pictures(known, spec, None).images, pictures.images)
    known.with_suffix(".images.npy").unlink()
    with pytest.raises(UserError, match="needs its images"):
        load_pictures(known, spec, None)


def test_raf_db_with_pictures_missing(raf, capsys):
    (raf / "basic/Image/aligned/test_0001_aligned.jpg").unlink()
    assert (
        len(open_source(raf).entries) == 3
        and "1 images that RAF-DB lists are not there" in capsys.readouterr().err
    )
    (raf / "basic/EmoLabel/list_patition_label.txt").write_text("train_00001.jpg 5\ntrain_00002.jpg 8\n")
    with pytest.raises(
        UserError, match=r"line 2 must be like 'train_00001.jpg 5', it is 'train_00002.jpg 8'"
    ):
        open_source(raf)
    (raf / "basic/EmoLabel/list_patition_label.txt").write_text("train_00009.jpg 5\n")
    with pytest.raises(UserError, match="none of their images"):
        open_source(raf)


def affectnet(root):
    files = {}
    for folder, codes in (("train_set", (0, 1, 7, 9)), ("val_set", (6, 4))):
        for i, code in enumerate(codes):
            files |= {
                f"{folder}/images/{i}.jpg": jpeg(i),
                f"{folder}/annotations/{i}_exp.npy": npy(str(code)),
            }
            files |= {f"{folder}/annotations/{i}_aro.npy": npy("0.1")}
    return write(root, files)


def test_affectnet_7_and_8(tmp_path):
    source = open_source(affectnet(tmp_path))
    assert [(e.id, e.label) for e in source.entries] == [
        ("test/0", "angry"),
        ("test/1", "fear"),
        ("train/0", "neutral"),
        ("train/1", "happy"),
        ("train/2", "contempt"),  # 9: no expression
    ]
    classes = {7: ("happy", "neutral"), 8: ("contempt", "happy", "neutral")}
    pictures = load_pictures(tmp_path, PreprocessSpec(64, 64, True), None)
    assert [int(np.isin(pictures.labels, names).sum()) for names in classes.values()] == [2, 3]
    write(tmp_path, {"images/other.jpg": jpeg(1)})  # nobody's
    assert len(open_source(tmp_path).entries) == 5
    (tmp_path / "train_set/annotations/0_exp.npy").write_bytes(npy("happy"))
    with pytest.raises(UserError, match="0_exp.npy holds no number"):
        open_source(tmp_path)


def test_caer_s_names_anger_as_fer2013_does(tmp_path):
    names = ("Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
    write(tmp_path, {f"{split}/{name}/0001.png": jpeg(1) for split in ("train", "test") for name in names})
    source = open_source(tmp_path)
    assert {e.label for e in source.entries} == {"angry", *(name.lower() for name in names[1:])}
    assert {e.id for e in source.entries if e.label == "angry"} == {
        "train/Anger/0001.png",
        "test/Anger/0001.png",
    }
    write(tmp_path, {"train/Bored/1.png": jpeg(2)})  # somebody's own classes keep their names
    assert "anger" in {e.label for e in open_source(tmp_path).entries}


def test_majority_by_hand():
    assert majority([6, 0, 0, 4, 0, 0, 0, 0, 0, 0]) == "neutral"
    assert majority([4, 1, 1, 1, 1, 1, 1, 0, 0, 0]) == "neutral"  # single votes are slips
    assert majority([5, 5, 0, 0, 0, 0, 0, 0, 0, 0]) is None
    assert majority([4, 3, 3, 0, 0, 0, 0, 0, 0, 0]) is None
    assert majority([0, 2, 0, 0, 0, 0, 0, 0, 0, 8]) is None  # no face
    assert majority([1] * 10) is None


VOTES = {
    "happy": [1, 8, 0, 0, 0, 0, 0, 1, 0, 0],
    "neutral": [6, 3, 0, 0, 0, 0, 0, 0, 1, 0],
    "unclear": [4, 3, 3, 0, 0, 0, 0, 0, 0, 0],
}


def test_ferplus_folders(tmp_path):
    files = {}
    for folder in ("FER2013Train", "FER2013Valid", "FER2013Test"):
        rows = [
            f'fer{i:07}.png,"(0, 0, 48, 48)",' + ",".join(map(str, votes))
            for i, votes in enumerate(VOTES.values())
        ]
        files |= {f"data/{folder}/label.csv": "\n".join(rows) + "\n"}
        files |= {f"data/{folder}/fer{i:07}.png": jpeg(i, 48) for i in range(3)}
    entries = open_source(write(tmp_path, files)).entries
    assert [(e.id, e.label, e.split) for e in entries][:2] == [
        ("test/FER2013Test/fer0000000", "happy", "test"),
        ("test/FER2013Test/fer0000001", "neutral", "test"),
    ]
    assert len(entries) == 6 and entries[0].votes == (1, 8, 0, 0, 0, 0, 0, 1)
    for bad in ("1,2", "1,2,3,4,5,6,7,8,9,nan", "-1,2,3,4,5,6,7,8,9,10", "x" * 200_000):
        (tmp_path / "data/FER2013Train/label.csv").write_text(f'\na.png,"(0, 0, 48, 48)",{bad}\n')
        with pytest.raises(UserError, match="must hold an image, a box and ten votes"):
            open_source(tmp_path)


@pytest.fixture
def ferplus_csv(tmp_path):
    rng = np.random.default_rng(0)
    usages = ["Training"] * 20 + ["PublicTest"] * 4
    pixels = [f"3,{' '.join(map(str, rng.integers(0, 256, 2304)))},{usage}" for usage in usages]
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n" + "\n".join(pixels))
    names = [("neutral", "happy")[i % 2] for i in range(24)]
    names[3] = "unclear"
    columns = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"
    rows = [
        f"{usage},fer{i:07}.png," + ",".join(map(str, VOTES[name]))
        for i, (usage, name) in enumerate(zip(usages, names, strict=True))
    ]
    (tmp_path / "fer2013new.csv").write_text(columns + "\n".join(rows))
    return tmp_path / "fer2013new.csv"


def test_ferplus_from_the_two_csv_files(ferplus_csv):
    source = open_source(ferplus_csv)
    assert len(source.entries) == 23 and source.name == "ferplus"
    labels = {e.id.rsplit("_", 1)[1]: e.label for e in source.entries}
    assert labels["00000"] == "neutral" and labels["00001"] == "happy" and "00003" not in labels
    first = source.digest()
    ferplus_csv.write_text(ferplus_csv.read_text().replace("1,8,0", "2,7,0"))
    assert open_source(ferplus_csv).digest() != first
    (ferplus_csv.parent / "fer2013.csv").unlink()
    with pytest.raises(UserError, match="beside it"):
        open_source(ferplus_csv)


def test_votes_as_soft_labels(ferplus_csv):
    options = {"data": str(ferplus_csv), "classes": ("happy", "neutral"), "validation_fraction": 0.25}
    hard, soft = (load_dataset(Config.of(**options, soft_labels=soft), None) for soft in (False, True))
    assert np.array_equal(hard.targets, np.eye(2)[hard.train.labels])
    # What is scored, and oversampled, is the majority
    assert np.array_equal(soft.train.labels, hard.train.labels)
    shares = {0: [8 / 9, 1 / 9], 1: [3 / 9, 6 / 9]}
    np.testing.assert_allclose(soft.targets, [shares[label] for label in soft.train.labels], rtol=1e-6)


def test_soft_labels_need_votes(sample_set):
    with pytest.raises(UserError, match="has no votes"):
        load_dataset(Config.of(data=str(sample_set), soft_labels=True), None)


def test_rows_are_those_of_the_array():
    array = np.arange(60).reshape(10, 3, 2)
    rows = Rows(array, [7, 0, 3, 3])
    want = array[[7, 0, 3, 3]]
    for key in (
        0,
        -1,
        slice(1, 3),
        [3, 0],
        np.array([True, False, True, False]),
        (0, 1),
        (slice(0, 2), 1),
        ([1, 2], slice(None), 0),
    ):
        assert np.array_equal(rows[key], want[key]), key
    assert (
        np.array_equal(list(rows), want)
        and np.array_equal(np.asarray(rows), want)
        and np.asarray(rows, np.float32).dtype == np.float32
    )
    assert rows.shape == want.shape and len(rows) == 4 and rows.ndim == 3 and rows.dtype == want.dtype
    assert np.array_equal(rows + Rows(array, [9]), array[[7, 0, 3, 3, 9]])
    with pytest.raises(ValueError):
        rows + Rows(array.copy(), [1])
