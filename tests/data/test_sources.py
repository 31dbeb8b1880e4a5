import io
import os
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_hailo.common.errors import UserError
from fer_hailo.common.groups import SEVEN_CLASSES
from fer_hailo.training.data.fer2013 import CsvSource
from fer_hailo.training.data.sources import FolderSource, load_filtered_image_paths, open_source


def png(value=100):
    image = np.random.default_rng(value).integers(0, 256, (48, 48), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(image).save(data, "PNG")
    return data.getvalue()


FILES = {
    f"{split}/{label}/{i}.png": png(zlib.crc32(f"{split}{label}{i}".encode()))
    for split in ("train", "test")
    for label in ("angry", "happy", "sad")
    for i in range(2)
}


def as_folder(root, files=FILES):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def as_zip(path, files=FILES, prefix=""):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(prefix + name, data)
    return path


def test_folder_and_zip_hold_the_same_pictures_in_the_same_order(tmp_path):
    folder, archive = (
        open_source(as_folder(tmp_path / "f")),
        open_source(as_zip(tmp_path / "z.zip", prefix="archive/fer2013/")),
    )
    assert folder.entries == archive.entries and len(folder.entries) == 12
    assert [e.id for e in folder.entries] == sorted(FILES)
    assert all(folder.read(e) == archive.read(e) == FILES[e.id] for e in folder.entries)


def test_selected_classes(tmp_path):
    ids, labels, names = load_filtered_image_paths(as_folder(tmp_path), ["sad", "angry"])
    assert names == ["angry", "sad"] and len(ids) == 8
    assert all(names[label] == id.split("/")[1] for id, label in zip(ids, labels, strict=True))


def test_other_files_are_passed_over(tmp_path):
    extra = {
        "README.md": b"x",
        "train/angry/.hidden.png": b"x",
        "__MACOSX/train/angry/0.png": b"x",
        "train/loose.png": b"x",
        "train/angry/notes.txt": b"x",
    }
    assert len(open_source(as_folder(tmp_path, FILES | extra)).entries) == 12


def test_class_folders_may_be_capitalised(tmp_path):
    assert {
        e.label
        for e in open_source(
            as_folder(tmp_path, {"Train/Angry/a.JPG": b"1", "TRAIN/HAPPY/b.jpg": b"2"})
        ).entries
    } == {
        "angry",
        "happy",
    }


def test_pictures_outside_the_layout_are_counted(tmp_path, capsys):
    as_folder(
        tmp_path,
        FILES | {"tests/angry/0.png": png(), "train/1.png": png(), "loose.png": png()},
    )
    assert len(open_source(tmp_path).entries) == 12
    assert capsys.readouterr().err == (
        f"{tmp_path}: 3 images outside train/<class>/ and test/<class>/ are not used, as those in tests/ "
        "(did you mean test?), train/\n"
    )


def test_images_that_are_not_in_class_folders_are_told(tmp_path):
    as_folder(tmp_path, {"ann/angry/0.png": png(), "ben/angry/0.png": png(), "ben/happy/0.png": png()})
    with pytest.raises(UserError, match=r"holds images, as ann/angry/0\.png, but no class folders"):
        open_source(tmp_path)
    with pytest.raises(UserError, match=r"holds images, as 0\.png, but"):
        open_source(tmp_path / "ann/angry")


def test_folders_above_the_classes_and_links_are_followed(tmp_path):
    plain = {"photos/angry/a.png": png(1), "photos/happy/b.png": png(2)}
    assert [e.id for e in open_source(as_zip(tmp_path / "z.zip", plain)).entries] == [
        "angry/a.png",
        "happy/b.png",
    ]
    as_folder(tmp_path / "real", plain)
    (tmp_path / "linked").mkdir()
    for label in ("angry", "happy"):
        (tmp_path / "linked" / label).symlink_to(tmp_path / "real/photos" / label)
    assert [e.id for e in open_source(tmp_path / "linked").entries] == ["angry/a.png", "happy/b.png"]


def test_two_pictures_of_one_name(tmp_path):
    with pytest.raises(UserError, match=f"^{re.escape(str(tmp_path))}: .* two images of one name"):
        open_source(as_folder(tmp_path, FILES | {"copy/train/angry/0.png": png()}))


def test_archive_lying_in_the_folder_is_found(tmp_path):
    as_zip(tmp_path / "archive (1).zip")
    assert len(open_source(tmp_path).entries) == 12
    as_zip(tmp_path / "other.zip", {"train/angry/0.png": png()})
    with pytest.raises(UserError, match=r"several archives: point --data at one, as in --data .* \(1\)\.zip"):
        open_source(tmp_path)
    as_zip(tmp_path / "archive.zip", {"train/angry/0.png": png()})
    assert len(open_source(tmp_path).entries) == 1


@pytest.mark.parametrize(
    ("files", "classes", "said"),
    [
        (FILES, ["angry", "hapy"], "did you mean happy?"),
        ({k: v for k, v in FILES.items() if "sad" not in k}, ["angry", "sad"], "class 'sad' has no images"),
        ({}, ["angry"], "holds no images"),
    ],
)
def test_missing_or_empty_class_or_folder(tmp_path, files, classes, said):
    as_folder(tmp_path, files)
    (tmp_path / "train" / "sad").mkdir(parents=True, exist_ok=True)
    with pytest.raises(UserError, match=said.replace("?", r"\?")):
        load_filtered_image_paths(tmp_path, classes)


def test_odd_files_in_a_folder_are_told_and_passed_over(tmp_path, capsys):
    as_folder(tmp_path, FILES)
    right = [entry.id for entry in open_source(tmp_path).entries]
    angry = tmp_path / "train" / "angry"
    (angry / "nowhere.png").symlink_to("missing.png")
    (angry / "device.png").symlink_to("/dev/zero")
    (angry / "again").symlink_to(angry)
    (tmp_path / "train" / "up").symlink_to(tmp_path)
    os.mkfifo(angry / "pipe.png")
    (Path(os.fsdecode(os.fsencode(angry) + b"/\xff\xfe.png"))).write_bytes(png())
    (angry / "line\nbreak.png").write_bytes(png())
    source = open_source(tmp_path)
    said = capsys.readouterr().err
    assert [entry.id for entry in source.entries] == sorted([*right, "train/angry/line\nbreak.png"])
    assert said.count("is passed over") == 4 and len(said.splitlines()) == 4 and r"\udcff" in said


def test_an_image_file_of_absurd_size_is_that_images_fault(tmp_path):
    as_folder(tmp_path, FILES)
    with open(tmp_path / "test" / "angry" / "0.png", "r+b") as file:
        file.truncate(65 << 20)
    source = open_source(tmp_path)
    with pytest.raises(ValueError, match="more than 64 MiB"):
        source.read(next(entry for entry in source.entries if entry.id == "test/angry/0.png"))


def test_missing_folder(tmp_path):
    with pytest.raises(UserError, match="no data at"):
        open_source(tmp_path / "nothing")


def test_truncated_zip(tmp_path):
    path = as_zip(tmp_path / "z.zip")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match="not a whole zip"):
        open_source(path)


@pytest.mark.parametrize(
    "name",
    [
        "../train/angry/x.png",
        "/train/angry/x.png",
        "train/../../angry/x.png",
        "C:/train/angry/x.png",
        "..\\train\\angry\\x.png",
    ],
)
def test_unsafe_paths_in_a_zip(tmp_path, name):
    with pytest.raises(UserError, match="unsafe path"):
        open_source(as_zip(tmp_path / "z.zip", {"./": b"", name: png()}))


def test_zip_bomb(tmp_path):
    with pytest.raises(UserError, match="expands absurdly"):
        open_source(as_zip(tmp_path / "z.zip", FILES | {"train/angry/bomb.png": bytes(32 * 2**20)}))


def test_damaged_member_is_that_pictures_fault(tmp_path):
    path = as_zip(tmp_path / "z.zip")
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        data[archive.getinfo("test/angry/0.png").header_offset + 60] ^= 255
    path.write_bytes(data)
    source = open_source(path)
    broken = next(e for e in source.entries if e.id == "test/angry/0.png")
    with pytest.raises(ValueError, match="damaged"):
        source.read(broken)


@pytest.mark.parametrize("damage", ["lzma", "unknown method", "unknown version", "encrypted"])
def test_whatever_zipfile_raises_is_that_pictures_fault(tmp_path, damage):
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(
        path, "w", zipfile.ZIP_LZMA if damage == "lzma" else zipfile.ZIP_DEFLATED
    ) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
        place = archive.getinfo("test/angry/0.png").header_offset
    data = bytearray(path.read_bytes())
    # Of the local header, 30 bytes and the name: version at 4, flags at 6, method at 8; the central one has
    # them two bytes later, at its own place
    central = data.index(b"PK\x01\x02")
    while data[central + 46 : central + 46 + 16] != b"test/angry/0.png":
        central = data.index(b"PK\x01\x02", central + 4)
    if damage == "lzma":
        data[place + 30 + 16 + 4 : place + 30 + 16 + 12] = b"\xff" * 8
    else:
        offset, value = {"unknown method": (8, 77), "unknown version": (4, 99), "encrypted": (6, 1)}[damage]
        data[place + offset] = data[central + offset + 2] = value
    path.write_bytes(data)
    try:
        source = open_source(path)
    except (
        UserError
    ) as error:  # of a version that it does not know, zipfile says so when it opens the archive
        assert damage == "unknown version" and "not a whole zip" in str(error)
        return
    broken = next(e for e in source.entries if e.id == "test/angry/0.png")
    with pytest.raises(ValueError, match="damaged"):
        source.read(broken)


def pixels(seed):
    return np.random.default_rng(seed).integers(0, 256, 48 * 48)


def as_csv(path, rows, header="emotion,pixels,Usage"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_both_csv_layouts(tmp_path):
    values = " ".join(map(str, pixels(1)))
    usual = CsvSource(
        as_csv(
            tmp_path / "a.csv", [f"0,{values},Training", f"6,{values},PublicTest", f"3,{values},PrivateTest"]
        )
    )
    spaced = CsvSource(
        as_csv(
            tmp_path / "b.csv",
            [f"0, Training, {values}", f"6, PublicTest, {values}", f"3, PrivateTest, {values}"],
            "emotion, Usage, pixels",
        )
    )
    assert usual.entries == spaced.entries
    assert [(e.label, e.split) for e in usual.entries] == [
        ("happy", "test"),
        ("neutral", "test"),
        ("angry", "train"),
    ]
    assert (usual.read(usual.entries[0]).ravel() == pixels(1)).all()


def test_csv_codes_are_the_published_ones(tmp_path):
    rows = [f"{code},{' '.join(map(str, pixels(code)))},Training" for code in range(7)]
    entries = sorted(CsvSource(as_csv(tmp_path / "a.csv", rows)).entries, key=lambda e: e.id[-5:])
    assert [e.label for e in entries] == ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    assert sorted(e.label for e in entries) == list(SEVEN_CLASSES)


@pytest.mark.parametrize(
    ("rows", "header", "said"),
    [
        ([], "emotion,pixels,Usage", "holds no rows"),
        (["0,1 2,Training"], "emotion,pixel,Usage", "no column pixels"),
        (["0,1 2,Validation"], "emotion,pixels,Usage", "line 2: unknown Usage 'Validation'"),
        (["7" * 5000 + ",1 2,Training"], "emotion,pixels,Usage", "emotion must be 0 to 6, got '7{20}'"),
        (["7,1 2,Training"], "emotion,pixels,Usage", "emotion must be 0 to 6, got '7'"),
        (["0,1 2"], "emotion,pixels,Usage", "line 2 has 2 of 3 columns"),
    ],
)
def test_csv_mistakes(tmp_path, rows, header, said):
    with pytest.raises(UserError, match=said):
        open_source(as_csv(tmp_path / "a.csv", rows, header))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("1 2 3", "has 3 pixels, not 2304"),
        (" ".join(["300"] * 2304), "not numbers"),
        (" ".join(["x"] * 2304), "not numbers"),
    ],
)
def test_csv_rows_with_wrong_pixels_are_damaged_pictures(tmp_path, values, said):
    source = CsvSource(as_csv(tmp_path / "a.csv", [f"0,{values},Training"]))
    with pytest.raises(ValueError, match=said):
        source.read(source.entries[0])


def test_digest_follows_the_content(tmp_path):
    folder = FolderSource(as_folder(tmp_path))
    before = folder.digest()
    assert before == FolderSource(tmp_path).digest()
    (tmp_path / "train/angry/0.png").write_bytes(png(7))
    assert FolderSource(tmp_path).digest() != before
