"""Grids of runs: planned, launched, resumed, summed up."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from conftest import PATHS, ROOT, SMALL
from scipy import stats

from fer_hailo.commands import experiments
from fer_hailo.common.config import load_config, save_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_csv, write_json
from fer_hailo.common.metrics import compute_metrics
from fer_hailo.common.resources import recipes
from fer_hailo.common.steps import load_steps
from fer_hailo.training.experiments import launch
from fer_hailo.training.experiments.plan import read_grid
from fer_hailo.training.experiments.summary import mean_and_deviation, paired_difference, write_summary

QUICK = {key: value for key, value in SMALL.items() if key != "stage2_warmup_epochs"} | {
    "stage1_epochs": 1,
    "stage2_epochs": 0,
    "ema": 0,
}


def write(path, text):
    path.write_text(text)
    return path


@pytest.fixture
def quick(tmp_path, sample_set, monkeypatch):
    """A file of cells that take seconds, and the commands as they are, but for a network that train.py does
    not know.
    """
    monkeypatch.setattr(launch, "TRAIN", tiny.TRAIN)
    monkeypatch.setenv("PYTHONPATH", PATHS["PYTHONPATH"])
    monkeypatch.chdir(tmp_path)
    common = json.dumps(QUICK | {"data": str(sample_set), "tensorboard": False})

    def make(rest):
        return write(tmp_path / "quick.yaml", f"common: {common}\n{rest}")

    return make


def test_cells_times_grid_times_seeds(tmp_path):
    text = (
        "cells: {alone: {}, taught: {temperature: 3}}\ngrid: {stage2_lr: [0.001, 0.0001], head_units: "
        "[[16], [32]]}\nseeds: [1, 2, 3]\n"
    )
    text += "common: {head_dropout: [0.1, 0.2], ema: 0.5}\n"
    grid = read_grid(write(tmp_path / "a.yaml", text), tmp_path / "out", {"data": "elsewhere"})
    assert (
        len(grid.cells) == 8
        and len(grid.runs) == 24
        and grid.cells[0] == "alone_stage2_lr=0.001_head_units=16"
    )
    last = grid.runs[-1]
    assert (last.cell, last.config.seed, last.config.loss.temperature, last.config.schedule.stage2_lr) == (
        grid.cells[-1],
        3,
        3.0,
        0.0001,
    )
    assert (
        last.config.model.head_units == (32,)
        and last.config.optimiser.ema == 0.5
        and last.config.data.source == "elsewhere"
    )
    assert (
        last.folder.name == "taught_stage2_lr=0.0001_head_units=32_s3"
        and last.log.name == last.folder.name + ".log"
    )
    assert len({run.config.data.split_seed for run in grid.runs}) == 1  # one validation side for all


def test_a_networks_recipe_applies(tmp_path):
    grid = read_grid(write(tmp_path / "a.yaml", "grid: {arch: [mobilenet_v3_small, resnet18]}"), tmp_path, {})
    assert [run.config.model.weights for run in grid.runs] == ["imagenet", "none"] and grid.runs[
        1
    ].config.optimiser.name == "sgd"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cell: {}", "unknown key 'cell'"),
        ("seeds: [1, 1]", "different whole numbers"),
        ("seeds: 3", "different whole numbers"),
        ("grid: {ema: 0.5}", "ema must have a list"),
        ("cells: {a: 3}", "the cell a .* 'key: value'"),
        ("cells: {a/b: {}}", "letters, digits"),
        ("cells: {a: {emma: 1}}", "did you mean ema"),
        ("[1]", "must hold 'key: value' lines"),
        ("base: 3", "must name a recipe"),
        ("grid: {seed: [1, 2]}", "belongs under seeds"),
        ("cells: {a: {seed: 5}}", "belongs under seeds"),
        ("grid: {stage2_lr: [0.001, 0.0010]}", "two cells .* are called stage2_lr=0.001"),
        ("a: [", "is not YAML"),
    ],
)
def test_files_that_are_no_experiment(tmp_path, text, said):
    with pytest.raises(UserError, match=said):
        read_grid(write(tmp_path / "a.yaml", text), tmp_path, {})


def test_runs_of_another_configuration_are_not_mixed_in(tmp_path):
    file = write(tmp_path / "a.yaml", "common: {ema: 0.5}")
    (run,) = read_grid(file, tmp_path, {}).runs
    save_config(run.config.change(ema=0.6, data="moved"), run.folder / "config.yaml")
    with pytest.raises(UserError, match="was trained with ema 0.6, the file now says 0.5"):
        read_grid(file, tmp_path, {})


def test_one_failure_does_not_stop_the_rest_and_the_same_command_goes_on(quick, tmp_path, capsys):
    file = quick("cells: {bad: {weights: nowhere.keras}, good: {}}\nseeds: [1]\n")
    assert experiments.main([str(file), "--out", "out", "--jobs", "2"]) == 1
    said = capsys.readouterr()
    assert (
        "bad_s1 failed: error: no model at nowhere.keras" in said.err
        and "| good | 1 |" in said.out
        and "| bad | 0 |" in said.out
    )
    stated = json.loads((tmp_path / "out/good_s1/metrics_val.json").read_text())["accuracy"]
    rows = {row["cell"]: row for row in read_csv(tmp_path / "out/summary.csv")}
    assert float(rows["good"]["validation mean"]) == stated and rows["bad"]["validation mean"] == ""
    assert (tmp_path / "out/summary.png").stat().st_size > 1000
    kept = (tmp_path / "out/good_s1/DONE").stat().st_mtime_ns
    # Once more the one that failed, and that one only
    assert experiments.main([str(file), "--out", "out"]) == 1
    assert (
        "2 runs, 1 of them done" in capsys.readouterr().err
        and (tmp_path / "out/good_s1/DONE").stat().st_mtime_ns == kept
    )
    (tmp_path / "out/good_s1/DONE").unlink()  # as if it had been cut at its very end
    grid = read_grid(file, Path("out"), {})
    assert launch._order(grid.runs[1])[0][-4:] == [
        "--resume",
        "out/good_s1",
        "--data",
        grid.runs[1].config.data.source,
    ]


@pytest.mark.slow  # a cluster takes half a minute to start and stop
def test_on_a_local_ray_cluster(quick, tmp_path, monkeypatch, capsys):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    file = str(quick("cells: {bad: {weights: nowhere.keras}, good: {}}\nseeds: [5]"))
    assert experiments.main([file, "--out", "out", "--launcher", "ray"]) == 1
    assert "bad_s5 failed: error: no model at nowhere.keras" in capsys.readouterr().err
    assert (tmp_path / "out/good_s5/DONE").exists() and "done: " in (tmp_path / "out/good_s5.log").read_text()
    with pytest.raises(UserError, match="no machine of the cluster has 1 cores and 64 GPUs"):
        experiments.main([file, "--out", "out", "--launcher", "ray", "--gpus", "64"])


def test_runs_on_different_data_are_not_compared(tmp_path):
    grid = read_grid(write(tmp_path / "a.yaml", "seeds: [1, 2]"), tmp_path / "out", {})
    for run, key in zip(grid.runs, ("one", "other"), strict=True):
        write_json(run.folder / "environment.json", {"data": {"key": key}})
        (run.folder / "DONE").touch()
    with pytest.raises(UserError, match="trained on different data"):
        write_summary(grid)


def test_mean_deviation_and_paired_interval_are_scipys():
    ours, theirs = {1: 0.5, 2: 0.62, 3: 0.7, 9: 0.1}, {3: 0.69, 2: 0.6, 1: 0.49}
    mean, low, high = paired_difference(ours, theirs)
    test = stats.ttest_rel([0.5, 0.62, 0.7], [0.49, 0.6, 0.69])
    assert mean == pytest.approx(0.04 / 3) and (low, high) == pytest.approx(
        tuple(test.confidence_interval(0.95))
    )
    assert mean_and_deviation([0.5, 0.7]) == pytest.approx((0.6, 0.02**0.5)) and mean_and_deviation(
        [0.5]
    ) == (0.5, None)
    assert (
        paired_difference({1: 0.5}, {1: 0.4}) == (pytest.approx(0.1), None, None)
        and paired_difference({}, {1: 1.0})[0] is None
    )


def test_the_table_by_hand(tmp_path):
    grid = read_grid(
        write(tmp_path / "a.yaml", "cells: {one: {}, two: {ema: 0.5}}\nseeds: [1, 2]"), tmp_path / "out", {}
    )
    two = np.eye(2)
    kept = compute_metrics(two, np.arange(2), "ab", data="", split="", sha256="").to_dict()
    for run, accuracy in zip(grid.runs, (0.5, 0.52, 0.53, 0.56), strict=True):
        for split in ("val", "test"):
            values = {"accuracy": accuracy, "macro_recall": accuracy / 2, "data": "drawn", "split": split}
            write_json(run.folder / f"metrics_{split}.json", kept | values)
        (run.folder / "DONE").touch()
    (grid.runs[3].folder / "DONE").unlink()
    assert write_summary(grid).splitlines()[2:] == [
        "| one | 2 | 51.00 % ± 1.41 | 25.50 % ± 0.71 | 51.00 % ± 1.41 |  |",
        "| two | 1 | 53.00 % | 26.50 % | 53.00 % | +3.00 |",
    ]


def test_all_committed_recipes_can_be_read():
    paths = [path for path in (ROOT / "configs").rglob("*.yaml") if path.parent.name != "experiments"]
    paths += recipes().glob("*/recipe.yaml")
    assert len(paths) > 20 and all(load_steps(path) or load_config(path) for path in paths)
    for path in (ROOT / "configs" / "experiments").glob("*.yaml"):
        assert read_grid(path, ROOT / "nowhere", {}).runs
