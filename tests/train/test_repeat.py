"""A run on all of train, which repeats a validated run: from training to the released folder, and what
refuses it.
"""

import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
import tiny
from conftest import error_line
from handmade import compile_hef

from fer_hailo.common.config import Config, load_config, save_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_csv
from fer_hailo.common.runs import CONFIDENCE, CONFIG, DONE, MODEL
from fer_hailo.deploy.bundle import load_bundle
from fer_hailo.deploy.selection import SELECTION, read_selection
from fer_hailo.sdk.chain import rehearse_bundle
from fer_hailo.training.convert import conversion as conversion
from fer_hailo.training.data.dataset import load_dataset
from fer_hailo.training.fit import callbacks, loop
from fer_hailo.training.fit.lineage import check_lineage
from fer_hailo.training.fit.repeat import best_lengths, repeated, select
from fer_hailo.training.start import resume
from tools import release

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def whole(trained, tmp_path_factory):
    """A complete run on all of train that repeats `trained`. Do not change it."""
    config = repeated(None, {"selected_by": str(trained)})
    return loop.start(config, tmp_path_factory.mktemp("whole") / "20260101-000000_tiny_s42")


@pytest.fixture(scope="module")
def bundle(whole, converted, tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        return conversion.convert(str(whole), {}, None, None, None)


def test_lengths_of_the_best_model_by_hand():
    first = [(1, 1, 0.4), (1, 2, 0.6), (1, 3, 0.6)]
    # Of equals the first was saved
    assert best_lengths([*first, (2, 1, 0.5), (2, 2, 0.7), (2, 3, 0.7)]) == (2, 2)
    assert best_lengths([*first, (2, 1, 0.6)]) == (2, 0)  # stage 2 never gave a better one
    assert best_lengths([(2, 1, 0.2), (2, 2, 0.3)]) == (0, 2)  # no stage of the head alone


def test_all_of_train_is_learnt_and_nothing_else(trained, small):
    config = repeated(None, {"selected_by": str(trained)})
    before, data = load_dataset(small, None), load_dataset(config, None)
    assert sorted(data.train.ids) == sorted([*before.train.ids, *before.val.ids]) and len(data.val) == 0
    assert list(data.test.ids) == list(before.test.ids) and data.key == before.key
    assert config.change(validation_fraction=small.data.validation_fraction, selected_by="") == small


def test_all_of_a_plain_folder_but_the_same_test(sample_set):
    plain = Config.of(data=str(sample_set / "train"), resplit=True)
    before, data = (
        load_dataset(plain, None),
        load_dataset(plain.change(validation_fraction=0, selected_by="x"), None),
    )
    assert (len(data.train), len(data.val)) == (90, 0) and list(data.test.ids) == list(before.test.ids)
    assert sorted(data.train.ids) == sorted([*before.train.ids, *before.val.ids])


def test_the_run_has_no_validation_of_its_own_and_shows_the_other(whole, trained):
    history = read_csv(whole / "history.csv")
    first, second = best_lengths(
        [
            (int(r["stage"]), int(r["epoch"]), float(r["val_accuracy"]))
            for r in read_csv(trained / "history.csv")
        ]
    )
    assert [row["stage"] for row in history] == ["1"] * first + ["2"] * second
    assert all(
        row["val_accuracy"] == row["val_loss"] == row["val_macro_recall"] == "" and row["learning_rate"]
        for row in history
    )
    assert (
        (whole / DONE).exists()
        and not (whole / "metrics_val.json").exists()
        and (whole / "metrics_test.json").exists()
    )
    assert json.loads((whole / CONFIDENCE).read_text()) == json.loads((trained / CONFIDENCE).read_text())
    assert f"Validation of {trained.name}, whose settings" in (whole / "report.html").read_text()
    rows = [row for row in read_csv(whole.parent / "results.csv") if row["run"] == whole.name]
    assert [(row["split"], row["selected_by"]) for row in rows] == [("test", trained.name)]
    kept = read_selection(whole)
    assert (
        kept.metrics["keras"].to_dict() == json.loads((trained / "metrics_val.json").read_text())
        and kept.validation_fraction == 0.2
    )


def test_a_resumed_run_equals_the_whole_one(whole, trained, tmp_path, monkeypatch):
    def cut(self, epoch, logs=None):
        raise KeyboardInterrupt

    config = load_config(whole / CONFIG)
    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Tell, "on_epoch_end", cut)
        with pytest.raises(KeyboardInterrupt):
            loop.start(config, tmp_path / "run")
    resume(tmp_path / "run", {})
    weights, others = (
        keras.models.load_model(run / MODEL).get_weights() for run in (whole, tmp_path / "run")
    )
    assert all((a == b).all() for a, b in zip(weights, others, strict=True))
    assert (tmp_path / "run" / DONE).exists()


def test_weights_that_are_no_numbers_never_replace_a_model(whole, tmp_path):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    keep = callbacks.KeepLast(tmp_path / "m.keras", network, loop.Progress("key"))
    keep.on_epoch_end(0)
    before = (tmp_path / "m.keras").read_bytes()
    network.layers[0].bias.assign([np.nan])
    with pytest.raises(UserError, match="no numbers any more"):
        keep.on_epoch_end(1)
    assert (tmp_path / "m.keras").read_bytes() == before


def test_another_setting_is_refused_and_what_is_free_is_not(trained, sample_set):
    with pytest.raises(
        UserError, match="trained with stage2_epochs 2, not 7: a run that it selects repeats its settings"
    ):
        repeated(None, {"selected_by": str(trained), "stage2_epochs": "7"})
    with pytest.raises(UserError, match="trained with arch tiny, not mobilenet_v3_small"):
        repeated(None, {"selected_by": str(trained), "arch": "mobilenet_v3_small"})
    config = repeated(
        None,
        {"selected_by": str(trained), "seed": "7", "stage2_epochs": "2", "data": str(sample_set / "train")}
        | {"targets": "labels.npz"},
    )
    assert config.loss.targets == "labels.npz"
    assert (config.seed, config.schedule.stage2_epochs, config.data.validation_fraction) == (7, 2, 0)
    assert repeated(None, {"seed": "7"}) is None


def test_a_run_that_cannot_select(whole, trained, small, tmp_path, inside):
    unfinished = shutil.copytree(
        trained, tmp_path / "unfinished", ignore=shutil.ignore_patterns(DONE, "deploy")
    )
    assert "no complete run: train it to its end" in error_line(
        inside("train.py", "--selected-by", unfinished)
    )
    assert "no complete run" in error_line(inside("train.py", "--selected-by", tmp_path / "none"))
    assert f"was trained on all of train itself, by the settings of {trained}" in error_line(
        inside("train.py", "--selected-by", whole)
    )
    rounded = shutil.copytree(trained, tmp_path / "rounded", ignore=shutil.ignore_patterns("deploy"))
    save_config(small.change(quantise="RUN"), rounded / CONFIG)
    assert "fine-tuned for 8 bits: repeat RUN on all of train" in error_line(
        inside("train.py", "--selected-by", rounded)
    )
    lost = shutil.copytree(trained, tmp_path / "lost", ignore=shutil.ignore_patterns("history.csv", "deploy"))
    assert "does not tell how its model was chosen" in error_line(
        inside("train.py", "--selected-by", lost, "--out", "out")
    )
    other = shutil.copytree(small.data.source, tmp_path / "other")
    (other / "train" / "angry" / "drawn_0000.png").unlink()
    said = inside("train.py", "--selected-by", trained, "--data", other, "--out", "out")
    assert "was trained on other data than" in error_line(said) and not (tmp_path / "out").exists()
    config = repeated(None, {"selected_by": str(trained)})
    with pytest.raises(UserError, match="other data"):
        select(config, replace(load_dataset(config, None), key="another"))


def test_the_two_fields_go_together():
    with pytest.raises(
        UserError, match="leaves nothing to choose the model by: name a validated run with --selected-by"
    ):
        Config.of(validation_fraction=0)
    with pytest.raises(UserError, match=r"validation_fraction 0.2 does not go with selected_by RUN"):
        Config.of(selected_by="RUN")
    with pytest.raises(UserError, match="0.01 or more, got 0.001"):
        Config.of(validation_fraction=0.001)


def test_learning_from_a_run_on_all_of_train(whole, trained, small):
    """It has learnt what a validated run would validate on; a run on all of train may learn from either."""
    everything = load_config(whole / CONFIG)
    for learnt in ({"weights": str(whole / MODEL)}, {"teacher": (str(whole),)}):
        with pytest.raises(
            UserError, match=r"split with validation_fraction 0.0, not 0.2: it has learnt images"
        ):
            check_lineage(small.change(**learnt), load_dataset(small, None))
        check_lineage(everything.change(**learnt), load_dataset(everything, None))
    for learnt in ({"weights": str(trained / MODEL)}, {"teacher": (str(trained),)}):
        check_lineage(everything.change(**learnt), load_dataset(everything, None))
    cleaned = everything.change(drop_test_copies=False, weights=str(whole / MODEL))
    with pytest.raises(UserError, match="split with drop_test_copies True, not False"):
        check_lineage(cleaned, load_dataset(cleaned, None))


def test_evaluate_has_no_validation_side(whole, trained, bundle, inside):
    line = error_line(inside("evaluate.py", whole, "--split", "val"))
    assert "has no validation side" in line and f"python evaluate.py {trained} --split val" in line
    line = error_line(inside("evaluate.py", whole / MODEL, "--split", "val", "--validation-fraction", "0.2"))
    assert f"does not go with selected_by {trained}" in line
    line = error_line(inside("evaluate.py", bundle / "model_int8.tflite", "--split", "val"))
    assert f"none of val: it was trained on all of train, and that of {trained.name}" in line
    assert inside("evaluate.py", whole, "--split", "train").returncode == 0
    assert inside("evaluate.py", whole, "--json").returncode == 0
    scored = inside("evaluate.py", bundle / "model_int8.tflite")
    assert scored.returncode == 0 and "test: 30 images" in scored.stdout and "val:" not in scored.stdout
    rows = [row for row in read_csv(whole.parent / "results.csv") if row["run"] == whole.name]
    assert {row["selected_by"] for row in rows} == {trained.name} and {row["split"] for row in rows} == {
        "train",
        "test",
    }


def test_conversion_takes_its_choices_from_the_validated_run(whole, trained, bundle, converted):
    made, other = load_bundle(bundle), load_bundle(converted)
    assert made.manifest.confidence == other.manifest.confidence
    assert (bundle / "model.alls").read_text() == (converted / "model.alls").read_text()
    assert {split for scores in made.manifest.metrics.values() for split in scores} == {"test"}
    held = made.manifest.selection
    assert held.name == trained.name
    assert {stage: held.metrics[stage] for stage in ("keras", "tflite", "tflite-int8")} == {
        stage: scores["val"] for stage, scores in other.manifest.metrics.items()
    }
    assert set(made.evaluation().split) == {"test"}
    assert sum(made.manifest.calibration.per_class) == 100  # all of train, of which the other kept 20
    network = keras.models.load_model(whole / "model_clean.keras")
    assert network.output_shape == (None, 5)


def test_without_a_conversion_of_the_validated_run_there_is_nothing_to_judge_by(
    whole, trained, tmp_path, inside
):
    alone = shutil.copytree(
        trained, tmp_path / "alone", ignore=shutil.ignore_patterns("deploy", "conversion.*")
    )
    run = shutil.copytree(whole, tmp_path / "run", ignore=shutil.ignore_patterns("deploy"))
    (run / CONFIG).write_text((run / CONFIG).read_text().replace(str(trained), str(alone)))
    assert f"run python convert_tflite.py {alone} first" in error_line(inside("convert_tflite.py", run))
    assert not (run / "deploy").exists()


def test_compile_judges_by_the_validated_run(bundle, trained, tmp_path, capsys):
    held = json.loads((bundle / "manifest.json").read_text())["selection"]["metrics"]
    lost = 100 * (held["tflite"]["accuracy"] - held["tflite-int8"]["accuracy"])
    assert rehearse_bundle(bundle, "hailo8", [None], tmp_path / "out", 100, None) == 0
    facts = json.loads((tmp_path / "out" / "compile_report.json").read_text())
    assert (
        facts["verdict"]["lost"] == pytest.approx(lost, abs=1e-4)
        and facts["verdict"]["selected_by"] == trained.name
    )
    assert {split for scores in facts["metrics"].values() for split in scores} == {"test"}
    assert f"by {trained.name}, whose settings this network repeats" in capsys.readouterr().err
    page = (tmp_path / "out" / "compile_report.html").read_text()
    assert f"val of {trained.name}" in page and "TFLite, INT8: test" in page


def test_the_sdk_compiles_it(bundle, trained, tmp_path):
    copy = shutil.copytree(bundle, tmp_path / "deploy")
    result = compile_hef(copy, "--max-drop", 100, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"by {trained.name}, whose settings this network repeats" in result.stderr
    rows = read_csv(tmp_path / "results.csv")
    assert {(row["split"], row["selected_by"]) for row in rows} == {("test", trained.name)}
    alone = tmp_path / "deploy" / "compile_hef.pyz"
    assert alone.is_file()


def test_its_release_says_whose_validation_it_shows(whole, trained, bundle, tmp_path, monkeypatch):
    folder = release.release(whole, tmp_path / "released")
    card = (folder / "MODEL_CARD.md").read_text()
    assert (
        f"| validation of {trained.name} | test |" in card
        and f"those above are of {trained.name}, which kept 20% of train" in card
    )
    held = read_selection(folder)
    low, high = held.metrics["tflite-int8"].accuracy_ci95
    assert f"{held.metrics['tflite-int8'].accuracy:.2%} [{100 * low:.1f}, {100 * high:.1f}]" in card
    assert "val" not in json.loads((folder / "metrics.json").read_text())["keras"]
    own = load_config(folder / CONFIG)
    assert (own.data.validation_fraction, own.data.selected_by) == (0, trained.name)
    # The folder converts by itself, without the validated run at hand.
    monkeypatch.chdir(tmp_path)
    again = conversion.convert(
        str(folder), {"data": load_config(whole / CONFIG).data.source}, None, None, None
    )
    assert load_bundle(again).manifest.selection == load_bundle(bundle).manifest.selection


def test_a_damaged_selection_is_one_line(whole, tmp_path, inside):
    run = shutil.copytree(whole, tmp_path / "run", ignore=shutil.ignore_patterns("deploy", DONE))
    for content in ("{", "null", "[]", '{"name": 1}', "", '{"metrics": {"keras": 5}}'):
        (run / SELECTION).write_text(content)
        assert "does not tell which run chose the settings" in error_line(
            inside("train.py", "--resume", run)
        ), content
    (run / SELECTION).unlink()
    assert f"lacks {SELECTION}" in error_line(inside("train.py", "--resume", run))


assert tiny  # registers the network
