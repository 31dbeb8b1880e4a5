"""FER+ votes as soft targets."""

import csv

import numpy as np
import pytest

from fer_hailo.common.errors import UserError
from fer_hailo.training.data.dataset import Part
from fer_hailo.training.data.ferplus import VOTES, read_votes
from fer_hailo.training.data.votes import soften


def write(path, rows, first=("split", "class", "file")):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[*first, *VOTES], *rows])
    return path


def part(labels, ids=None):
    labels = np.array(labels)
    ids = [f"train/x/Training_{i}.jpg" for i in range(len(labels))] if ids is None else ids
    return Part(np.zeros((len(labels), 48, 48), np.uint8), labels, np.array(ids))


def ballots(neutral, happy):
    return [neutral, happy, *[0] * 8]


@pytest.fixture
def poll(tmp_path):
    """40 images of label 0 that all voters call neutral, 40 of label 1 called happy, and 20 on which they are
    divided, 15 of which the data set calls happy.
    """
    labels = [0] * 40 + [1] * 40 + [0] * 5 + [1] * 15
    votes = [ballots(10, 0)] * 40 + [ballots(0, 10)] * 40 + [ballots(5, 5)] * 20
    rows = [["train", "x", f"Training_{i}.jpg", *row] for i, row in enumerate(votes)]
    return part(labels), write(tmp_path / "votes.csv", rows)


def test_targets_are_the_data_sets_labels_given_the_votes(poll):
    faces, path = poll
    hard = np.eye(3, dtype=np.float32)[faces.labels]
    likely = soften(faces, hard, path, 1.0)
    np.testing.assert_allclose(likely.sum(axis=1), 1, rtol=1e-5)
    assert (likely[:, 2] == 0).all() and likely.dtype == np.float32  # no image has the third label
    assert likely[:40, 0].min() > 0.95 and likely[40:80, 1].min() > 0.95
    # With an intercept the fitted probabilities sum to the counts of the labels: 55 of label 1. The
    # regularised slope takes a little of it.
    assert likely[:, 1].sum() == pytest.approx(55, abs=0.5)
    # 15 of 20, whatever the image's own label
    assert (likely[80:, 1] == likely[80, 1]).all() and 0.6 < likely[80, 1] < 0.8
    half = soften(faces, hard, path, 0.5)
    np.testing.assert_allclose(half, (hard + likely) / 2, rtol=1e-6)


def test_a_picture_without_votes_keeps_its_label(poll):
    faces, path = poll
    renamed = Part(faces.images, faces.labels, np.array(["train/x/new.jpg", *faces.ids[1:]]))
    hard = np.eye(2, dtype=np.float32)[faces.labels]
    assert (soften(renamed, hard, path, 0.7)[0] == hard[0]).all()
    assert hard[0].tolist() == [1, 0]  # the argument was not written to


def test_microsofts_file_goes_by_the_rows_of_fer2013_csv(tmp_path):
    rows = [
        ["Training", "fer0000000.png", *ballots(4, 6)],
        ["Training", "", *[""] * 10],
        ["PublicTest", "fer2.png", *ballots(10, 0)],
    ]
    votes = read_votes(write(tmp_path / "fer2013new.csv", rows, ("Usage", "Image name")))
    # As data/sources.py names the rows; on the second nobody voted
    assert list(votes) == ["Training_00000", "PublicTest_00002"]
    assert votes["Training_00000"].tolist() == ballots(4, 6)


def test_votes_of_other_pictures_are_refused(poll, tmp_path):
    faces, path = poll
    hard = np.eye(2, dtype=np.float32)[faces.labels]
    with pytest.raises(UserError, match="votes for 0 of 100"):
        soften(part(faces.labels, [f"{i}.png" for i in range(100)]), hard, path, 0.5)
    mixed = np.random.default_rng(0).permutation(100)
    with pytest.raises(UserError, match="says nothing about the labels"):
        soften(part(faces.labels, faces.ids[mixed]), hard, path, 0.5)


@pytest.mark.parametrize(
    "text, said", [("", r"no FER\+ votes"), ("a,b\n1,2\n", r"no FER\+ votes"), (None, "cannot read")]
)
def test_files_that_hold_no_votes(tmp_path, text, said):
    if text is not None:
        (tmp_path / "v.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        read_votes(tmp_path / "v.csv")


@pytest.mark.parametrize("value", ["many", "nan", "inf", "-1"])
def test_votes_that_are_no_numbers(tmp_path, value):
    path = write(tmp_path / "v.csv", [["train", "x", "a.jpg", value, *[1] * 9]])
    with pytest.raises(UserError, match="no numbers"):
        read_votes(path)


def test_a_rare_class_is_no_reason_to_refuse(tmp_path):
    """95 images of one class and 5 of another, told apart by their votes: always naming the first is right 95
    times already.
    """
    rows = [
        ["train", "x", f"Training_{i}.jpg", *(ballots(10, 0) if i < 95 else ballots(0, 10))]
        for i in range(100)
    ]
    faces = part([0] * 95 + [1] * 5)
    likely = soften(faces, np.eye(2, dtype=np.float32)[faces.labels], write(tmp_path / "v.csv", rows), 1.0)
    assert (likely.argmax(axis=1) == faces.labels).all()


def test_real_votes_tell_most_labels(shared):
    """By the votes alone 83.8 % of FER2013's own five-class labels are found: so noisy are these."""
    path = shared / "data" / "ferplus_votes.csv"
    with open(path, newline="", encoding="utf-8") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["split"] == "train" and row["class"] not in ("fear", "sad")
        ]
    assert len(read_votes(path)) == 32298 - 159 and len(rows) == 28709 - 4097 - 4830  # nobody voted on 159
    names = sorted({row["class"] for row in rows})
    ids = ["/".join(["train", row["class"], row["file"]]) for row in rows]
    faces = Part(
        np.zeros((len(rows), 1, 1), np.uint8),
        np.array([names.index(row["class"]) for row in rows]),
        np.array(ids),
    )
    likely = soften(faces, np.eye(5, dtype=np.float32)[faces.labels], path, 1.0)
    assert (likely.argmax(axis=1) == faces.labels).mean() == pytest.approx(0.838, abs=0.005)


def test_a_long_cell_is_a_short_line(tmp_path):
    path = write(tmp_path / "v.csv", [["train", "happy", "a", "7 " * 2000, *[1] * 9]])
    with pytest.raises(UserError, match="votes that are no numbers") as caught:
        read_votes(path)
    assert len(str(caught.value)) < len(str(path)) + 130
