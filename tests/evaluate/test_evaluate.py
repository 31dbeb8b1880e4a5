import json
import shutil

import numpy as np
import pytest
from conftest import assert_quiet, error_line

from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_csv
from fer_hailo.common.runs import MODEL
from fer_hailo.training.data.dataset import load_dataset
from fer_hailo.training.evaluate.plots import plot_mistakes
from fer_hailo.training.evaluate.score import Scorer, evaluate_model
from fer_hailo.training.models.build import load_model


def test_command_gives_the_runs_own_metrics(command, trained):
    before = json.loads((trained / "metrics_test.json").read_text())
    result = command("evaluate.py", trained, "--json")
    assert result.returncode == 0, result.stderr
    assert_quiet(result)
    assert json.loads(result.stdout) == before  # exactly the metrics object on standard output
    said = command("evaluate.py", trained / MODEL, "--split", "val").stdout
    assert (
        "confusion matrix" in said
        and "macro" in said
        and f"{json.loads((trained / 'metrics_val.json').read_text())['accuracy']:.2%}" in said
    )


def test_other_data_goes_to_a_folder_of_its_own(inside, trained, sample_set, tmp_path):
    before = (trained / "metrics_test.json").read_text()
    shutil.copytree(sample_set / "test", tmp_path / "mine" / "test")
    result = inside("evaluate.py", trained, "--data", tmp_path / "mine")
    assert result.returncode == 0, result.stderr
    (folder,) = trained.parent.glob(f"evaluation_{trained.name}_mine_*")
    assert json.loads((folder / "metrics_test.json").read_text())["count"] == 30
    assert (folder / "report.html").is_file() and (trained / "metrics_test.json").read_text() == before
    assert read_csv(trained.parent / "results.csv")[-1]["data"] == "mine"
    assert "no val images" in error_line(
        inside("evaluate.py", trained, "--data", tmp_path / "mine", "--split", "val")
    )


def test_validation_side_is_the_runs_own(inside, trained, sample_set, tmp_path):
    """With another split `val` would hold images that the model was trained on."""
    for flags, name in ((["--split-seed", "1"], "split_seed"), (["--no-drop-blank"], "drop_blank")):
        assert f"was split with {name}" in error_line(
            inside("evaluate.py", trained, "--split", "val", *flags)
        )
    shutil.copytree(sample_set, tmp_path / "copy")
    (tmp_path / "copy/train/angry/drawn_0000.png").unlink()
    assert (
        "may hold training images"
        in inside("evaluate.py", trained, "--split", "val", "--data", "copy").stderr
    )


def test_damaged_metrics_of_the_other_side_leave_their_section_out(trained, tmp_path):
    from fer_hailo.training.evaluate.outputs import write_report

    run = shutil.copytree(trained, tmp_path / "run")
    (run / "metrics_val.json").write_text("{")
    page = write_report(run, "title", "note").read_text()
    assert "Test: synthetic" in page and "Validation: synthetic" not in page


def test_models_that_are_no_classifiers(trained, small):
    import keras

    data = load_dataset(small, None)
    maps = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(5, 3)])
    for model in (maps, keras.Sequential([keras.layers.Dense(5)])):
        with pytest.raises(UserError, match="not a classifier"):
            evaluate_model(model, data.val, data.names, small.preprocess, data="d", split="val")


def test_bare_model_takes_its_labels_from_beside_it(inside, trained, sample_set, tmp_path):
    shutil.copy(trained / MODEL, tmp_path / "bare.keras")
    # At its own input size
    result = inside("evaluate.py", "bare.keras", "--data", sample_set, "--json")
    assert result.returncode == 0, result.stderr
    assert (
        json.loads(result.stdout)["confusion_matrix"]
        == json.loads((trained / "metrics_test.json").read_text())["confusion_matrix"]
    )
    assert "check input_size" in error_line(
        inside("evaluate.py", "bare.keras", "--data", sample_set, "--input-size", "48")
    )
    (tmp_path / "labels.txt").write_text("angry\ndisgust\n")
    assert "5 classes apart, the labels name 2" in error_line(
        inside("evaluate.py", "bare.keras", "--data", sample_set, "--input-size", "32")
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.keras"], "no model at nothing.keras"),
        ([], "no complete run"),
        (["junk.keras"], "cannot be opened"),
        (["--merge", "x.csv"], "no results at x.csv"),
    ],
)
def test_mistakes(inside, tmp_path, sample_set, arguments, said):
    (tmp_path / "junk.keras").write_bytes(b"junk")
    shutil.copytree(sample_set, tmp_path / "fer2013")
    assert said in error_line(inside("evaluate.py", *arguments))


def test_evaluation_agrees_with_a_plain_loop(trained, small):
    data, model = load_dataset(small, None), load_model(trained / MODEL)
    metrics, probabilities = evaluate_model(
        model, data.val, data.names, small.preprocess, data="d", split="val"
    )
    scorer = Scorer(model, small.preprocess)
    singles = np.concatenate([scorer.logits(data.val.images[i : i + 1]) for i in range(len(data.val))])
    assert (singles.argmax(1) == probabilities.argmax(1)).all()
    assert metrics.accuracy == (singles.argmax(1) == data.val.labels).mean()
    assert metrics.sha256 == data.val.sha256()


def test_model_that_gives_nan_is_refused(trained, small):
    data, model = load_dataset(small, None), load_model(trained / MODEL)
    model.get_layer("logits").bias.assign(np.full(5, np.nan))
    with pytest.raises(UserError, match="not finite"):
        evaluate_model(model, data.val, data.names, small.preprocess, data="d", split="val")


def test_mistakes_picture_without_mistakes(tmp_path):
    plot_mistakes(
        tmp_path / "m.png", np.zeros((2, 48, 48), np.uint8), np.array([0, 1]), np.eye(2), ["a", "b"], "d"
    )
    assert (tmp_path / "m.png").stat().st_size > 500
