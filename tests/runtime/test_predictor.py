"""Which model file is meant, what belongs to it, and that all kinds of it answer alike."""

import json
import shutil

import numpy as np
import pytest
from conftest import ROOT

from fer_hailo.common.confidence import Confidence
from fer_hailo.common.config import load_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.metrics import softmax
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.common.runs import CONFIDENCE, MODEL
from fer_hailo.deploy.bundle import load_bundle
from fer_hailo.deploy.home import resolve
from fer_hailo.predict.litert import LiteRT
from fer_hailo.predict.predictor import load


@pytest.fixture
def bundle(converted, tmp_path):
    return shutil.copytree(converted, tmp_path / "deploy")


def test_keras_and_tflite_answer_alike(trained, converted):
    pictures = load_bundle(converted).evaluation().images[:40]
    answers = {}
    for path in (trained / MODEL, converted / "model_float32.tflite", converted / "model_int8.tflite"):
        with load(resolve(path)) as predictor:
            answers[predictor.stage] = predictor.predict(pictures)
            assert (
                predictor.labels == ("angry", "disgust", "happy", "neutral", "surprise")
                and predictor.spec.input_size == 32
            )
    assert set(answers) == {"keras", "tflite", "tflite-int8"}
    assert np.abs(answers["keras"] - answers["tflite"]).max() < 1e-4
    assert np.abs(answers["keras"] - answers["tflite-int8"]).max() < 0.1
    assert all(rows.shape == (40, 5) and np.allclose(rows.sum(axis=1), 1) for rows in answers.values())


def test_each_picture_is_normalised_once(trained, converted):
    """Predictions worked out with plain Keras on values in [-1, 1]; bytes, or values normalised twice, give
    others.
    """
    import keras

    pictures = load_bundle(converted).evaluation().images[:20]
    model = keras.models.load_model(trained / MODEL, compile=False)
    values = pictures.astype(np.float32) / 127.5 - 1
    right, raw, twice = (
        softmax(np.asarray(model(v))) for v in (values, pictures.astype(np.float32), values / 127.5 - 1)
    )
    with load(resolve(converted / "model_float32.tflite")) as predictor:
        answers = softmax(predictor.logits(pictures))
    assert np.abs(answers - right).max() < 1e-4
    assert np.abs(answers - raw).max() > 0.05 and np.abs(answers - twice).max() > 0.05


def test_temperature_and_unsure_come_from_the_models_folder(trained, converted, tmp_path):
    known = Confidence(**json.loads((trained / CONFIDENCE).read_text()))
    assert (
        known == Confidence(**json.loads((converted / "manifest.json").read_text())["confidence"])
        and known.temperature != 1
    )
    pictures = load_bundle(converted).evaluation().images[:3]
    for path in (trained / MODEL, converted / "model_int8.tflite"):
        with load(resolve(path)) as predictor:
            assert predictor.confidence == known
            np.testing.assert_allclose(
                predictor.predict(pictures), softmax(predictor.logits(pictures) / known.temperature)
            )
    shutil.copy(trained / MODEL, tmp_path)
    assert resolve(tmp_path / MODEL).confidence is None
    (tmp_path / CONFIDENCE).write_text('{"temperature": -1}')
    with pytest.raises(UserError, match="temperature must be above 0"):
        _ = resolve(tmp_path / MODEL).confidence


def test_pictures_of_another_kind_are_refused(converted):
    with load(resolve(converted / "model_float32.tflite")) as predictor:
        assert predictor.predict(np.empty((0, 32, 32, 3), np.uint8)).shape == (0, 5)
        for wrong in (
            np.zeros((1, 32, 32, 3), np.float32),
            np.zeros((1, 32, 32), np.uint8),
            np.zeros((1, 48, 48, 3), np.uint8),
        ):
            with pytest.raises(ValueError, match="images must be uint8"):
                predictor.predict(wrong)


def test_what_a_folder_means(trained, tmp_path, monkeypatch):
    assert resolve(str(trained / MODEL)).model == trained / MODEL
    run = tmp_path / "run"
    run.mkdir()
    for name in (MODEL, "deploy/model_float32.tflite", "model_float32.tflite", "model.hef"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_bytes(b"x")
        assert resolve(str(run)).model == run / name
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no model in .*empty: it has none of model.hef"):
        resolve(str(tmp_path / "empty"))
    with pytest.raises(UserError, match=r"no model at .*modle.hef \(did you mean .*model.hef"):
        resolve(str(run / "modle.hef"))
    monkeypatch.chdir(tmp_path)
    assert resolve().model == ROOT / "fer2013_keras_hailo/released/model_float32.tflite"  # in whatever folder
    with monkeypatch.context() as patch:
        patch.setattr("fer_hailo.deploy.home.released", lambda: tmp_path / "nowhere")
        with pytest.raises(
            UserError, match="fer2013_keras_hailo holds no complete run; name a model with --model"
        ):
            resolve()
    (tmp_path / "fer2013_keras_hailo/released").mkdir(parents=True)
    shutil.copy(run / MODEL, tmp_path / "fer2013_keras_hailo/released")
    assert resolve().model.parent.name == "released"
    newest = tmp_path / "fer2013_keras_hailo/20261121-101737_tiny_s42"
    shutil.copytree(trained, newest)
    assert resolve().model.parent.name == "released"  # the run learnt drawn faces
    record = json.loads((newest / "environment.json").read_text())
    record["data"]["name"] = "photographs"
    (newest / "environment.json").write_text(json.dumps(record))
    assert "20261121-101737_tiny_s42" in (resolve().model.parent.name, resolve().model.parent.parent.name)


def test_labels_and_preprocessing_come_from_the_files(trained, bundle):
    config = load_config(trained / "config.yaml")
    assert resolve(trained / MODEL).stated == (config.data.classes, config.preprocess)
    assert resolve(bundle / "model_int8.tflite").stated == (config.data.classes, config.preprocess)
    (bundle / "hailo8").mkdir()
    (bundle / "hailo8/model.hef").write_bytes(b"anything")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["preprocess"]["source_size"], manifest["labels"] = 64, ["a", "b"]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    (bundle / "labels.txt").write_text("a\nb\n")
    assert resolve(bundle / "hailo8/model.hef").stated == (("a", "b"), PreprocessSpec(64, 32))


def test_a_model_without_its_files_is_refused(bundle, tmp_path):
    shutil.copy(bundle / "model_int8.tflite", tmp_path / "elsewhere.tflite")
    with pytest.raises(
        UserError, match="no manifest.json beside .*elsewhere.tflite.*copy deploy/ as a whole"
    ):
        load(resolve(tmp_path / "elsewhere.tflite"))
    (tmp_path / "a.onnx").write_bytes(b"x")
    with pytest.raises(UserError, match="a.onnx is no model: .keras, .tflite, .hef, .pth, .h5 files are"):
        load(resolve(tmp_path / "a.onnx"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("labels.txt", "angry\nhappy\n", "labels.txt and manifest.json name different classes"),
        ("model_int8.tflite", "junk", "is not the file that .*manifest.json describes"),
        ("manifest.json", "{}", "does not tell labels and preprocessing"),
        ("manifest.json", "[1]", "does not tell labels and preprocessing"),
        (
            "manifest.json",
            '{"labels": ["a", "b"], "preprocess": {"colour": 1}, "files": {}}',
            "does not tell labels and preprocessing",
        ),
    ],
)
def test_files_that_do_not_belong_together(bundle, name, content, said):
    (bundle / name).write_text(content)
    with pytest.raises(UserError, match=said):
        load(resolve(bundle / "model_int8.tflite"))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        (
            "preprocess",
            {"input_size": 48},
            r"shape \(1, 32, 32, 3\), the preprocessing makes \(1, 48, 48, 3\)",
        ),
        ("labels", ["a", "b"], "mine.tflite tells 5 classes apart, labels.txt names 2"),
    ],
)
def test_a_tflite_that_does_not_fit_its_manifest(bundle, field, value, said):
    (bundle / "model_float32.tflite").rename(bundle / "mine.tflite")  # a name without a checksum
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest[field] = manifest[field] | value if isinstance(value, dict) else value
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    (bundle / "labels.txt").unlink()
    with pytest.raises(UserError, match=said):
        load(resolve(bundle / "mine.tflite"))


def test_a_keras_file_that_does_not_fit_its_labels(trained, tmp_path):
    for name in (MODEL, "config.yaml"):
        shutil.copy(trained / name, tmp_path)
    (tmp_path / "labels.txt").write_text("angry\nhappy\n")
    with pytest.raises(
        UserError, match=r"maps \(None, 32, 32, 3\) to \(None, 5\); its files promise .* 2 classes"
    ):
        load(resolve(tmp_path / MODEL))


def test_a_network_whose_weights_are_missing_is_one_line(tmp_path):
    """Opened, it looks like a network whose kernel comes from elsewhere; LiteRT says so when it runs."""
    from tensorflow.lite.tools import flatbuffer_utils

    saved = ROOT / "tests" / "saved" / "run" / "deploy" / "model_float32.tflite"
    model = flatbuffer_utils.read_model(str(saved))
    (graph,) = model.subgraphs
    kernel = graph.tensors[graph.operators[0].inputs[1]]
    model.buffers[kernel.buffer].data = None
    (tmp_path / "m.tflite").write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    network, images = LiteRT(tmp_path / "m.tflite"), np.zeros((1, 32, 32, 3), np.uint8)
    with pytest.raises(UserError, match=r"m.tflite cannot be run by LiteRT: Input tensor \d+ lacks data"):
        network.logits(images, PreprocessSpec(48, 32, False))
