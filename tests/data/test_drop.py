"""Images that a person names as mislabelled: what is read, what is left out, and what stays."""

import hashlib

import numpy as np
import pytest
from conftest import error_line

from fer_hailo.common.config import load_config, save_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import write_json
from fer_hailo.common.runs import CONFIG, DROPPED, ENVIRONMENT
from fer_hailo.deploy.home import Format, Home
from fer_hailo.training.data.cache import Pictures
from fer_hailo.training.data.dataset import load_dataset
from fer_hailo.training.data.drop import check_kept, digest_names, keep_drop, named_images, read_drop


@pytest.fixture(scope="module")
def whole(small):
    return load_dataset(small, None)


def by_hand(small, name):
    """The digest of an image of the sample set, from its file."""
    from PIL import Image

    pixels = np.asarray(Image.open(f"{small.data.source}/{name}").convert("L")).tobytes()
    return "sha256:" + hashlib.sha256(pixels).hexdigest()[:16]


def test_an_image_is_left_out_by_name_or_digest_and_nothing_else(whole, small, tmp_path):
    names = [str(name) for name in whole.train.ids[[3, 40, 77]]]
    digests = [by_hand(small, name) for name in names]
    rows = "".join(f"1,{name},{by_hand(small, name)},happy\n" for name in names)
    path = tmp_path / "list.csv"
    for content in (
        "\n".join(names),
        f"{digests[0]}\r\n\r\n{names[1]}\r\n {digests[2]} \r\n",
        "rank,name,digest,label\n" + rows,
        "\ufeff" + ("rank,name,digest,label\n" + rows).replace(",", ";") + ";;;\n",  # of a spreadsheet
        "Name\n" + "\n".join(names),
    ):
        path.write_text(content, encoding="utf-8")
        data = load_dataset(small.change(drop=str(path)), None)
        assert list(data.train.ids) == [name for name in whole.train.ids if name not in names]
        assert (data.val.ids == whole.val.ids).all() and (data.test.ids == whole.test.ids).all()
        kept = ~np.isin(whole.train.ids, names)
        assert (data.targets == whole.targets[kept]).all() and data.dropped["named in list.csv"] == 3
        assert data.key == whole.key


def test_validation_test_and_folds_stay_as_they_are(whole, small, tmp_path, capfd):
    """A score on a side without what a model doubts would praise it; all of train leaves them out."""
    path = tmp_path / "judges.txt"
    path.write_text("\n".join([whole.val.ids[2], whole.test.ids[5], whole.train.ids[9]]))
    data = load_dataset(small.change(drop=str(path)), None)
    assert (data.val.ids == whole.val.ids).all() and (data.test.ids == whole.test.ids).all()
    assert len(data.train) == len(whole.train) - 1 and data.dropped["named in judges.txt"] == 1
    assert "2 of the 3 images that it names" in capfd.readouterr().err
    release = small.change(validation_fraction=0, selected_by="x")
    data = load_dataset(release.change(drop=str(path)), None)
    assert len(data.train) == len(whole.train) + len(whole.val) - 2
    for fold in ("1/4", "2/4", "3/4", "4/4"):
        plain, left = (load_dataset(small.change(fold=fold, drop=drop), None) for drop in ("", str(path)))
        for side in ("train", "left_out"):
            before, after = (list(getattr(data, side).ids) for data in (plain, left))
            assert after == [name for name in before if name != whole.train.ids[9]]


def test_copies_under_the_same_label_go_along(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 48, 48), dtype=np.uint8)
    pictures = Pictures(
        images, np.array(list("abcdef")), np.array(["sad", "sad", "happy", "sad", "happy", "sad"]),
        np.full(6, "train"), np.zeros((6, 8), np.float32), np.full((6, 2), 48), np.arange(6),
        np.empty((0, 2), np.int64), np.array([["g", "is cut off"]]), "six faces", "key",
    )  # fmt: skip
    (tmp_path / "list").write_text("b\ng\n")  # g cannot be read: nothing to leave out, no mistake
    copies = np.array([0, 1, 1, 1, 2, 3])
    assert (
        named_images(tmp_path / "list", pictures, copies).tolist() == [False, True, False, True] + [False] * 2
    )
    assert digest_names(images)[4] == "sha256:" + hashlib.sha256(images[4].tobytes()).hexdigest()[:16]


def test_lists_that_cannot_be_used(whole, small, tmp_path):
    path = tmp_path / "list.csv"
    for content, said in [
        ('digest\n"no\n' + "x" * 5000, "line 3: .* holds no image 'no x{77}': the list is of other data$"),
        (
            "train/happy/drawn_0001.png\nno.png",
            "line 2: .* holds no image 'no.png': the list is of other data$",
        ),
        ("digest\nsha256:0000000000000000", "line 2: .*other data .or they are read at another source_size"),
        ("digest,name\n", "names no image"),
        ("", "names no image"),
        ("name,digest\na.png\n", "cannot be read as a list of images"),
        ("\n".join(whole.train.ids[whole.train.labels == 2]), "all training images of class 'happy'"),
    ]:
        path.write_text(content)
        with pytest.raises(UserError, match=said):
            load_dataset(small.change(drop=str(path)), None)
    path.write_bytes(b"\xff\xfe\x00")
    for place in (path, tmp_path, tmp_path / "none.csv"):
        with pytest.raises(UserError, match="cannot be read as a list of images"):
            read_drop(place)


def test_a_run_keeps_its_list(small, tmp_path):
    """Wherever the run goes, and whatever becomes of the file; another list in its place is refused."""
    run = tmp_path / "run"
    run.mkdir()
    write_json(run / ENVIRONMENT, keep_drop(run, "a.png\n\nb.png\n"))
    assert keep_drop(run, "") == {} and keep_drop(run, "a.png\n\nb.png\n")["dropped"]["images"] == 2
    save_config(small.change(drop="elsewhere/list.csv"), run / CONFIG)
    moved = run.rename(tmp_path / "moved")
    assert load_config(moved / CONFIG).data.drop == str(moved / DROPPED)
    check_kept(moved)
    (moved / DROPPED).write_text("a.png\n")
    with pytest.raises(UserError, match="is not the list that this run began with"):
        check_kept(moved)
    (moved / DROPPED).unlink()
    with pytest.raises(UserError, match="cannot be read"):
        check_kept(moved)


def test_what_is_scored_stays_whole(small, tmp_path):
    save_config(small.change(drop="list.csv"), tmp_path / CONFIG)
    home = Home(tmp_path / "m.keras", Format.KERAS, None, tmp_path)
    assert home.own.data.drop == "list.csv" and home.config.data.drop == ""
    with pytest.raises(UserError, match="drop is for training"):
        _ = Home(tmp_path / "m.keras", Format.KERAS, None, tmp_path, {"drop": "list.csv"}).config


def test_mistakes_are_one_line(inside, sample_set, trained):
    missing = inside("train.py", "--data", sample_set, "--drop", "none.csv", "--out", "run")
    assert "none.csv cannot be read as a list of images" in error_line(missing)
    assert "drop is for training" in error_line(inside("evaluate.py", trained, "--drop", "none.csv"))
