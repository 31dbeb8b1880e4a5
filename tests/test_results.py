import csv
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fer_hailo.errors import UserError
from fer_hailo.files import read_csv, written
from fer_hailo.metrics import compute_metrics
from fer_hailo.results import COLUMNS, add_rows, merge, row_of


def row(seed):
    m = compute_metrics(np.eye(2)[[0, 1, 1, 0]], np.array([0, 1, 1, 1]), ["a", "b"], data="d", split="val", sha256="x")
    return row_of(m, run="r", stage="keras", seed=seed, size_bytes=7)


def test_row():
    r = row(3)
    assert list(r.keys() ^ set(COLUMNS)) == []
    assert (r["accuracy"], r["per_class_recall"], r["count"], r["seed"]) == ("0.750000", "a=1.0000 b=0.6667", 4, 3)
    with pytest.raises(ValueError, match="stage"):
        row_of({}, run="r", stage="onnx")


def test_rows_of_many_writers_are_all_there(tmp_path):
    path = tmp_path / "results.csv"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: add_rows(path, [row(seed)]), range(24)))
    assert sorted(int(r["seed"]) for r in read_csv(path)) == list(range(24))


def test_merge_adds_only_what_is_new(tmp_path):
    rows = [row(1), row(2), row(3)]
    add_rows(tmp_path / "a.csv", rows[:2])
    add_rows(tmp_path / "b.csv", rows[1:])
    assert merge(tmp_path / "a.csv", tmp_path / "b.csv") == 1
    assert [r["seed"] for r in read_csv(tmp_path / "a.csv")] == ["1", "2", "3"]


def test_foreign_file_is_refused(tmp_path):
    with open(tmp_path / "x.csv", "w") as file:
        csv.writer(file).writerows([["what", "ever"], [1, 2]])
    with pytest.raises(UserError, match="no results file"):
        merge(tmp_path / "a.csv", tmp_path / "x.csv")
    with pytest.raises(UserError, match="no results at"):
        merge(tmp_path / "a.csv", tmp_path / "y.csv")


def test_a_fault_half_way_leaves_the_old_file(tmp_path):
    path = tmp_path / "f.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="full"), written(path) as beside:
        beside.write_text("half of the new")
        raise OSError("disk full")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
