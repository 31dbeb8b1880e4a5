"""Records are written as they were before they were dataclasses, and come back from what is on disk."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from fer_hailo.common.errors import UserError
from fer_hailo.common.files import to_json, write_json
from fer_hailo.common.metrics import (
    Bin,
    Metrics,
    compute_metrics,
    read_metrics,
    reliability,
    scores_from_dict,
    scores_to_dict,
)
from fer_hailo.deploy.bundle import load_bundle
from fer_hailo.deploy.manifest import Manifest
from fer_hailo.deploy.steps import Finding, Inputs, Step, StepScores, read_steps, write_steps

SAVED = ROOT / "tests" / "saved" / "run"
RELEASED = sorted((ROOT / "fer2013_keras_hailo").glob("released*"))


def text(value, folder: Path) -> str:
    """As the project writes JSON."""
    write_json(folder / "written.json", value)
    return (folder / "written.json").read_text()


def some_metrics() -> Metrics:
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    return compute_metrics(
        probabilities, np.array([0, 1, 1]), ["a", "b", "c"], data="d", split="val", sha256="0"
    )


@pytest.mark.parametrize("path", [SAVED / "metrics_val.json", SAVED / "metrics_test.json"])
def test_metrics_of_a_run_of_before_come_back_byte_for_byte(path, tmp_path):
    metrics = read_metrics(path)
    assert text(metrics.to_dict(), tmp_path) == path.read_text()
    hits = sum(row[i] for i, row in enumerate(metrics.confusion_matrix))
    assert metrics.accuracy == hits / metrics.count and metrics.labels[0] == "angry"


@pytest.mark.parametrize("folder", RELEASED, ids=lambda folder: folder.name)
def test_scores_of_the_released_models_come_back_byte_for_byte(folder, tmp_path):
    whole = json.loads((folder / "metrics.json").read_text())
    scores = scores_from_dict({stage: whole[stage] for stage in ("keras", "tflite", "tflite-int8")})
    assert text(whole | scores_to_dict(scores), tmp_path) == (folder / "metrics.json").read_text()
    assert scores["tflite-int8"]["test"].accuracy > 0.8


def test_metrics_and_bins_come_back():
    metrics = some_metrics()
    assert metrics.per_class_recall == {"a": 1.0, "b": 0.5, "c": None}
    assert Metrics.from_dict(json.loads(json.dumps(metrics.to_dict()))) == metrics
    assert Metrics.from_dict(metrics.to_dict() | {"of a later version": 1}) == metrics
    bins = reliability(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0]))
    assert [Bin.from_dict(json.loads(json.dumps(b.to_dict()))) for b in bins] == bins
    assert list(bins[0].to_dict()) == ["low", "high", "count", "confidence", "accuracy"]


def test_what_holds_no_metrics_is_one_line(tmp_path):
    path, right = tmp_path / "metrics_val.json", some_metrics().to_dict()
    lacking = {name: value for name, value in right.items() if name != "ece"}
    for content in ("{", "[]", "3", json.dumps(lacking), json.dumps(right | {"accuracy": "high"})):
        path.write_text(content)
        with pytest.raises(
            UserError, match=r"metrics_val.json holds no metrics \(\w+: .*\): .* writes them again$"
        ):
            read_metrics(path)


def test_the_manifest_of_a_bundle_of_before_comes_back_byte_for_byte(tmp_path):
    path = SAVED / "deploy" / "manifest.json"
    manifest, content = load_bundle(SAVED / "deploy").manifest, json.loads(path.read_text())
    assert text(manifest.to_dict() | {"sha256": content["sha256"]}, tmp_path) == path.read_text()
    assert Manifest.from_dict(manifest.to_dict()) == manifest
    assert manifest.selected_by == "" and sum(manifest.calibration.per_class) == manifest.calibration.count
    assert manifest.network.parameters == sum(layer.parameters for layer in manifest.network.layers)


def test_the_record_of_steps_comes_back(tmp_path):
    scores = StepScores(
        None,
        "2026-01-01T00:00:00",
        {"har-int8": {"val": some_metrics()}},
        {"har-int8": 1.0},
        {"conv": 9.5},
        "ab",
    )
    finding = Finding("the SDK found no GPU", "[info] no GPU found", 2, None)
    steps = {
        "parse": Step(Inputs("00", "hailo8"), "01", 1.5, (), "3.33.0", notes=("stopped",), layers=4),
        "optimize": Step(
            Inputs("00", "hailo8", "02"), "03", 2.0, (finding,), "3.33.0", scores, script="a = b()"
        ),
        "compile": Step(Inputs("00", "hailo8", "02"), "04", 0.1, (), "3.33.0", hef={"size": 8}),
    }
    write_steps(tmp_path / "steps.json", steps)
    assert read_steps(tmp_path / "steps.json") == steps
    content = json.loads((tmp_path / "steps.json").read_text())
    assert list(content["parse"]) == [
        "inputs",
        "sha256",
        "seconds",
        "log",
        "sdk_version",
        "scores",
        "notes",
        "layers",
    ]
    assert content["parse"]["scores"] == {} and content["parse"]["inputs"] == {
        "bundle": "00",
        "hw_arch": "hailo8",
    }
    assert list(content["optimize"]["scores"]) == [
        "quick",
        "date",
        "metrics",
        "agreement",
        "noise",
        "answers",
    ]


@pytest.mark.parametrize(
    "damage", [lambda step: step.pop("sdk_version"), lambda step: step.update(scores={"metrics": 1})]
)
def test_a_step_that_cannot_be_read_is_left_out(tmp_path, damage):
    step = Step(Inputs("00", "hailo8"), "01", 1.5, (), "3.33.0")
    write_steps(tmp_path / "steps.json", {"parse": step, "optimize": step})
    content = json.loads((tmp_path / "steps.json").read_text())
    damage(content["optimize"])
    (tmp_path / "steps.json").write_text(json.dumps(content))
    assert read_steps(tmp_path / "steps.json") == {"parse": step}
    (tmp_path / "steps.json").write_text("[1]")
    assert read_steps(tmp_path / "steps.json") == {}


def test_json_of_numbers_that_it_does_not_have():
    """RFC 8259: "Numeric values that cannot be represented in the grammar (such as Infinity and NaN) are not
    permitted"; JavaScript's JSON.stringify gives null for them.
    """
    nan = float("nan")
    assert to_json({"a": [1.5, nan], "b": ({"c": -float("inf")}, np.float64(nan), True, 2, None, "x")}) == (
        '{"a": [1.5, null], "b": [{"c": null}, null, true, 2, null, "x"]}'
    )
    assert to_json({"b": 1, "a": 0.1}, sort_keys=True) == '{"a": 0.1, "b": 1}'


def test_nothing_else_makes_json():
    """The state of an interrupted training is no JSON file, and keeps the NaN that it had."""
    makes = {
        path.relative_to(ROOT / "fer_hailo").as_posix()
        for path in (ROOT / "fer_hailo").rglob("*.py")
        if "json.dump" in path.read_text(encoding="utf-8") and not path.name.startswith("test_")
    }
    assert makes == {"common/files.py", "training/fit/state.py"}
