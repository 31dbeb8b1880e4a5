import csv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_csv, written
from fer_hailo.common.metrics import compute_metrics
from fer_hailo.common.results import COLUMNS, Speed, add_rows, merge, row_of, speed_row

LATER = ["latency_p95_ms", "latency_p99_ms", "images_per_s_1", "images_per_s_8", "memory_mib"]


METRICS = compute_metrics(
    np.eye(2)[[0, 1, 1, 0]], np.array([0, 1, 1, 1]), ["a", "b"], data="d", split="val", sha256="x"
)


def row(seed):
    return row_of(METRICS, run="r", stage="keras", seed=seed, size_bytes=7)


def test_row():
    r = row(3)
    absent = ["drop", "latency_ms", *LATER, "parameters", "input_size", "selected_by", "corruption_loss"]
    absent += ["reference", "difference", "difference_low", "difference_high", "time_ratio"]
    assert [name for name in COLUMNS if getattr(r, name) == ""] == absent
    assert (r.accuracy, r.per_class_recall, r.count, r.seed) == ("0.750000", "a=1.0000 b=0.6667", 4, 3)
    with pytest.raises(ValueError, match="stage"):
        row_of(METRICS, run="r", stage="onnx")


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


@pytest.mark.parametrize("text", ["", "one line of another file\n"])
def test_a_file_without_rows_is_not_merged(tmp_path, text):
    (tmp_path / "b.csv").write_text(text)
    with pytest.raises(UserError, match="b.csv holds no results"):
        merge(tmp_path / "a.csv", tmp_path / "b.csv")
    assert not (tmp_path / "a.csv").exists()


def test_a_row_of_speed(tmp_path):
    speed = Speed("hef", 9, 0.34567, 0.4, 0.5, 2900.5, 3000, 0.3, None, None)
    add_rows(tmp_path / "a.csv", [row(1), speed_row(speed, run="r")])
    first, second = read_csv(tmp_path / "a.csv")
    assert [second[name] for name in ("latency_ms", *LATER)] == [
        "0.346",
        "0.400",
        "0.500",
        "2900.500",
        "3000.000",
        "",
    ]
    assert (second["stage"], second["size_bytes"], second["accuracy"], second["split"], second["data"]) == (
        "hef",
        "9",
        "",
        "",
        "",
    )
    assert [first[name] for name in LATER] == [""] * 5
    with pytest.raises(ValueError, match="stage"):
        speed_row(replace(speed, stage="onnx"), run="r")


@pytest.mark.parametrize("absent", [["drop", *LATER], LATER, ["reference", "time_ratio"]])
def test_files_of_older_versions_are_read_and_merged(tmp_path, absent):
    old, rows = [name for name in COLUMNS if name not in absent], [row(seed) for seed in range(5)]
    with open(tmp_path / "old.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, old, extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(map(vars, rows[1:3]))
    add_rows(tmp_path / "new.csv", rows[2:4])
    assert merge(tmp_path / "new.csv", tmp_path / "old.csv") == 1
    assert [r["seed"] for r in read_csv(tmp_path / "new.csv")] == ["2", "3", "1"]
    assert add_rows(tmp_path / "old.csv", [rows[2], rows[4]]) == 1
    assert [r["seed"] for r in read_csv(tmp_path / "old.csv")] == ["1", "2", "4"] and list(
        read_csv(tmp_path / "old.csv")[0]
    ) == COLUMNS


def test_foreign_file_is_refused(tmp_path):
    with open(tmp_path / "x.csv", "w") as file:
        csv.writer(file).writerows([["what", "ever"], [1, 2]])
    with pytest.raises(UserError, match="no results file"):
        merge(tmp_path / "a.csv", tmp_path / "x.csv")
    with open(tmp_path / "newer.csv", "w") as file:
        csv.writer(file).writerows([[*COLUMNS, "colour"], [1] * (len(COLUMNS) + 1)])
    with pytest.raises(UserError, match="no results file"):
        merge(tmp_path / "a.csv", tmp_path / "newer.csv")
    with pytest.raises(UserError, match="no results at"):
        merge(tmp_path / "a.csv", tmp_path / "y.csv")


def test_a_fault_half_way_leaves_the_old_file(tmp_path):
    path = tmp_path / "f.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="full"), written(path) as beside:
        beside.write_text("half of the new")
        raise OSError("disk full")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
