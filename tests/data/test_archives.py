"""Archives as people have them: a CSV within, tars, and what is called by another kind's name."""

import gzip
import hashlib
import io
import tarfile
import zipfile

import cv2
import numpy as np
import pytest

from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.training.data.cache import load_pictures
from fer_hailo.training.data.dataset import load_dataset
from fer_hailo.training.data.sources import open_source

NAMES = ["train/angry/a.png", "train/happy/b.png", "test/angry/c.png", "test/happy/d.png"]


def png(seed):
    return cv2.imencode(".png", np.random.default_rng(seed).integers(0, 256, (48, 48), dtype=np.uint8))[
        1
    ].tobytes()


FILES = {name: png(number) for number, name in enumerate(NAMES)}


def rows(usages, usage=True):
    lines = ["emotion,pixels,Usage" if usage else "emotion,pixels"]
    for number, kind in enumerate(usages):
        pixels = " ".join(map(str, np.random.default_rng(number).integers(0, 256, 2304)))
        lines.append(f"{3 * (number % 2)},{pixels}" + (f",{kind}" if usage else ""))
    return ("\n".join(lines) + "\n").encode()


KAGGLE = rows(["Training"] * 10 + ["PublicTest"] * 4 + ["PrivateTest"] * 2)


def as_tar(path, files, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def as_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("name", "mode"), [("x.tar", "w"), ("x.tar.gz", "w:gz"), ("x.tgz", "w:gz"), ("x.tar.xz", "w:xz")]
)
def test_images_in_a_tar(tmp_path, name, mode):
    plain, tar = (
        as_zip(tmp_path / "x.zip", FILES),
        as_tar(tmp_path / name, {f"./d/{n}": FILES[n] for n in FILES}, mode),
    )
    one, other = open_source(plain), open_source(tar)
    assert one.entries == other.entries and one.name == other.name == "x"
    assert [other.read(entry) for entry in other.entries] == [FILES[entry.id] for entry in one.entries]
    assert other.digest() == hashlib.sha256(tar.read_bytes()).hexdigest()


@pytest.mark.parametrize("place", ["fer2013.csv", "fer2013/fer2013.csv"])
@pytest.mark.parametrize("pack", [as_zip, as_tar])
def test_the_csv_within(tmp_path, place, pack, capsys):
    """The same images under the same key as the CSV itself has, so that one cache serves both."""
    (tmp_path / "fer2013.csv").write_bytes(KAGGLE)
    path = pack(tmp_path / ("a.zip" if pack is as_zip else "a.tar.gz"), {"README": b"x", place: KAGGLE})
    plain, packed = (load_pictures(each, PreprocessSpec(), None) for each in (tmp_path / "fer2013.csv", path))
    assert plain.key == packed.key and np.array_equal(plain.images, packed.images)
    assert plain.ids.tolist() == packed.ids.tolist() and plain.splits.tolist() == packed.splits.tolist()
    assert sorted(packed.splits) == ["test"] * 6 + ["train"] * 10
    assert f"{path}: its {place} is read" in capsys.readouterr().err


def test_the_key_of_a_csv_is_what_it_was(tmp_path):
    """By the program before it read them in archives: SHA-256 of "1", the file's and the images' shape."""
    (tmp_path / "fer2013.csv").write_bytes(KAGGLE)
    digest = hashlib.sha256(KAGGLE).hexdigest()
    expected = hashlib.sha256(f"1\0{digest}\0(48, 48)".encode()).hexdigest()
    assert load_pictures(tmp_path / "fer2013.csv", PreprocessSpec(), None).key == expected


def test_the_competition(tmp_path):
    """All that Kaggle's archive of the challenge holds; icml_face_data.csv is the one with all images."""
    spaced = KAGGLE.replace(b"emotion,pixels,Usage", b"emotion, pixels, Usage")
    files = {
        "example_submission.csv": b"emotion\n0\n",
        "fer2013.tar.gz": gzip.compress(b"x"),
        "icml_face_data.csv": spaced,
        "test.csv": b"pixels\n1 2\n",
        "train.csv": rows([""] * 10, usage=False),
    }
    source = open_source(as_zip(tmp_path / "challenge.zip", files))
    assert source.name == "icml_face_data" and len(source.entries) == 16
    for name, content in files.items():
        (tmp_path / "d" / "down").mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / "down" / name).write_bytes(content)
    assert len(open_source(tmp_path / "d").entries) == 16
    with pytest.raises(UserError, match=r"and fer2013.tar.gz: unpack that one"):
        open_source(as_zip(tmp_path / "inner.zip", {"fer2013.tar.gz": files["fer2013.tar.gz"]}))
    others = dict.fromkeys(("a.csv", "b.csv"), KAGGLE)
    with pytest.raises(UserError, match="several CSV files of images"):
        open_source(as_zip(tmp_path / "several.zip", others))


def test_a_csv_without_usage_is_one_side(tmp_path, capsys):
    (tmp_path / "train.csv").write_bytes(rows([""] * 40, usage=False))
    options = {"data": str(tmp_path / "train.csv"), "classes": ("angry", "happy")}
    with pytest.raises(UserError, match="use --resplit"):
        load_dataset(Config.of(**options), None)
    assert "without the column Usage its images are one side" in capsys.readouterr().err
    data = load_dataset(Config.of(**options, resplit=True), None)
    assert (len(data.train), len(data.val), len(data.test)) == (32, 4, 4)
    assert data.train.ids[0].startswith("angry/row_000")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.zip", b"7z\xbc\xaf\x27\x1c" + bytes(600), "x.zip is a 7z archive: unpack it"),
        ("x.zip", b"Rar!\x1a\x07\x01\x00" + bytes(600), "x.zip is a rar archive: unpack it"),
        ("x.csv.gz", gzip.compress(KAGGLE), "is compressed, and no tar archive"),
        ("x.tar", b"nonsense" * 100, "not a whole tar"),
        ("x.tar.gz", gzip.compress(bytes(2**14))[:-9], "not a whole tar"),
        ("x.tar.gz", gzip.compress(bytes(2**24)), "expands absurdly"),
        ("x.tar.gz", b"nonsense" * 100, "not a whole tar"),
        ("x.dat", b"nonsense" * 100, "neither a folder nor a .zip, .tar, .csv"),
    ],
    ids=range(8),  # gzip keeps the time, by which the workers of one run would call a test differently
)
def test_what_cannot_be_read_is_called_what_it_is(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        open_source(tmp_path / name)


def test_a_renamed_tar_is_called_one(tmp_path, capsys):
    as_tar(tmp_path / "x.zip", FILES)
    as_zip(tmp_path / "y.tar", FILES)
    assert [len(open_source(tmp_path / name).entries) for name in ("x.zip", "y.tar")] == [4, 4]
    told = capsys.readouterr().err
    assert "x.zip is a tar archive, and is read as one" in told
    assert "y.tar is a zip archive, and is read as one" in told


@pytest.mark.parametrize("name", ["../x.png", "/train/angry/x.png", "C:/train/angry/x.png"])
def test_unsafe_paths_in_a_tar(tmp_path, name):
    with pytest.raises(UserError, match="unsafe path"):
        open_source(as_tar(tmp_path / "x.tar", FILES | {name: b"x"}))


def test_damaged_tars_and_what_is_no_file_in_them(tmp_path):
    path = as_tar(tmp_path / "x.tar", FILES, "w")
    with tarfile.open(path, "a") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE):
            member = tarfile.TarInfo(f"train/angry/{kind.decode()}.png")
            member.type, member.linkname = kind, "../../../etc/passwd"
            archive.addfile(member)
    assert len(open_source(path).entries) == 4
    path.write_bytes(path.read_bytes()[: 512 * 5 + 100])
    with pytest.raises(UserError, match="not a whole tar"):
        open_source(path)
    large = tarfile.TarInfo("train/angry/large.png")
    large.size = 65 << 20
    with open(tmp_path / "large.tar", "wb") as file:
        file.write(large.tobuf())
        file.truncate(512 + large.size + 1024)
    with pytest.raises(UserError, match="expands absurdly"):
        open_source(tmp_path / "large.tar")
