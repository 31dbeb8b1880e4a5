"""python train.py --quantise: the run that it makes, the same run cut short, its conversion and release, and
what it refuses.
"""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from conftest import ROOT, error_line

from fer_hailo.common.config import load_config, save_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_csv
from fer_hailo.common.runs import CONFIG, DONE, MODEL
from fer_hailo.deploy.bundle import load_bundle
from fer_hailo.predict.litert import LiteRT
from fer_hailo.training.convert.conversion import convert
from fer_hailo.training.convert.trained_ranges import RANGES, read_ranges
from fer_hailo.training.data.dataset import load_dataset
from fer_hailo.training.evaluate.score import Scorer
from fer_hailo.training.fit import callbacks
from fer_hailo.training.fit.lineage import check_lineage
from fer_hailo.training.fit.repeat import repeated
from fer_hailo.training.fit.state import Progress, load_progress
from fer_hailo.training.models.build import build_model, load_model
from fer_hailo.training.quantise.fake import FakeQuantised
from fer_hailo.training.quantise.finetune import RECORD
from fer_hailo.training.quantise.judge import Keep
from fer_hailo.training.quantise.settings import quantised_config
from fer_hailo.training.start import resume, start
from tools import release

pytestmark = pytest.mark.usefixtures("undrawn")

RECIPE = yaml.safe_load((ROOT / "configs" / "quantise.yaml").read_text())
SHORT = {"stage2_epochs": "2", "batch_size": "16"}


def snapshot(folder: Path) -> dict:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def fine(trained, tmp_path_factory):
    """A complete run that fine-tunes `trained`, in three small epochs. Do not change it."""
    config = quantised_config(RECIPE, {"quantise": str(trained), **SHORT})
    before = snapshot(trained)
    run = start(config, tmp_path_factory.mktemp("fine") / "20260101-000000_tiny_s42")
    assert snapshot(trained) == before
    return run


@pytest.fixture(scope="module")
def deployed(fine, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("place"))
        return convert(str(fine), {}, None, None, None)


def same(run, other):
    histories = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in read_csv(r / "history.csv")]
        for r in (run, other)
    ]
    weights = [keras.models.load_model(r / MODEL).get_weights() for r in (run, other)]
    ranges = [(r / RANGES).read_text() for r in (run, other)]
    return (
        histories[0] == histories[1]
        and ranges[0] == ranges[1]
        and all((a == b).all() for a, b in zip(*weights, strict=True))
    )


def test_run_folder_is_complete(fine, trained, small):
    names = {path.name for path in fine.iterdir()}
    assert names >= {CONFIG, DONE, MODEL, RANGES, RECORD, "environment.json", "labels.txt", "history.csv",
        "report.html", "confidence.json",
                     "metrics_val.json", "metrics_test.json"}  # fmt: skip
    config = load_config(fine / CONFIG)
    assert (config.model.quantise, config.model.weights, config.loss.teacher) == (
        str(trained),
        str(trained / MODEL),
        (str(trained),),
    )
    assert (
        config.model.arch,
        config.augmentation.rotation,
        config.model.head_units,
        config.schedule.stage2_lr,
    ) == (
        "tiny",
        small.augmentation.rotation,
        small.model.head_units,
        2e-5,
    )
    assert (fine / "labels.txt").read_text() == (trained / "labels.txt").read_text()
    record = json.loads((fine / RECORD).read_text())
    assert (
        record["run"] == trained.name
        and record["equalised"]["scaled"] > 0
        and record["ranges"][0]["divergence"] > 0
    )
    rows = read_csv(fine / "history.csv")
    assert [(row["stage"], row["epoch"]) for row in rows] == [("2", "1"), ("2", "2")]
    assert float(rows[0]["val_loss"]) < 0.1 and float(rows[-1]["learning_rate"]) == pytest.approx(0, abs=1e-8)
    assert "Rounded, its accuracy on validation was" in (fine / "report.html").read_text()


def test_what_is_kept_is_the_best_when_rounded(fine, small):
    """Found again from the saved float network and ranges.json."""
    network, data = load_model(fine / MODEL), load_dataset(small, None)
    assert not [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    quantised, limits = FakeQuantised(network, small.preprocess), read_ranges(fine)
    quantised.ranges.assign(
        [(0, 0)]
        + [limits[name] for name, row in sorted(quantised.places.tensors.items(), key=lambda x: x[1]) if row]
    )
    image = keras.Input(network.input_shape[1:])
    scorer = Scorer(keras.Model(image, quantised(image)), small.preprocess)
    accuracy = (scorer.logits(data.val.images).argmax(axis=1) == data.val.labels).mean()
    seen = [float(row["val_accuracy"]) for row in read_csv(fine / "history.csv")]
    assert accuracy == pytest.approx(
        max(seen + [json.loads((fine / RECORD).read_text())["before"]["val_accuracy"]])
    )


def test_it_learns_and_another_seed_learns_otherwise(fine, trained, tmp_path):
    loss = [float(row["loss"]) for row in read_csv(fine / "history.csv")]
    assert all(0 < value < 1 for value in loss)
    other = start(
        quantised_config(RECIPE, {"quantise": str(trained), **SHORT, "seed": "7"}), tmp_path / "other"
    )
    assert [float(row["loss"]) for row in read_csv(other / "history.csv")] != loss


def test_a_resumed_run_equals_the_whole_one(fine, trained, tmp_path, monkeypatch):
    """Bit for bit; also one that was cut before its first state."""

    def cut(self, epoch, logs=None):
        raise KeyboardInterrupt

    config = load_config(fine / CONFIG)
    for name in ("epoch_end", "epoch_begin"):
        with monkeypatch.context() as patch:
            patch.setattr(callbacks.Tell, f"on_{name}", cut)
            with pytest.raises(KeyboardInterrupt, match="go on with python train.py --resume"):
                start(config, tmp_path / name)
        assert not (tmp_path / name / DONE).exists()
        if name == "epoch_begin":
            shutil.rmtree(tmp_path / name / "checkpoint")
        else:
            assert load_progress(tmp_path / name / "checkpoint" / "state.npz").epoch == 1
        resume(tmp_path / name, {"stage2_epochs": "2"})
        assert same(fine, tmp_path / name), name


def test_resume_refuses_what_changed(fine, trained, tmp_path):
    source = shutil.copytree(trained, tmp_path / "source", ignore=shutil.ignore_patterns("deploy"))
    run = shutil.copytree(fine, tmp_path / "run", ignore=shutil.ignore_patterns("deploy", DONE))
    own = load_config(fine / CONFIG)
    save_config(own.change(quantise=str(source)), run / CONFIG)
    with pytest.raises(UserError, match="trained with stage2_epochs 2, not 9"):
        resume(run, {"stage2_epochs": "9"})
    with pytest.raises(UserError, match="takes one device, not 2"):
        resume(run, {}, 2)
    shutil.copy(fine / MODEL, source / MODEL)
    with pytest.raises(UserError, match="holds another model than the one that"):
        resume(run, {})
    (run / RECORD).write_text("{")
    with pytest.raises(UserError, match="quantisation.json is missing or damaged"):
        resume(run, {})


def test_convert_takes_the_ranges_as_they_are(fine, deployed, small):
    bundle, limits = load_bundle(deployed), read_ranges(fine)
    network = LiteRT(deployed / "model_int8.tflite", keep_tensors=True)
    for name, scale in network.scales().items():
        assert scale == pytest.approx((limits[name][1] - limits[name][0]) / 255, rel=1e-5), name
    facts = json.loads((fine / "conversion.json").read_text())
    assert [trial["ends"] for trial in facts["trials"]] == ["trained for"] and facts["changes"] == []
    assert facts["quantised_from"] and "fine-tuned for 8 bits" in (fine / "conversion.html").read_text()
    weights = [keras.models.load_model(fine / name).get_weights() for name in (MODEL, "model_clean.keras")]
    assert all((a == b).all() for a, b in zip(*weights, strict=True))  # neither scaled nor corrected again
    pictures = bundle.evaluation()
    held = pictures.split == "val"
    accuracy = (
        network.logits(pictures.images[held], bundle.spec).argmax(axis=1) == pictures.labels[held]
    ).mean()
    best = load_progress(fine / "checkpoint" / "state.npz").best
    # What was judged in training is what LiteRT computes
    assert accuracy == pytest.approx(best, abs=1.5 / held.sum())


def test_damaged_ranges_are_one_line(fine, tmp_path, inside):
    run = shutil.copytree(fine, tmp_path / "run", ignore=shutil.ignore_patterns("deploy"))
    for content in ("{", "[]", "{}", '{"conv0": [1, 2]}', '{"conv0": 3}', '{"conv0": [0, NaN]}', None):
        (run / RANGES).unlink() if content is None else (run / RANGES).write_text(content)
        assert "does not tell the ranges that this network was trained for" in error_line(
            inside("convert_tflite.py", run)
        ), content
    (run / RANGES).write_text('{"conv0": [-1, 2]}')
    assert "ranges were written for another network" in error_line(inside("convert_tflite.py", run))
    assert not (run / "deploy").exists()


def test_its_release_can_be_converted_again(fine, deployed, small, tmp_path, monkeypatch, inside):
    folder = release.release(fine, tmp_path / "released")
    assert (folder / RANGES).read_text() == (fine / RANGES).read_text() and RANGES in (
        folder / "SHA256SUMS"
    ).read_text()
    assert "fine-tuned for 8 bits from" in (folder / "MODEL_CARD.md").read_text()
    assert load_config(folder / CONFIG).model.quantise == Path(load_config(fine / CONFIG).model.quantise).name
    monkeypatch.chdir(tmp_path)
    again = convert(str(folder), {"data": small.data.source}, None, None, None)
    assert (again / "model_int8.tflite").read_bytes() == (deployed / "model_int8.tflite").read_bytes()
    assert "was fine-tuned for 8 bits itself" in error_line(
        inside("train.py", "--quantise", folder, "--data", small.data.source)
    )


def test_a_released_folder_is_fine_tuned(trained, converted, small, tmp_path):
    folder = release.release(trained, tmp_path / "released")
    before = snapshot(folder)
    run = start(
        quantised_config(
            RECIPE, {"quantise": str(folder), "data": small.data.source, **SHORT, "stage2_epochs": 1}
        ),
        tmp_path / "run",
    )
    assert (run / DONE).exists() and snapshot(folder) == before


@pytest.mark.slow
def test_of_a_run_on_all_of_train_the_last_epoch_is_kept(trained, converted, tmp_path, monkeypatch):
    whole = start(repeated(None, {"selected_by": str(trained)}), tmp_path / "whole")
    run = start(quantised_config(RECIPE, {"quantise": str(whole), **SHORT}), tmp_path / "fine")
    rows = read_csv(run / "history.csv")
    assert len(rows) == 2 and all(row["val_accuracy"] == "" and row["learning_rate"] for row in rows)
    assert (run / "selection.json").read_text() == (whole / "selection.json").read_text()
    assert (
        (run / DONE).exists()
        and not (run / "metrics_val.json").exists()
        and (run / "metrics_test.json").exists()
    )
    monkeypatch.chdir(tmp_path)
    manifest = load_bundle(convert(str(run), {}, None, None, None)).manifest
    assert manifest.selection.name == trained.name


def test_weights_that_are_no_numbers_never_replace_a_model(fine, small, tmp_path):
    quantised, progress = FakeQuantised(load_model(fine / MODEL), small.preprocess), Progress("key")
    keep = Keep(tmp_path, quantised, progress)
    keep.offer(0.5)
    before = snapshot(tmp_path)
    keep.offer(0.5)  # of equals the first stays
    quantised.network.get_layer("logits").bias.assign([np.nan] * 5)
    keep.offer(0.4)
    with pytest.raises(UserError, match="no numbers any more.*--stage2-lr"):
        keep.offer(0.6)
    assert (
        snapshot(tmp_path) == before
        and {path.name for path in before} == {MODEL, RANGES}
        and progress.best == 0.5
    )


def test_lineage_is_known(fine, small):
    """A run of another split may not start from it, nor be taught by it."""
    data = load_dataset(small, None)
    for learnt in ({"weights": str(fine / MODEL)}, {"teacher": (str(fine),)}):
        with pytest.raises(UserError, match="split with split_seed 42, not 7: it has learnt images"):
            check_lineage(small.change(split_seed=7, **learnt), data)
        check_lineage(small.change(**learnt), data)


def test_bad_input_is_one_line(fine, trained, small, tmp_path, inside):
    unfinished = shutil.copytree(
        trained, tmp_path / "unfinished", ignore=shutil.ignore_patterns(DONE, "deploy")
    )
    ensemble = shutil.copytree(trained, tmp_path / "ensemble", ignore=shutil.ignore_patterns("deploy"))
    save_config(load_config(trained / CONFIG).change(arch="ensemble"), ensemble / CONFIG)
    other = shutil.copytree(small.data.source, tmp_path / "other")
    (other / "train" / "angry" / "drawn_0000.png").unlink()
    calibration = tmp_path / "calib_set.npy"
    np.save(calibration, np.zeros((4, 32, 32, 3), np.float32))
    for arguments, said in [
        ([unfinished], "is not complete: go on with python train.py --resume"),
        ([ensemble], "is an ensemble, which serves as a teacher: fine-tune one of its members"),
        ([fine], f"was fine-tuned for 8 bits itself, from {trained}"),
        ([tmp_path / "none"], "is no run folder (it has no config.yaml)"),
        ([trained, "--data", other], f"is not the data that {trained} was trained on"),
        ([trained, "--data", calibration], "calib_set.npy"),
        (
            [trained, "--arch", "resnet18"],
            "was trained with arch tiny, not resnet18: fine-tuning for 8 bits leaves that as it is",
        ),
        ([trained, "--teacher", fine], "was trained with teacher"),
        ([trained, "--stage2-epochs", "0"], "nothing would be trained"),
        ([trained, "--devices", "2"], "takes one device, not 2"),
        ([trained, "--out", trained], "is not an empty folder"),
    ]:
        result = inside(
            "train.py", "--quantise", *arguments, *(["--out", "out"] if "--out" not in arguments else [])
        )
        assert said in error_line(result), arguments
        assert not (tmp_path / "out").exists()


def refused(run, network, small, inside, **values):
    """The line that is said of `run` with another network in it, which is told before any data is read."""
    save_config(small.change(weights="none", data="nowhere", tensorboard=False, **values), run / CONFIG)
    network.save(run / MODEL)
    return error_line(inside("train.py", "--quantise", run, "--out", "out"))


def test_a_network_that_cannot_be_folded_is_one_line(trained, small, tmp_path, inside):
    run = shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("deploy"))
    network = load_model(trained / MODEL)
    network = keras.Model(
        network.input, keras.layers.LayerNormalization(name="norm")(network.output), name="strange"
    )
    line = refused(run, network, small, inside)
    assert (
        "strange cannot be fine-tuned for 8 bits: its layer norm is a LayerNormalization" in line
        and not (tmp_path / "out").exists()
    )


@pytest.mark.slow
def test_a_research_system_is_one_line(trained, small, tmp_path, inside):
    run = shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("deploy"))
    config = {"arch": "poster", "input_size": 224, "stage1_epochs": 0}
    line = refused(run, build_model(small.change(weights="none", **config)), small, inside, **config)
    assert "poster cannot be fine-tuned for 8 bits: its layer" in line
