"""The tool that makes a released model, README's table, and the models that lie in this repository."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from fer_hailo.common.config import load_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_csv
from fer_hailo.common.preprocess import prepare
from fer_hailo.common.results import Row, read_rows
from fer_hailo.deploy.bundle import load_bundle
from fer_hailo.deploy.home import Use, resolve
from fer_hailo.predict.predictor import load
from fer_hailo.training.convert.conversion import convert
from fer_hailo.training.convert.flatbuffer import object_of
from fer_hailo.training.data.dataset import load_dataset
from fer_hailo.training.evaluate.evaluation import evaluate_file
from tools import plot_pareto, release, results_table

RELEASED = [ROOT / "fer2013_keras_hailo" / name for name in ("released", "released_minimalistic")]


def check_sums(folder: Path) -> set[str]:
    """Compare SHA256SUMS with the files. Returns their names."""
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    named = dict(reversed(line.split("  ")) for line in lines)
    for name, digest in named.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name
    return set(named)


@pytest.fixture(scope="module")
def released(trained, converted, tmp_path_factory):
    return release.release(trained, tmp_path_factory.mktemp("out") / "released")


def test_a_release_is_whole_and_found(released, converted):
    names = check_sums(released)
    assert names | {"SHA256SUMS"} == {path.name for path in released.iterdir()}
    assert names >= {"best_model_float32.keras", "model_float32.tflite", "model_int8.tflite", "labels.txt",
        "metrics.json", "config.yaml",
                     "manifest.json", "MODEL_CARD.md", "reliability_test.png"}  # fmt: skip
    pictures = load_bundle(converted).evaluation()
    original = resolve(converted / "model_float32.tflite")
    with load(resolve(released)) as predictor, load(original) as other:
        assert predictor.path.name == "model_float32.tflite"
        assert (predictor.labels, predictor.spec, predictor.confidence) == (
            other.labels,
            other.spec,
            other.confidence,
        )
        np.testing.assert_array_equal(
            predictor.predict(pictures.images[:5]), other.predict(pictures.images[:5])
        )


def test_its_numbers_by_another_way(released, converted):
    metrics = json.loads((released / "metrics.json").read_text())
    pictures = load_bundle(converted).evaluation()
    with load(resolve(converted / "model_int8.tflite")) as predictor:
        answers = np.concatenate([predictor.logits(image[None]) for image in pictures.images]).argmax(axis=1)
    right, before = answers == pictures.labels, pictures.logits.argmax(axis=1) == pictures.labels
    assert metrics["int8_less_float"]["difference"] == pytest.approx(right.mean() - before.mean())
    low, high = metrics["int8_less_float"]["interval"]
    assert low < metrics["int8_less_float"]["difference"] < high and metrics["int8_less_float"][
        "count"
    ] == len(right)
    with load(resolve(converted / "model_float32.tflite")) as predictor:
        test = pictures.split == "test"
        shares = predictor.predict(pictures.images[test])
    sure = shares.max(axis=1) >= predictor.confidence.unsure_below
    assert metrics["sure"]["sure"] == pytest.approx(sure.mean())
    if sure.any():
        assert metrics["sure"]["right"] == pytest.approx(
            (shares.argmax(axis=1) == pictures.labels[test])[sure].mean()
        )


def test_the_card_tells_them(released):
    card, metrics = (
        (released / "MODEL_CARD.md").read_text(),
        json.loads((released / "metrics.json").read_text()),
    )
    assert (
        f"{metrics['keras']['test']['accuracy']:.2%}" in card
        and f"{metrics['sure']['ece_after']:.1%}" in card
    )
    row = metrics["keras"]["test"]["confusion_matrix"][2]
    assert f"| **happy** | {' | '.join(map(str, row))} |" in card
    assert "{" not in card


def test_a_release_takes_the_place_of_an_older_one_and_of_nothing_else(released, trained, tmp_path):
    out = Path(shutil.copytree(released, tmp_path / "out"))
    (out / "labels.txt").write_text("older")
    release.release(trained, out)
    assert check_sums(out) and [path.name for path in tmp_path.iterdir()] == ["out"]
    (out / "model.hef").write_text("compiled")
    with pytest.raises(UserError, match="holds model.hef, which is no part of a release"):
        release.release(trained, out)
    with pytest.raises(UserError, match="no part of a release"):
        release.release(trained, trained)
    assert (out / "model.hef").is_file()


def test_an_evaluation_leaves_a_release_as_it_is(released, trained, tmp_path):
    copy = Path(shutil.copytree(released, tmp_path / "released"))
    data = {"data": load_config(trained / "config.yaml").data.source}
    metrics, folder = evaluate_file(resolve(copy, Use.SCORE, data), "val", None)
    assert metrics.accuracy == json.loads((copy / "metrics.json").read_text())["keras"]["val"]["accuracy"]
    name = json.loads((copy / "manifest.json").read_text())["name"]  # its rows stand with those of its run
    assert read_csv(tmp_path / "results.csv")[-1]["run"] == name and folder.name.startswith(
        f"evaluation_{name}_"
    )
    assert folder.parent == tmp_path and {path.name for path in copy.iterdir()} == {
        path.name for path in released.iterdir()
    }
    assert check_sums(copy)


def test_a_released_model_is_released_again(released, converted, sample_set, tmp_path, monkeypatch):
    """As a later version converts it: a copy is converted, then released, under the name of the run that it
    came from.
    """
    monkeypatch.chdir(tmp_path)
    copy = shutil.copytree(released, tmp_path / "copy")
    convert(str(copy), {"data": str(sample_set)}, None, None, None)
    again = release.release(copy, tmp_path / "released")
    check_sums(again)
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (released, again)]
    assert (
        manifests[0]["name"] == manifests[1]["name"]
        and manifests[0]["confidence"] == manifests[1]["confidence"]
    )
    assert (again / "model_float32.tflite").read_bytes() == (converted / "model_float32.tflite").read_bytes()


def test_a_run_that_was_not_converted_is_refused(tmp_path):
    with pytest.raises(UserError, match="name a complete run that was converted"):
        release.release(tmp_path)


def test_table_by_hand():
    common = {
        "split": "test",
        "accuracy_low": "0.8",
        "accuracy_high": "0.84",
        "macro_recall": "0.775",
        "parameters": "1000",
        "input_size": "96",
    }
    run = "20261121-101010_mobilenet_v3_small_s42"
    rows = [
        {**common, "run": "other 1.0", "stage": "peer", "date": "3", "accuracy": "0.7", "latency_ms": "1.5"},
        {
            **common,
            "run": run,
            "stage": "tflite-int8",
            "date": "1",
            "accuracy": "0.5",
            "latency_ms": "9",
        },  # an older run of the bench
        {
            **common,
            "run": run,
            "stage": "tflite-int8",
            "date": "3",
            "accuracy": "0.82",
            "latency_ms": "0.444",
        },
        {
            "run": run,
            "stage": "tflite-int8",
            "date": "1",
            "split": "val",
            "accuracy": "0.812",
            "parameters": "",
        },
    ]
    assert results_table.table([Row(**row) for row in rows]).splitlines()[2:] == [
        "| **mobilenet_v3_small, INT8** | 96 px | 1,000 | 81.2 % | 82.0 % [80.0, 84.0] | 77.5 % | 0.44 ms |",
        "| other 1.0 | 96 px | 1,000 |  | 70.0 % [80.0, 84.0] | 77.5 % | 1.50 ms |",
    ]


def test_recalls_by_hand():
    scores = {"accuracy_low": "0.6", "accuracy_high": "0.8", "macro_recall": "0.6", "macro_f1": "0.62"}
    test = {
        "split": "test",
        "parameters": "9",
        "date": "1",
        "per_class_recall": "angry=0.5000 happy=0.7004",
        "accuracy": "0.7",
    }
    held = {
        "split": "val",
        "parameters": "",
        "date": "0",
        "per_class_recall": "happy=1.0000",
        "accuracy": "0.75",
    }  # nobody is angry there
    rows = [Row(**scores, **row, run="own", stage="tflite") for row in (test, held)]
    assert results_table.recalls(rows).splitlines() == [
        "| recall | on | angry | happy | all | macro | macro F1 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| **own, float32** | test | 50.0 % | 70.0 % | 70.0 % [60.0, 80.0] | 60.0 % | 62.0 % |",
        "| **own, float32** | validation |  | 100.0 % | 75.0 % [60.0, 80.0] | 60.0 % | 62.0 % |",
    ]


def test_networks_by_hand(monkeypatch):
    what = (("One", "from scratch, 2 epochs", ("one",)), ("Two", "taught", ("a_s1", "a_s2")))
    monkeypatch.setattr(results_table, "NETWORKS", what)
    common = {
        "stage": "keras",
        "split": "val",
        "accuracy_low": "0.6",
        "accuracy_high": "0.8",
        "macro_recall": "0.6",
        "input_size": "64",
    }
    scores = {"one": ("0.5", "0.7"), "a_s1": ("0.70", "0.71"), "a_s2": ("0.72", "0.71")}
    rows = [
        Row(**common | {"run": run, "split": split, "accuracy": score})
        for run, pair in scores.items()
        for split, score in zip(("val", "test"), pair, strict=True)
    ]
    assert results_table.networks(rows).splitlines()[2:] == [
        "| One | from scratch, 2 epochs | 64 px | 50.0 % [60.0, 80.0] | 70.0 % [60.0, 80.0] | 60.0 % |",
        "| Two | taught, 2 seeds | 64 px | 71.0 % ± 1.4 | 71.0 % ± 0.0 | 60.0 % ± 0.0 |",
    ]
    with pytest.raises(UserError, match="no validation or test row of one"):
        results_table.networks(rows[1:])


@pytest.mark.parametrize("place", results_table.PLACES)
def test_documents_show_what_the_results_say(place):
    text = (ROOT / place).read_text(encoding="utf-8")
    rows = read_rows(ROOT / "docs" / "results.csv")
    assert results_table.with_tables(text, rows, place) == text
    released = {json.loads((folder / "manifest.json").read_text())["name"] for folder in RELEASED}
    assert {run for run, stage in results_table.by_model(rows) if stage != "peer"} == released


@pytest.mark.parametrize("folder", RELEASED, ids=lambda path: path.name)
def test_what_lies_in_the_repository_is_whole(folder):
    assert check_sums(folder) >= {
        "best_model_float32.keras",
        "model_float32.tflite",
        "model_int8.tflite",
        "MODEL_CARD.md",
    }
    for name in ("config.yaml", "environment.json"):
        assert not any(place in (folder / name).read_text() for place in (": /", '"/', "C:\\")), (
            "a path of somebody's machine"
        )
    total = sum(
        path.stat().st_size
        for place in RELEASED
        for path in place.rglob("*")
        if path.name in check_sums(place)
    )
    assert total < 24 * 2**20


@pytest.mark.parametrize("folder", RELEASED, ids=lambda path: path.name)
def test_released_int8_files_compute_nothing_in_float(folder):
    """In TensorFlow's own view of the file: what operators make is int8, constants are int8, int32 or
    int64.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    graph, types = object_of((folder / "model_int8.tflite").read_bytes()).subgraphs[0], schema.TensorType
    made = {index for operator in graph.operators for index in operator.outputs} | set(graph.inputs)
    assert len(made) > 40 and {graph.tensors[index].type for index in made} == {types.INT8}
    assert {tensor.type for tensor in graph.tensors} <= {types.INT8, types.INT32, types.INT64}


@pytest.mark.slow
@pytest.mark.parametrize("folder", RELEASED, ids=lambda path: path.name)
@pytest.mark.parametrize(
    "stage, model", [("tflite", "model_float32.tflite"), ("tflite-int8", "model_int8.tflite")]
)
def test_released_models_score_what_their_card_says(folder, stage, model, shared, tmp_path_factory):
    """On the real validation images, from FER2013's archive on."""
    config = load_config(folder / "config.yaml", {"data": str(shared / "data" / "fer2013.zip")})
    held = load_dataset(config, tmp_path_factory.getbasetemp() / "released_cache").val
    stated = json.loads((folder / "metrics.json").read_text())[stage]["val"]
    assert held.sha256() == stated["sha256"]
    with load(resolve(folder / model)) as predictor:
        answers = np.concatenate(
            [predictor.logits(prepare(image, predictor.spec)[None]) for image in held.images]
        ).argmax(axis=1)
    assert (answers == held.labels).mean() == pytest.approx(stated["accuracy"], abs=1.5 / len(held))


def test_pareto_front_by_hand():
    points = [(1.0, 70.0), (2.0, 60.0), (2.0, 80.0), (0.5, 50.0), (3.0, 80.0)]
    assert plot_pareto.front(points) == [(0.5, 50.0), (1.0, 70.0), (2.0, 80.0)]
