"""Every network of the registry, the way from training to TFLite in a reduced build; what it costs, in the
list.
"""

import importlib
import json
import re

import keras
import numpy as np
import pytest
import tiny  # noqa: F401, registers the network
from conftest import ROOT

import train
from fer_hailo.common.config import Config, load_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import normalise, prepare
from fer_hailo.common.resources import recipes
from fer_hailo.deploy.bundle import load_bundle
from fer_hailo.deploy.home import Use, resolve
from fer_hailo.predict.predictor import load
from fer_hailo.sdk.chain import rehearse_bundle
from fer_hailo.training.convert import quantise
from fer_hailo.training.convert.conversion import convert
from fer_hailo.training.evaluate.evaluation import evaluate_file
from fer_hailo.training.fit.loop import start
from fer_hailo.training.models.build import build_model, load_model
from fer_hailo.training.models.listing import list_networks, read_rows
from fer_hailo.training.models.table import measure, multiply_adds
from fer_hailo.training.networks.registry import ARCHITECTURES

pytestmark = pytest.mark.usefixtures("undrawn")
ONE_EPOCH = {
    "weights": "none", "input_size": 32, "head_units": [8], "head_dropout": [0.1, 0.1], "stage1_epochs": 0,
    "stage2_epochs": 1,
    "stage2_warmup_epochs": 0, "batch_size": 16, "ema": 0, "tensorboard": False,
}  # fmt: skip


# Each with a folder of its name, in which a test says how it is made small; MobileNetV3Small serves the other
# tests.
NETWORKS = [
    name for name in sorted(ARCHITECTURES) if name != "tiny" and not name.startswith("mobilenet_v3_small")
]


def shrink(name: str, patch) -> None:
    importlib.import_module(f"fer_hailo.training.networks.{name}.test_network").shrink(patch)


# A second pass, and Adam's updates of 350 tensors, take longer to trace than the network.
QUICK = {"sam_rho": 0, "optimizer": "sgd", "momentum": 0}


NOT_CONVERTED = {  # but in the slow test
    "dan": {
        "arch": "dan",
        "ema": 0.9,
        "classes": ["angry", "happy", "neutral"],
        "extra_classes": ["surprise"],
    },
    "ada_df_fusion": {
        "arch": "tiny",
        "method": "ada_df_fusion",
        "stage1_epochs": 1,
        "ema": 0.9,
        "extra_classes": ["surprise"],
        "classes": ["angry", "happy"],
    },
    "lnsu": {"arch": "tiny", "method": "lnsu", "head_units": [], "head_dropout": [0.1], "sam_rho": 0.05},
    "poster": {"arch": "poster", **QUICK},
    "poster_v2": {"arch": "poster_v2", **QUICK},
}


# All but the MobileNets: they share one road, and are large even when they are made small.
SLOW_TO_CONVERT = (
    "ada_df",
    "dlib_resnet", "densenet121", "nasnet_mobile", "vgg19", "resnet18", "resnet50", "efficientnet_b0",
    "mini_xception", "ddamfn",
)  # fmt: skip


def _some_slow(names, slow):
    """The names as parameters; what takes half a minute to trace waits for the slow tests."""
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in slow)) for name in names]


@pytest.mark.parametrize("name", _some_slow(NOT_CONVERTED, ("dan", "poster", "poster_v2", "ada_df_fusion")))
def test_train_and_evaluate(name, sample_set, tmp_path, monkeypatch):
    if name in NETWORKS:
        shrink(name, monkeypatch)
    config = load_config(None, ONE_EPOCH | NOT_CONVERTED[name] | {"data": str(sample_set)}, recipes())
    run = start(config, tmp_path / name)
    metrics, _ = evaluate_file(resolve(run, Use.SCORE), "test", None)
    assert metrics.count == 6 * len(config.data.classes)
    model = load_model(run / "best_model_float32.keras")
    assert not [layer.name for layer in model.layers if "." in layer.name]  # Keras on PyTorch takes none
    faces = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("f4")
    assert np.isfinite(model(faces)).all() and model.output_shape == (None, len(config.data.classes))


@pytest.mark.parametrize(
    "name", _some_slow([name for name in NETWORKS if name not in NOT_CONVERTED], SLOW_TO_CONVERT)
)
def test_from_training_to_tflite(name, sample_set, trained, tmp_path, monkeypatch):
    shrink(name, monkeypatch)
    monkeypatch.setattr(quantise, "WAYS", ("99.99",))  # one of the settings of INT8, for time
    monkeypatch.chdir(tmp_path)
    # One of them in colour, of another size; one taught, with an average of the weights; one without its
    # recipe's optimizer, for time.
    taught = {"teacher": [str(trained)], "ema": 0.9}
    kind = {"mini_xception": {"color": True, "source_size": 40}, "ada_df": taught, "ddamfn": QUICK}.get(
        name, {}
    )
    config = load_config(None, ONE_EPOCH | kind | {"arch": name, "data": str(sample_set)}, recipes())
    run = start(config, tmp_path / "runs" / name)
    model = load_model(run / "best_model_float32.keras")
    assert not [layer.name for layer in model.layers if "." in layer.name]
    metrics, _ = evaluate_file(resolve(run, Use.SCORE), "test", None)
    assert metrics.count == 30
    # Refuses where TFLite is not what Keras computes
    bundle = load_bundle(convert(str(run), {}, None, None, None))
    assert bundle.spec == config.preprocess
    picture = np.random.default_rng(0).integers(0, 256, (70, 60, 3), dtype=np.uint8)
    # As the board does, from a cut-out face on
    with load(resolve(bundle.folder / "model_float32.tflite")) as predictor:
        given = predictor.logits(prepare(picture, predictor.spec)[None])
    seen = normalise(prepare(picture, config.preprocess), config.preprocess)[None]
    np.testing.assert_allclose(given, model(seen), atol=1e-3)
    if name in ("ada_df", "ddamfn"):
        stage = "tflite" if name == "ddamfn" else "tflite-int8"  # ai-edge-quantizer has no PReLU in 8 bits
        assert rehearse_bundle(bundle.folder, "hailo8", [None], None, most_lost=100.0, quick=None) == 0
        report = json.loads((bundle.folder / "rehearsal_hailo8" / "compile_report.json").read_text())
        assert report["rehearsal"] and report["metrics"][stage]["test"]["count"] == 30
        assert stage in bundle.manifest.metrics and bool(bundle.int8) == (stage == "tflite-int8")
        assert ("PRELU" in bundle.manifest.without.get("model_int8.tflite", "")) == (name == "ddamfn")
    assert (
        bundle.manifest.arch == name
        and bundle.manifest.metrics["tflite"]["test"].accuracy == metrics.accuracy
    )


def test_multiply_adds_by_hand():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same")(image)  # 64 x 27 x 4
    x = keras.layers.DepthwiseConv2D(3, strides=2, padding="same")(x)  # 16 x 9 x 4
    x = keras.layers.SeparableConv2D(6, 3, padding="valid")(x)  # 4 x (9 x 4 + 4 x 6)
    x = keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x))
    assert multiply_adds(keras.Model(image, x)) == 64 * 27 * 4 + 16 * 9 * 4 + 4 * (36 + 24) + 30


def test_no_imagenet_weights():
    with pytest.raises(UserError, match="no ImageNet weights of resnet18"):
        build_model(Config.of(arch="resnet18"))


def test_list(capsys):
    train.main(["--list"])
    *table, _, method, _ = capsys.readouterr().out.splitlines()
    lines = {line.split()[0]: line.split() for line in table}
    assert lines["ada_df"][1:5] == ["224", "px", "11,188,677", "1,814"] and method.startswith("--method lnsu")
    # 18.5 M of TFLite's operators
    assert lines["mobilenet_v3_small"][1:6] == ["128", "px", "1,404,405", "19", "M"]
    assert lines["resnet18"][1:3] == ["64", "px"] and lines["resnet18"][6:9] == ["none", "yes", "yes:"]
    assert sum(line[1:3] == ["128", "px"] for line in lines.values()) == 4  # without recipes, the default


def test_the_kept_table_is_of_these_networks_and_recipes():
    rows = {row.network: row for row in read_rows()}
    assert list(rows) == sorted(set(ARCHITECTURES) - {"tiny"})
    for name, row in rows.items():
        known, config = ARCHITECTURES[name], load_config(None, {"arch": name}, recipes())
        assert (row.licence, row.tflite, row.hailo, row.input_size) == (
            known.licence,
            known.tflite,
            known.hailo,
            config.face.input_size,
        )
    for name in ("mini_xception", "dlib_resnet"):
        assert measure(name) == rows[name]


@pytest.mark.slow
def test_the_kept_table_is_that_of_the_networks_as_built():
    assert [measure(row.network) for row in read_rows()] == read_rows()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_full_builds_train_and_convert(name, sample_set, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {
        "arch": name,
        "data": str(sample_set),
        "weights": "none",
        "stage1_epochs": 0,
        "stage2_epochs": 1,
        "stage2_warmup_epochs": 0,
    }
    run = start(load_config(None, settings | {"tensorboard": False}, recipes()), tmp_path / "runs" / name)
    bundle = load_bundle(convert(str(run), {}, None, None, None))
    # PReLU, layer norms: no 8 bits
    stage = "tflite" if name in ("ddamfn", "poster", "poster_v2") else "tflite-int8"
    assert bundle.manifest.metrics[stage]["test"].count == 30 and bool(bundle.int8) == (
        stage == "tflite-int8"
    )


def test_the_table_in_the_documents_is_that_of_list():
    stated = [
        line.strip("| ").split(" | ")
        for line in (ROOT / "docs" / "networks.md").read_text().splitlines()
        if " px | " in line
    ]
    lines = [re.split(" {2,}", line) for line in list_networks().splitlines() if " px " in line]
    assert {re.search(r"\w+", row[0])[0]: row[1:] for row in stated} == {
        row[0]: [*row[1:5], row[6]] for row in lines
    }
