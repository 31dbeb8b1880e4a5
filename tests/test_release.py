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
from tools import plot_pareto, release, results_table, run_tables

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


def test_cards_tell_what_damaged_faces_cost():
    rows = read_csv(ROOT / "docs" / "robustness.csv")
    for name in ("released", "released_minimalistic"):
        folder = ROOT / "fer2013_keras_hailo" / name
        run, card = (
            json.loads((folder / "manifest.json").read_text())["name"],
            (folder / "MODEL_CARD.md").read_text(),
        )
        lost = [
            float(row["loss"])
            for row in rows
            if (row["model"], row["split"]) == (f"{run}, model_int8", "test") and row["corruption"] != "clean"
        ]
        assert len(lost) == 36 and f"| **mean loss** | **{100 * sum(lost) / 36:.1f}** |" in card
        assert release.robustness(run, "../../") in card
    assert release.robustness("another", "").startswith("Not measured")


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
    fer = {"reference": "fer 1", "time_ratio": "1.000", "difference": "0.000000"}
    fer |= {"difference_low": "-0.001", "difference_high": "0.001"}
    less = {"reference": "fer 1", "time_ratio": "1.5004", "difference": "0.016", "difference_low": "-0.0004"}
    less |= {"difference_high": "0.0331"}
    peer = {**common, "stage": "peer", "date": "3", "accuracy": "0.7", "latency_ms": "1.5"}
    ours = {**common, "run": run, "stage": "tflite-int8", "date": "3", "accuracy": "0.82"}
    held = {"run": run, "stage": "tflite-int8", "date": "1", "split": "val", "accuracy": "0.812"}
    rows = [
        {**peer, **fer, "run": "fer 1"},
        {**peer, "run": "not compared"},
        {**ours, "date": "1", "accuracy": "0.5", "latency_ms": "9"},  # an older run of the bench
        {**ours, **less, "latency_ms": "0.444"},
        {**ours, **less, "latency_ms": "0.5", "stage": "tflite"},  # in float: not among peers
        held,
    ]
    assert results_table.table([Row(**row) for row in rows]).splitlines()[2:] == [
        "| **mobilenet_v3_small, INT8** | 96 px | 1,000 | 81.2 % | 82.0 % [80.0, 84.0] | +1.6 [-0.0, +3.3] "
        "| 77.5 % | 0.44 ms | 1.50 |",
        "| fer 1 | 96 px | 1,000 |  | 70.0 % [80.0, 84.0] |  | 77.5 % | 1.50 ms | 1.00 |",
        "| not compared | 96 px | 1,000 |  | 70.0 % [80.0, 84.0] |  | 77.5 % | 1.50 ms |  |",
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
    rows = [Row(**scores, **row, run="own", stage="tflite-int8") for row in (test, held)]
    assert results_table.recalls(rows).splitlines() == [
        "| recall | on | angry | happy | all | macro | macro F1 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| **own, INT8** | test | 50.0 % | 70.0 % | 70.0 % [60.0, 80.0] | 60.0 % | 62.0 % |",
        "| **own, INT8** | validation |  | 100.0 % | 75.0 % [60.0, 80.0] | 60.0 % | 62.0 % |",
    ]


def test_networks_by_hand(monkeypatch):
    what = (("One", "from scratch, 2 epochs", ("one",)), ("Two", "taught", ("a_s1", "a_s2")))
    monkeypatch.setattr(run_tables, "NETWORKS", what)
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
    assert run_tables.networks(rows).splitlines()[2:] == [
        "| One | from scratch, 2 epochs | 64 px | 50.0 % [60.0, 80.0] | 70.0 % [60.0, 80.0] | 60.0 % |",
        "| Two | taught, 2 seeds | 64 px | 71.0 % ± 1.4 | 71.0 % ± 0.0 | 60.0 % ± 0.0 |",
    ]
    with pytest.raises(UserError, match="no val row of one"):
        run_tables.networks(rows[1:])


DOCUMENTS = results_table.documents()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_documents_show_what_the_results_say(path):
    text, rows = path.read_text(encoding="utf-8"), read_rows(ROOT / "docs" / "results.csv")
    assert results_table.with_tables(text, rows, path.name) == text


def test_every_table_has_a_place_and_the_newest_run_is_of_the_released_models():
    texts = "".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    assert set(results_table.PLACE.findall(texts)) == results_table.TABLES.keys()
    released = {json.loads((folder / "manifest.json").read_text())["name"] for folder in RELEASED}
    models = results_table.by_model(read_rows(ROOT / "docs" / "results.csv"))
    assert {key for key in models if key[1] != "peer"} == {(name, "tflite-int8") for name in released}


def test_places_of_tables(monkeypatch):
    monkeypatch.setattr(results_table, "TABLES", {"one": lambda rows: f"| {len(rows)} |\n"})
    begin, end = "<!-- one: tools/results_table.py -->\n", "<!-- end of one -->\n"
    text = results_table.with_tables(f"before\n{begin}| old |\n{end}after\n", [1, 2], "a.md")
    assert text == f"before\n{begin}| 2 |\n{end}after\n"
    with pytest.raises(UserError, match="a.md has a place for two: known are one"):
        results_table.with_tables(begin.replace("one", "two"), [], "a.md")
    with pytest.raises(UserError, match="place for one in a.md has no end"):
        results_table.with_tables(begin, [], "a.md")


def _runs(scores):
    """Rows of Keras models: {run: (validation, test)}."""
    return [
        Row(run=run, stage="keras", split=split, accuracy=str(score), macro_recall="0.5")
        for run, pair in scores.items()
        for split, score in zip(("val", "test"), pair, strict=True)
    ]


def test_tables_of_single_runs_by_hand(monkeypatch):
    rows = _runs({"size_128": (0.82, 0.81), "size_64": (0.65, 0.67), "a_s1": (0.701, 0.7)})
    assert run_tables.sizes(rows).splitlines() == [
        "|  | 64 px | 128 px |",
        "| --- | --- | --- |",
        "| validation | 65.0 % | 82.0 % |",
        "| test | 67.0 % | 81.0 % |",
    ]
    run = "20261121-101010_a_s1"
    monkeypatch.setattr(run_tables, "RECIPES", (("A", "what", "1 min", run), ("B", "", "", "not measured")))
    assert run_tables.recipes(_runs({run: (0.7, 0.6)})).splitlines()[2:] == [
        "| A | what | 1 min | 70.0 % | 60.0 % |",
        "| B |  |  | not measured |  |",
    ]
    with pytest.raises(UserError, match=f"no val row of {run}, keras"):
        run_tables.recipes(rows)
    monkeypatch.setattr(
        run_tables, "FINISHED", (("A", "how", "1 min", "a_s1"), ("B", "", "", (0.9, 0.8, 0.7)))
    )
    assert run_tables.finished(rows).splitlines()[2:] == [
        "| A | how | 1 min | 70.10 % | 50.0 % | 70.00 % |",
        "| B |  |  | 90.00 % | 80.0 % | 70.00 % |",
    ]


def test_paired_runs_by_hand(monkeypatch):
    rows = _runs({"a_s1": (0.70, 0.6), "a_s2": (0.72, 0.6), "b_s1": (0.71, 0.5), "b_s2": (0.75, 0.7)})
    # Gains of 1 and 3 points: mean 2, deviation sqrt 2, Student's 12.706 times that over sqrt 2
    assert run_tables.paired(("a", "b"), (1, 2), rows).splitlines()[2:] == [
        "| a | 2 | 71.00 % ± 1.41 | 50.00 % ± 0.00 | 60.00 % ± 0.00 |  |",
        "| b | 2 | 73.00 % ± 2.83 | 50.00 % ± 0.00 | 60.00 % ± 14.14 | +2.00 [-10.71, +14.71] |",
    ]
    monkeypatch.setattr(run_tables, "BEST", "a_s1")
    lines = (("A", ("a_s1", "keras"), "0.1"), ("B", ("80.00 / 70.00", "81.00 / 71.00"), ""))
    monkeypatch.setattr(run_tables, "QUANTISED", lines)
    assert run_tables.quantised(rows).splitlines()[2:] == [
        "| A | 70.00 / 50.00 | 60.00 / 50.00 | 0.1 |",
        "| B | 80.00 / 70.00 | 81.00 / 71.00 |  |",
    ]
    what = (("B", "9 %", ("b_s1", "b_s2"), ("a_s1", "a_s2"), "how"), ("C", "8 %", (), (), "too large"))
    monkeypatch.setattr(run_tables, "PUBLISHED", what)
    assert run_tables.published(rows).splitlines()[2:] == [
        "| B | 9 % | 73.0 %, +2.0 points | 60.0 % | how |",
        "| C | 8 % |  |  | too large |",
    ]


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
