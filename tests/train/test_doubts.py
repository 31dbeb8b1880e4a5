"""Labels that are doubted by models that have not learnt them: from runs to the list that a person
confirms.
"""

import json
import shutil
import sys

import cv2
import numpy as np
import pytest
from conftest import error_line

from fer_hailo.common.config import load_config, save_config
from fer_hailo.common.files import read_csv, write_json
from fer_hailo.common.runs import CONFIG, ENVIRONMENT
from fer_hailo.training import doubts
from fer_hailo.training.data.dataset import load_dataset

SWAPPED = {
    "happy/drawn_0003": "angry",
    "angry/drawn_0007": "neutral",
    "surprise/drawn_0011": "disgust",
    "neutral/drawn_0001": "happy",
    "disgust/drawn_0015": "surprise",
    "happy/drawn_0012": "neutral",
}


@pytest.fixture(scope="module")
def swapped(sample_set, tmp_path_factory):
    """The sample set with images in folders of other classes: where they lie now, with what they show."""
    folder = shutil.copytree(sample_set, tmp_path_factory.mktemp("swapped") / "faces")
    shown = {}
    for name, other in SWAPPED.items():
        new = f"train/{other}/moved_{name.replace('/', '_')}.png"
        (folder / f"train/{name}.png").rename(folder / new)
        shown[new] = name.split("/")[0]
    return folder, shown


@pytest.fixture(scope="module")
def folds(trained, swapped, tmp_path_factory):
    """Runs that say that each learnt the swapped set but for one of two folds."""
    config, found = load_config(trained / CONFIG).change(data=str(swapped[0])), []
    for number in (1, 2):
        run = tmp_path_factory.mktemp("folds") / f"fold{number}"
        shutil.copytree(trained, run, ignore=shutil.ignore_patterns("checkpoint"))
        save_config(config.change(fold=f"{number}/2"), run / CONFIG)
        record = json.loads((run / ENVIRONMENT).read_text())
        record["data"]["key"] = load_dataset(config, None).key
        write_json(run / ENVIRONMENT, record)
        found.append(run)
    return found


@pytest.fixture
def judge(swapped, small, monkeypatch):
    """In the place of networks: one that sees what an image shows, and is surer of some than of others.

    Gives how many images each model was asked for.
    """
    folder, shown = swapped
    classes, asked = list(small.data.classes), {}
    truth = {}
    for path in sorted(folder.glob("train/*/*.png")):
        name = path.relative_to(folder).as_posix()
        truth[cv2.imread(str(path), 0).tobytes()] = (name, shown.get(name, path.parent.name))

    def answers(home, images, names):
        found = [truth[image.tobytes()] for image in images]
        asked[home.name] = sorted(name for name, _ in found)
        sure = np.array([0.9 if name in list(shown)[::2] else 0.8 for name, _ in found])[:, None]
        right = np.eye(5)[[classes.index(label) for _, label in found]]
        return right * sure + (1 - right) * (1 - sure) / 4

    monkeypatch.setattr(doubts, "_probabilities", answers)
    return asked


def test_confident_learning_names_what_was_swapped():
    """Of 400 labels of a model that is right, more or less surely, 12 are moved by one class."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 400)
    sure = rng.uniform(0.6, 0.99, 400)
    answers = np.eye(4)[truth] * (sure - (1 - sure) / 3)[:, None] + ((1 - sure) / 3)[:, None]
    labels, moved = truth.copy(), rng.choice(400, 12, replace=False)
    labels[moved] = (truth[moved] + 1) % 4
    place, scores = doubts.rank_doubts(labels, answers)
    ordered = list(moved[np.argsort(-sure[moved])])  # the surer the model, the more doubtful
    assert list(place) == [i for i in ordered if i in place] and len(place) >= 10
    np.testing.assert_allclose(scores, answers[np.arange(400), labels])
    assert not len(doubts.rank_doubts(truth, answers)[0])


def test_of_copies_under_one_label_the_most_doubtful_is_shown():
    labels, groups = np.array([0, 0, 1, 0, 2]), np.array([7, 8, 7, 7, 9])
    place, copies = doubts._photographs(np.array([3, 4, 0, 2]), labels, groups)
    assert place.tolist() == [3, 4, 2] and copies.tolist() == [2, 1, 1]


def test_runs_of_all_folds_find_what_was_swapped(folds, swapped, judge, inside, tmp_path):
    folder, shown = swapped
    done = inside("train.py", "--data-report", *folds, "--data", folder, "--out", "report")
    assert done.returncode == 0, done.stderr
    rows = read_csv(tmp_path / "report/doubts.csv")
    assert {row["name"]: row["suggested"] for row in rows} == shown
    assert [row["rank"] for row in rows] == list("123456") and {row["copies"] for row in rows} == {"1"}
    assert {row["name"] for row in rows[:3]} == set(list(shown)[::2])
    assert all(row["label"] == row["name"].split("/")[1] for row in rows)
    assert [float(row["score"]) for row in rows] == [0.025] * 3 + [0.05] * 3
    assert cv2.imread(str(tmp_path / "report/doubts_01.png")).std() > 5
    assert "80 images of train, 20 of validation were judged" in done.stdout
    assert "; 6 are doubted" in done.stdout
    config = load_config(folds[0] / CONFIG)
    sides = [load_dataset(config.change(fold=f"{i}/2"), None) for i in (1, 2)]
    for run, side in zip(folds, sides, strict=True):  # none was asked for what it has learnt
        assert judge[run.name] == sorted([*side.left_out.ids, *side.val.ids])
        assert not set(judge[run.name]) & set(side.train.ids)
    held = set(sides[0].val.ids)
    assert {row["name"] for row in rows if row["side"] == "val"} == held & set(shown)
    _leave_out(config.change(fold=""), tmp_path, shown)
    again = inside("train.py", "--data-report", *folds, "--data", folder, "--out", "report")
    assert "doubts.csv is there, and may hold what somebody has confirmed" in error_line(again)
    _report_again(folds[0], tmp_path, inside, held & set(shown))


def _leave_out(config, tmp_path, shown):
    """The list, with the lines that are confirmed, takes these from training and nothing else."""
    lines = (tmp_path / "report/doubts.csv").read_text().splitlines(keepends=True)
    (tmp_path / "confirmed.csv").write_text("".join(lines[:1] + lines[2:]))
    lists = ("", str(tmp_path / "confirmed.csv"))
    before, after = (load_dataset(config.change(drop=path), None) for path in lists)
    gone = {line.split(",")[1] for line in lines[2:]}
    assert len(gone) == 5 and set(after.train.ids) == set(before.train.ids) - gone
    assert list(after.val.ids) == list(before.val.ids)


def _report_again(run, tmp_path, inside, held):
    """Of one run validation alone is judged; what a run left out as confirmed is not listed again."""
    alone = shutil.copytree(run, tmp_path / "alone")
    config = load_config(alone / CONFIG).change(fold="")
    save_config(config, alone / CONFIG)
    done = inside("train.py", "--data-report", "alone", "--out", "first")
    assert (
        "0 images of train, 20 of validation" in done.stdout and "only validation was judged" in done.stdout
    )
    assert {row["name"] for row in read_csv(tmp_path / "first/doubts.csv")} == held and held
    save_config(config.change(drop=str(tmp_path / "first/doubts.csv")), alone / CONFIG)
    inside("train.py", "--data-report", "alone", "--out", "second")
    assert read_csv(tmp_path / "second/doubts.csv") == [] and not list((tmp_path / "second").glob("doubts_*"))


def test_models_that_may_have_learnt_the_labels_are_refused(folds, trained, inside, tmp_path, monkeypatch):
    def said(*arguments):
        return error_line(inside("train.py", "--data-report", *arguments, "--out", "report"))

    def changed(name, **values):
        run = shutil.copytree(folds[0], tmp_path / name)
        save_config(load_config(run / CONFIG).change(**values), run / CONFIG)
        return name

    assert "no run left fold 2/2 out" in said(folds[0])
    assert "left no fold out" in said(folds[0], changed("whole", fold=""))
    assert "split with split_seed 7, not 42" in said(folds[0], changed("other", split_seed=7))
    release = changed("release", fold="", validation_fraction=0, selected_by="RUN")
    assert "has learnt the labels of all of train: name RUN" in said(release)
    assert "may have learnt any of these labels" in said(folds[0], trained)
    assert "at most" in said(*folds, "--split-seed", 7)
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    assert "found by cleanlab: pip install" in said(*folds)
    assert not (tmp_path / "report").exists()
