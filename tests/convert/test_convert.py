"""convert_tflite.py as its users call it."""

import json
import shutil
import sys

import keras
import numpy as np
import pytest
from conftest import assert_quiet, error_line

import fer_hailo.training.convert.conversion as conversion
from fer_hailo.board.deployed import as_in
from fer_hailo.common.config import load_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_csv
from fer_hailo.common.preprocess import PreprocessSpec, normalise, prepare
from fer_hailo.common.runs import MODEL, read_labels
from fer_hailo.deploy.bundle import FILES, load_bundle, seal
from fer_hailo.deploy.home import resolve
from fer_hailo.deploy.manifest import Calibration
from fer_hailo.formats.tflite import read_tflite
from fer_hailo.predict.litert import LiteRT
from fer_hailo.predict.predictor import load
from fer_hailo.script.lint import lint_script
from fer_hailo.training.convert import quantise, second_road
from fer_hailo.training.convert.conversion import convert
from fer_hailo.training.convert.expectation import check_usual
from fer_hailo.training.convert.ranges import tensor_ranges
from fer_hailo.training.data.dataset import Part, load_dataset
from fer_hailo.training.models.build import load_model

L = keras.layers


def test_bundle_holds_what_the_other_machines_need(converted, trained, small):
    bundle, data = load_bundle(converted), load_dataset(small, None)
    assert {path.name for path in converted.iterdir() if path.is_file()} == {*FILES, "manifest.json"}
    assert bundle.labels == data.names and bundle.spec == small.preprocess and bundle.name == trained.name
    pictures = bundle.evaluation()
    assert (pictures.split == "val").sum() == len(data.val) and (pictures.split == "test").sum() == len(
        data.test
    )
    expected = np.stack([prepare(image, bundle.spec) for image in data.val.images])
    np.testing.assert_array_equal(pictures.images[pictures.split == "val"], expected)
    model = load_model(trained / MODEL)
    np.testing.assert_allclose(
        pictures.logits[: len(expected)], model.predict_on_batch(normalise(expected, bundle.spec)), atol=1e-4
    )
    # 80 images: warnings
    assert lint_script((converted / "model.alls").read_text(), bundle.spec, len(bundle.calibration())) != []
    assert all(
        f.level != "error"
        for f in lint_script((converted / "model.alls").read_text(), bundle.spec, len(bundle.calibration()))
    )
    assert bundle.manifest.environment["versions"]["tensorflow"]


def test_calibration_is_from_the_training_side_only(converted, trained, small):
    bundle, data = load_bundle(converted), load_dataset(small, None)
    images = bundle.calibration()
    train = {prepare(image, bundle.spec).tobytes() for image in data.train.images}
    held = {prepare(image, bundle.spec).tobytes() for side in (data.val, data.test) for image in side.images}
    own = {image.tobytes() for image in images}
    assert own <= train and not own & held and len(own) == len(images) == 80
    np.testing.assert_array_equal(np.load(trained.parent / "calib" / "calib_set.npy"), images)
    assert bundle.manifest.calibration == Calibration(80, (16,) * 5)


def test_scores_and_rows(converted, trained):
    bundle = load_bundle(converted)
    manifest, pictures = bundle.manifest, bundle.evaluation()
    rows = [row for row in read_csv(trained.parent / "results.csv") if row["stage"].startswith("tflite")]
    assert [(row["stage"], row["split"]) for row in rows] == [
        (s, p) for s in ("tflite", "tflite-int8") for p in ("val", "test")
    ]
    keras_metrics = json.loads((trained / "metrics_val.json").read_text())
    assert manifest.metrics["keras"]["val"].to_dict() == keras_metrics
    for row, name in ((rows[0], "model_float32.tflite"), (rows[2], "model_int8.tflite")):
        side = pictures.split == "val"
        answers = LiteRT(converted / name).logits(pictures.images[side], bundle.spec).argmax(1)
        accuracy = (answers == pictures.labels[side]).mean()
        assert float(row["accuracy"]) == pytest.approx(accuracy, abs=1e-6)
        assert float(row["drop"]) == pytest.approx(keras_metrics["accuracy"] - accuracy, abs=2e-6)
        assert int(row["size_bytes"]) == (converted / name).stat().st_size and float(row["latency_ms"]) > 0
        assert row["sha256"] == keras_metrics["sha256"]  # the same images


def test_run_folder_gets_report_sheet_and_clean_model(converted, trained):
    facts = json.loads((trained / "conversion.json").read_text())
    assert facts["parity"]["count"] == facts["parity"]["same"] and facts["parity"]["difference"] < 1e-3
    used = [row["used"] for row in facts["ranges"]]
    assert used == sorted(used) and {"image", "logits"} <= {row["name"] for row in facts["ranges"]}
    page = (trained / "conversion.html").read_text()
    assert (
        "Clean-up of the float graph" in page
        and "INT8 settings tried" in page
        and "Ranges of the tensors" in page
    )
    assert (trained / "calibration.png").stat().st_size > 1000
    assert keras.models.load_model(trained / "model_clean.keras").output_shape == (None, 5)


def test_command_on_a_bare_model(command, inside, trained, sample_set, tmp_path):
    """Another folder of the data, no configuration: preprocessing from the model's shape; then again, over
    the bundle made before.
    """
    shutil.copy(trained / MODEL, tmp_path / "mine.keras")
    assert "name the data" in error_line(inside("convert_tflite.py", "mine.keras"))
    result = command("convert_tflite.py", "mine.keras", "--data", sample_set)
    assert result.returncode == 0, result.stderr
    assert_quiet(result)
    assert "parity: " in result.stdout and "tflite-int8" in result.stdout and "Traceback" not in result.stderr
    folder = tmp_path / "fer2013_keras_hailo" / "converted_mine"
    bundle = load_bundle(folder / "deploy")
    assert bundle.spec.input_size == 32 and not (tmp_path / "calib").exists()  # nobody asked for it
    calibration = bundle.calibration()
    (folder / "deploy" / "hailo8").mkdir()
    (folder / "deploy" / "hailo8" / "model.hef").write_text("hours of work")
    again = inside("convert_tflite.py", "mine.keras", "--data", sample_set)
    assert again.returncode == 0, again.stderr
    np.testing.assert_array_equal(load_bundle(folder / "deploy").calibration(), calibration)
    assert (folder / "deploy" / "hailo8" / "model.hef").read_text() == "hours of work"


def test_wrong_normalisation_of_a_bare_model_is_noticed(capsys):
    """A model that tells bright from dark by values of 0..255, stated as one for [-1, 1]."""
    image = keras.Input((16, 16, 3))
    brightness = L.Flatten()(L.GlobalAveragePooling2D()(image))
    model = keras.Model(image, L.Dense(2)(brightness))
    model.layers[-1].set_weights([np.array([[0, 1 / 3]] * 3), np.array([0, -100.0])])
    levels = np.array([20, 200] * 10, np.uint8)
    side = Part(
        np.broadcast_to(levels[:, None, None], (20, 16, 16)), np.array([0, 1] * 10), levels.astype(str)
    )
    usual, names = PreprocessSpec(source_size=16, input_size=16), ("dark", "bright")
    wrong = np.array([[0, 10], [0, 10]])
    with pytest.raises(UserError, match="right on 50.0% .* on 100.0%: .* add --mean 0 --scale 1 "):
        check_usual(model, side, usual, names, wrong, ordered=True, scaled=False)
    check_usual(model, side, usual, names, wrong, ordered=True, scaled=True)
    assert "on 100.0%; taken as you say" in capsys.readouterr().out
    right = PreprocessSpec(16, 16, mean=0, scale=1)
    check_usual(model, side, right, names, 10 * np.eye(2), ordered=True, scaled=False)
    few = Part(side.images[:6], side.labels[:6], side.ids[:6])  # 3 of 6 and 6 of 6 may be chance
    check_usual(model, few, usual, names, np.array([[0, 3], [0, 3]]), ordered=True, scaled=False)


def test_what_is_stated_goes_into_bundle_and_script(trained, sample_set, tmp_path, monkeypatch):
    """Normalisation and order of the classes."""
    monkeypatch.chdir(tmp_path)
    image, model = keras.Input((32, 32, 3)), load_model(trained / MODEL)
    last, order = model.get_layer("logits"), [3, 4, 0, 2, 1]
    last.set_weights([values[..., order] for values in last.get_weights()])
    keras.Model(image, model(L.Rescaling(1 / 127.5, offset=-1)(image))).save(tmp_path / "raw.keras")
    names = [read_labels(trained / "labels.txt")[place] for place in order]
    (tmp_path / "labels.txt").write_text("\n".join(names) + "\n")
    # Nested models are laid out flat on the way
    deploy = convert("raw.keras", {"data": str(sample_set)}, None, 0.0, 1.0)
    manifest = json.loads((deploy / "manifest.json").read_text())
    assert (manifest["preprocess"]["mean"], manifest["preprocess"]["scale"]) == (0, 1)
    assert manifest["labels"] == list(read_labels(deploy / "labels.txt")) == names
    expected = json.loads((trained / "metrics_test.json").read_text())["accuracy"]
    assert manifest["metrics"]["keras"]["test"]["accuracy"] == pytest.approx(expected)
    assert "normalization([0.0, 0.0, 0.0], [1.0, 1.0, 1.0])" in (deploy / "model.alls").read_text()
    assert load_bundle(deploy).network.unexpected() == []
    with pytest.raises(UserError, match="states its own normalisation"):
        convert(str(trained), {}, None, 0.0, 1.0)


@pytest.mark.parametrize(
    "place",
    [
        "fer_hailo.training.convert.conversion.quantise",
        "fer_hailo.deploy.bundle.write_evaluation",
        "fer_hailo.deploy.bundle.write_json",
    ],
)
def test_a_full_disk_leaves_the_bundle_as_it_was(converted, trained, tmp_path, monkeypatch, place):
    run = shutil.copytree(trained, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(place, full)
    with pytest.raises(OSError, match="No space"):
        convert(str(run), {}, None, None, None)
    load_bundle(run / "deploy")
    assert {path: path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()} == before


def test_a_place_where_calib_cannot_be_written_costs_a_note_only(trained, tmp_path, monkeypatch, capsys):
    run = shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("deploy"))
    (run / ".convert_killed").mkdir()  # what a kill -9 left behind
    (tmp_path / "calib").write_text("a file")
    monkeypatch.chdir(tmp_path)
    load_bundle(convert(str(run), {}, None, None, None))
    assert "no copy of the calibration set" in capsys.readouterr().err and not list(run.glob(".convert*"))


def test_no_parity_no_bundle(trained, tmp_path, monkeypatch):
    run = shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("deploy"))
    monkeypatch.chdir(tmp_path)
    for limit in ("MOST", "RELATIVE"):
        monkeypatch.setattr(f"fer_hailo.training.convert.parity.{limit}", 0.0)
    seen = []
    prepared = conversion.prepare_all
    monkeypatch.setattr(
        conversion, "prepare_all", lambda images, spec: seen.append(images) or prepared(images, spec)
    )
    monkeypatch.setattr(conversion, "COUNT", 5)
    with pytest.raises(UserError, match="does not give what the Keras model gives"):
        convert(str(run), {}, None, None, None)
    assert not (run / "deploy").exists()
    data = load_dataset(load_config(run / "config.yaml"), None)
    classes = {image.tobytes(): label for image, label in zip(data.val.images, data.val.labels, strict=True)}
    # Compared on images of every class
    assert sorted(classes[image.tobytes()] for image in seen[0]) == [0, 1, 2, 3, 4]


def test_a_run_is_judged_on_its_own_validation_side(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match="was split with split_seed 42: with another, validation would hold other images"
    ):
        convert(str(trained), {"split_seed": 1}, None, None, None)


def test_another_model_of_the_same_name_is_not_written_over(trained, sample_set, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(trained / MODEL, tmp_path / "m.keras")
    folder = tmp_path / "fer2013_keras_hailo" / "converted_m"
    folder.mkdir(parents=True)
    (folder / "conversion.json").write_text(json.dumps({"model": "/elsewhere/m.keras"}))
    with pytest.raises(
        UserError, match="holds the conversion of /elsewhere/m.keras: choose another folder with --out"
    ):
        convert("m.keras", {"data": str(sample_set)}, None, None, None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no complete run"),
        (["nothing"], "no model at nothing"),
        (["junk.keras", "--data", "x"], "cannot be opened"),
        (["some.tflite", "--data", "x"], "some.tflite is no Keras file"),
        (["map.keras", "--data", "DATA"], "not a classifier"),
        (["--men", "1"], "did you mean --mean"),
        (["--mean", "x"], "invalid float"),
    ],
)
def test_mistakes(inside, tmp_path, sample_set, arguments, said):
    (tmp_path / "junk.keras").write_bytes(b"junk")
    image = keras.Input((32, 32, 3))
    keras.Model(image, L.Conv2D(5, 3)(image)).save(tmp_path / "map.keras")
    assert said in error_line(
        inside("convert_tflite.py", *[sample_set if a == "DATA" else a for a in arguments])
    )


def test_missing_packages_are_named_before_anything_starts(command):
    code = (
        "import sys; sys.modules['ai_edge_quantizer'] = None; import convert_tflite as c; "
        "sys.exit(c.run(c.main, sys.argv[1:]))"
    )
    assert "ai_edge_quantizer is not installed here" in error_line(command([sys.executable, "-c", code]))


def test_of_a_large_data_set_a_part_is_scored(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(conversion, "MOST_SCORED", 15)
    monkeypatch.setattr(quantise, "WAYS", ("100",))
    bundle = load_bundle(convert(str(trained), {}, tmp_path / "out", None, None))
    assert "30 images in test: 15 of them" in capsys.readouterr().err
    pictures = bundle.evaluation()
    assert [int((pictures.split == split).sum()) for split in ("val", "test")] == [15, 15]
    assert bundle.manifest.metrics["keras"]["test"].count == 15  # what Keras scores is compared on the same


def test_a_network_without_int8_kernels_gets_a_bundle_without_int8(
    trained, converted, tmp_path, monkeypatch, capsys
):
    def refuse(*arguments):
        raise quantise.NoInt8Kernel("no INT8 kernel for strange (EXP)")

    def no_road(content):
        raise second_road.NoSecondRoad(second_road.NOTHING)

    run = shutil.copytree(trained, tmp_path / "run")
    shutil.copytree(converted, run / "deploy", dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(conversion, "quantise", refuse)
    monkeypatch.setattr(second_road, "write_plainly", no_road)
    deploy = convert(str(run), {}, None, None, None)
    bundle = load_bundle(deploy)
    assert bundle.int8 is None and bundle.manifest.without == {
        "model_int8.tflite": "no INT8 kernel for strange (EXP)",
        "model_float32_primitive.tflite": second_road.NOTHING,
    }
    assert [path.name for path in bundle.roads] == ["model_float32.tflite"]
    assert {path.name for path in deploy.iterdir() if path.is_file()} == {*FILES, "manifest.json"} - {
        "model_int8.tflite",
        "model_float32_primitive.tflite",
    }
    assert set(bundle.manifest.metrics) == {"keras", "tflite"}
    said = capsys.readouterr().out
    assert "warning: model_int8.tflite was not made: no INT8 kernel for strange (EXP)" in said
    assert f"note: model_float32_primitive.tflite was not made: {second_road.NOTHING}" in said
    page = (run / "conversion.html").read_text()
    assert f"There is no model_float32_primitive.tflite: {second_road.NOTHING}." in page
    assert "No INT8 network was made" in page


def test_the_second_road_goes_with_the_first(converted, trained):
    bundle = load_bundle(converted)
    first, second = bundle.roads
    assert (first.name, second.name) == ("model_float32.tflite", "model_float32_primitive.tflite")
    assert bundle.manifest.without == {} and second.name in bundle.manifest.files
    exact, plain = (LiteRT(path).logits(bundle.calibration(), bundle.spec) for path in (first, second))
    facts = json.loads((trained / "conversion.json").read_text())["second_road"]
    assert np.abs(exact - plain).max() == pytest.approx(facts["difference"]) and facts["difference"] <= 1e-5
    kinds = {layer.operator for layer in read_tflite(second).layers}
    assert kinds | {"RELU6"} == set(facts["operators"]) and facts["count"] == 80
    named = {layer.name: layer.operator for layer in read_tflite(second).layers}
    assert {layer.name for layer in bundle.network.layers} < set(named) and "HARD_SWISH" not in kinds
    page = (trained / "conversion.html").read_text()
    assert "<td>MUL</td><td>2</td><td>untried</td>" in page
    assert "<td>CONV_2D</td><td>2</td><td>seen to parse</td>" in page


def test_a_second_road_that_answers_otherwise_is_not_kept(converted, tmp_path, monkeypatch):
    bundle, place = load_bundle(converted), tmp_path / "second.tflite"
    monkeypatch.setattr(second_road, "MOST", -1.0)
    monkeypatch.setattr(second_road, "RELATIVE", -1.0)
    with pytest.raises(second_road.NoSecondRoad, match="differ from those of model_float32.tflite by up to"):
        second_road.make_second_road(bundle.roads[0], place, bundle.calibration()[:2], bundle.spec)
    assert not place.exists()


def test_what_int8_lost_names_the_way_to_win_it_back(trained, tmp_path, monkeypatch, capsys):
    run = shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("deploy"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quantise, "WAYS", ("100",))
    for most, said in ((100.0, False), (-100.0, True)):
        monkeypatch.setattr(conversion, "MOST_LOST", most)
        convert(str(run), {}, None, None, None)
        assert (f"python train.py --quantise {run}" in capsys.readouterr().out) == said


def test_an_older_int8_file_with_a_float_block_is_warned_of_once(converted, tmp_path, capsys):
    """In the bundle, and again when it is opened to be scored: one file, one warning; an INT8 network has
    none.
    """
    bundle = load_bundle(converted)
    load(as_in(bundle, resolve(converted / "model_int8.tflite"))).close()
    assert "warning" not in capsys.readouterr().err
    older = shutil.copytree(converted, tmp_path / "deploy", ignore=shutil.ignore_patterns("evaluation*"))
    ranges = tensor_ranges(older / "model_float32.tflite", bundle.calibration()[:8], bundle.spec)
    limits = {name: tensor.ends["100"] for name, tensor in ranges.items()}
    first = [layer.name for layer in bundle.network.layers[:2]]
    int8 = older / "model_int8.tflite"
    int8.write_bytes(quantise.quantise_with(older / "model_float32.tflite", limits, bundle.spec, first))
    seal(older, bundle.manifest)
    capsys.readouterr()
    with load(as_in(load_bundle(older), resolve(int8))) as predictor:
        assert predictor.stage == "tflite-int8-floatstem"
    load(resolve(int8)).close()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {int8} computes 2 layers in float ({first[0]}, ...)")


def test_channels_were_scaled_and_the_report_says_so(trained, converted):
    facts = json.loads((trained / "conversion.json").read_text())["equalised"]
    assert set(facts) == {"scaled", "straight", "tolerance", "same", "moved"} and facts["same"] >= 0.995
    assert "channels were scaled" in (trained / "conversion.html").read_text()
    assert not [
        layer
        for layer in keras.models.load_model(trained / "model_clean.keras").layers
        if "BatchNorm" in type(layer).__name__
    ]
    assert {layer.dtype for layer in read_tflite(converted / "model_int8.tflite").layers} == {"int8"}
