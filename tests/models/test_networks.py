"""Every network of the registry: its counts, its initial weights, and the way from training to TFLite in a reduced build."""

import json
import re
import types
from functools import partial

import keras
import numpy as np
import pytest
import tiny  # noqa: F401, registers the network
from conftest import ROOT
from keras.src.applications import densenet as keras_densenet
from keras.src.applications import efficientnet as keras_efficientnet
from keras.src.applications import nasnet as keras_nasnet
from keras.src.applications import resnet as keras_resnet
from keras.src.applications import vgg19 as keras_vgg19

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
from fer_hailo.training.networks import face_backbones
from fer_hailo.training.networks.dan import network as dan
from fer_hailo.training.networks.ddamfn import network as ddamfn
from fer_hailo.training.networks.dlib_resnet import network as dlib_resnet
from fer_hailo.training.networks.mini_xception import network as mini_xception
from fer_hailo.training.networks.poster import network as poster
from fer_hailo.training.networks.poster_v2 import network as poster_v2
from fer_hailo.training.networks.registry import ARCHITECTURES
from fer_hailo.training.networks.resnet18 import network as resnet

pytestmark = pytest.mark.usefixtures("undrawn")
ONE_EPOCH = {
    "weights": "none", "input_size": 32, "head_units": [8], "head_dropout": [0.1, 0.1], "stage1_epochs": 0, "stage2_epochs": 1,
    "stage2_warmup_epochs": 0, "batch_size": 16, "ema": 0, "tensorboard": False,
}  # fmt: skip


def _resnet50(patch):
    whole = keras_resnet.stack_residual_blocks_v1
    patch.setattr(
        keras_resnet,
        "stack_residual_blocks_v1",
        lambda x, filters, blocks, name, **rest: whole(x, filters // 8, 1, name=name, **rest) if name in ("conv2", "conv3") else x,
    )


def _vgg19(patch):
    narrow = types.SimpleNamespace(**vars(keras.layers))
    narrow.Conv2D = lambda filters, *rest, **options: keras.layers.Conv2D(filters // 16, *rest, **options, kernel_initializer="he_normal")
    patch.setattr(keras_vgg19, "layers", narrow)


def _nasnet(patch):
    reduction = keras_nasnet._reduction_a_cell  # one of these is enough
    patch.setattr(keras_nasnet, "_normal_a_cell", lambda x, before, *rest, **options: (x, before))
    patch.setattr(
        keras_nasnet,
        "_reduction_a_cell",
        lambda x, before, filters, block_id: reduction(x, before, filters, block_id) if block_id == "stem_1" else (x, before),
    )
    small = {"penultimate_filters": 96, "num_blocks": 1, "stem_block_filters": 8, "skip_reduction": False, "filter_multiplier": 2}
    patch.setattr(keras.applications, "NASNetMobile", partial(keras_nasnet.NASNet, **small, default_size=224))


def _efficientnet(patch):
    small = {"blocks_args": keras_efficientnet.DEFAULT_BLOCKS_ARGS[:2], "weights_name": "b0"}
    patch.setattr(keras.applications, "EfficientNetB0", partial(keras_efficientnet.EfficientNet, 0.25, 0.5, 224, **small))


def _resnet18(patch):
    patch.setattr(resnet, "STAGES", ((8, 1), (16, 2)))


def _dan(patch):
    _resnet18(patch)
    patch.setattr(dan, "WIDTH", 4)


def _dlib_resnet(patch):
    patch.setattr(dlib_resnet, "STEM", 8)
    patch.setattr(dlib_resnet, "STAGES", ((8, 1, False), (16, 1, True)))


def _ddamfn(patch):
    patch.setattr(ddamfn, "STAGES", ((8, 2, 8, (4, 4), 0), (8, 1, 8, (6, 2), 1)))
    patch.setattr(ddamfn, "TOP", 16)


def _poster(patch):
    for module in (face_backbones, poster, poster_v2):
        patch.setattr(module, "UNITS", (1, 1, 1))
    patch.setattr(face_backbones, "BLOCKS", (0, 0, 0))
    patch.setattr(poster, "DEPTH", 1)
    patch.setattr(poster_v2, "DEPTH", 1)
    patch.setattr(poster_v2, "WIDTH", 32)


NETWORKS = {  # how each is made small
    "ada_df": _resnet18,
    "dan": _dan,
    "ddamfn": _ddamfn,
    "dlib_resnet": _dlib_resnet,
    "poster": _poster,
    "poster_v2": _poster,
    "densenet121": lambda patch: patch.setattr(keras.applications, "DenseNet121", partial(keras_densenet.DenseNet, [1, 1, 1, 1])),
    "efficientnet_b0": _efficientnet,
    "nasnet_mobile": _nasnet,
    "resnet18": _resnet18,
    "resnet50": _resnet50,
    "vgg19": _vgg19,
    "mini_xception": lambda patch: patch.setattr(mini_xception, "FILTERS", (4, 8)),
}


# A second pass, and Adam's updates of 350 tensors, take longer to trace than the network.
QUICK = {"sam_rho": 0, "optimizer": "sgd", "momentum": 0}


NOT_CONVERTED = {  # but in the slow test
    "dan": {"arch": "dan", "ema": 0.9, "classes": ["angry", "happy", "neutral"], "extra_classes": ["surprise"]},
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


def _some_slow(names, slow):
    """The names as parameters; what takes half a minute to trace waits for the slow tests."""
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in slow)) for name in names]


@pytest.mark.parametrize("name", _some_slow(NOT_CONVERTED, ("poster", "poster_v2")))
def test_train_and_evaluate(name, sample_set, tmp_path, monkeypatch):
    NETWORKS.get(name, lambda patch: None)(monkeypatch)
    config = load_config(None, ONE_EPOCH | NOT_CONVERTED[name] | {"data": str(sample_set)}, recipes())
    run = start(config, tmp_path / name)
    metrics, _ = evaluate_file(resolve(run, Use.SCORE), "test", None)
    assert metrics["count"] == 6 * len(config.data.classes)
    model = load_model(run / "best_model_float32.keras")
    assert not [layer.name for layer in model.layers if "." in layer.name]  # Keras on PyTorch takes none
    faces = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("f4")
    assert np.isfinite(model(faces)).all() and model.output_shape == (None, len(config.data.classes))


@pytest.mark.parametrize("name", _some_slow([name for name in NETWORKS if name not in NOT_CONVERTED], ("dlib_resnet",)))
def test_from_training_to_tflite(name, sample_set, trained, tmp_path, monkeypatch):
    NETWORKS[name](monkeypatch)
    monkeypatch.setattr(quantise, "WAYS", ("99.99",))  # one of the settings of INT8, for time
    monkeypatch.chdir(tmp_path)
    # One of them in colour, of another size; one taught, with an average of the weights; one without its recipe's optimizer, for time.
    taught = {"teacher": [str(trained)], "ema": 0.9}
    kind = {"mini_xception": {"color": True, "source_size": 40}, "ada_df": taught, "ddamfn": QUICK}.get(name, {})
    config = load_config(None, ONE_EPOCH | kind | {"arch": name, "data": str(sample_set)}, recipes())
    run = start(config, tmp_path / "runs" / name)
    model = load_model(run / "best_model_float32.keras")
    assert not [layer.name for layer in model.layers if "." in layer.name]
    metrics, _ = evaluate_file(resolve(run, Use.SCORE), "test", None)
    assert metrics["count"] == 30
    bundle = load_bundle(convert(str(run), {}, None, None, None))  # refuses where TFLite is not what Keras computes
    assert bundle.spec == config.preprocess
    picture = np.random.default_rng(0).integers(0, 256, (70, 60, 3), dtype=np.uint8)
    with load(resolve(bundle.folder / "model_float32.tflite")) as predictor:  # as the board does, from a cut-out face on
        given = predictor.logits(prepare(picture, predictor.spec)[None])
    seen = normalise(prepare(picture, config.preprocess), config.preprocess)[None]
    np.testing.assert_allclose(given, model(seen), atol=1e-3)
    if name in ("ada_df", "ddamfn"):
        stage = "tflite" if name == "ddamfn" else "tflite-int8"  # ai-edge-quantizer has no PReLU in 8 bits
        assert rehearse_bundle(bundle.folder, "hailo8", [None], None, most_lost=100.0, quick=None) == 0
        report = json.loads((bundle.folder / "rehearsal_hailo8" / "compile_report.json").read_text())
        assert report["rehearsal"] and report["metrics"][stage]["test"]["count"] == 30
        assert stage in bundle.manifest["metrics"] and bool(bundle.int8) == (stage == "tflite-int8")
        assert ("PRELU" in bundle.manifest.get("without", {}).get("model_int8.tflite", "")) == (name == "ddamfn")
    assert bundle.manifest["arch"] == name and bundle.manifest["metrics"]["tflite"]["test"]["accuracy"] == metrics["accuracy"]


def test_no_network_is_left_out():
    variants = ("no_se", "relu6", "minimalistic")  # test_build.py
    assert {*NETWORKS, "mobilenet_v3_small", *(f"mobilenet_v3_small_{kind}" for kind in variants), "tiny"} >= set(ARCHITECTURES)


def trainable(model: keras.Model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def test_published_counts():
    """As Keras' documentation has them, without the classifier; ResNet-18 as torchvision has it, 11,689,512 less 513,000."""
    counts = {"vgg19": 20_024_384, "resnet50": 23_587_712, "densenet121": 7_037_504}
    for name, count in counts.items():
        assert ARCHITECTURES[name].build(64, None).count_params() == count
    small = ARCHITECTURES["resnet18"].build(64, None)
    assert trainable(small) == 11_689_512 - 513_000 and small.output_shape == (None, 2, 2, 512)
    # 58,423 with its 3x3 convolution to seven classes, from grey pictures.
    assert ARCHITECTURES["mini_xception"].build(64, None).count_params() == 58_423 - (128 * 9 * 7 + 7) + 2 * 9 * 8


def test_multiply_adds_by_hand():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same")(image)  # 64 x 27 x 4
    x = keras.layers.DepthwiseConv2D(3, strides=2, padding="same")(x)  # 16 x 9 x 4
    x = keras.layers.SeparableConv2D(6, 3, padding="valid")(x)  # 4 x (9 x 4 + 4 x 6)
    x = keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x))
    assert multiply_adds(keras.Model(image, x)) == 64 * 27 * 4 + 16 * 9 * 4 + 4 * (36 + 24) + 30


ORIGINALS = {
    "vgg19": (keras.applications.VGG19, keras.applications.vgg19.preprocess_input),
    "resnet50": (keras.applications.ResNet50, keras.applications.resnet.preprocess_input),
    "densenet121": (keras.applications.DenseNet121, keras.applications.densenet.preprocess_input),
    "nasnet_mobile": (keras.applications.NASNetMobile, keras.applications.nasnet.preprocess_input),
}


@pytest.mark.parametrize("name", ["vgg19", "densenet121"])  # blue first, and each channel with a scale of its own
def test_initial_weights_see_what_they_were_trained_on(name, tmp_path):
    make, normalise = ORIGINALS[name]
    check_same(name, make, normalise, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "nasnet_mobile"])
def test_initial_weights_of_the_others(name, tmp_path):
    make, normalise = ORIGINALS[name]
    check_same(name, make, normalise, tmp_path)


def check_same(name, make, normalise, tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.float32)
    original = make(include_top=False, weights=None, input_shape=(64, 64, 3))
    original.save_weights(tmp_path / "w.weights.h5")
    wanted = np.asarray(original(normalise(pictures.copy())))
    ours = build_model(Config.of(arch=name, weights=str(tmp_path / "w.weights.h5"), input_size=64))
    features = keras.Model(ours.input, ours.get_layer("head_pool").input)
    np.testing.assert_allclose(features(pictures / 127.5 - 1), wanted, atol=2e-5 * np.abs(wanted).max())


def test_efficientnet_without_the_normalisation_inside(tmp_path, monkeypatch):
    """Keras' graph for "imagenet" divides once more than its graph for a file; ours gives what the first gives, for both."""
    _efficientnet(monkeypatch)
    pictures = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.float32)
    seed = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(64, 64, 3))
    (norm,) = (layer for layer in seed.layers if isinstance(layer, keras.layers.Normalization))
    norm.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]), np.array(0)])
    seed.save_weights(tmp_path / "w.weights.h5")
    monkeypatch.setattr(keras_efficientnet.file_utils, "get_file", lambda *arguments, **options: str(tmp_path / "w.weights.h5"))
    wanted = np.asarray(keras.applications.EfficientNetB0(include_top=False, weights="imagenet", input_shape=(64, 64, 3))(pictures))
    for weights in ("imagenet", str(tmp_path / "w.weights.h5")):
        given = np.asarray(ARCHITECTURES["efficientnet_b0"].build(64, weights)(pictures / 127.5 - 1))
        np.testing.assert_allclose(given, wanted, atol=2e-5 * np.abs(wanted).max())


def test_no_imagenet_weights():
    with pytest.raises(UserError, match="no ImageNet weights of resnet18"):
        build_model(Config.of(arch="resnet18"))


def test_list(capsys):
    train.main(["--list"])
    *table, _, method, _ = capsys.readouterr().out.splitlines()
    lines = {line.split()[0]: line.split() for line in table}
    assert lines["ada_df"][1:5] == ["224", "px", "11,188,677", "1,814"] and method.startswith("--method lnsu")
    assert lines["mobilenet_v3_small"][1:6] == ["128", "px", "1,404,405", "19", "M"]  # 18.5 M of TFLite's operators
    assert lines["resnet18"][1:3] == ["64", "px"] and lines["resnet18"][6:9] == ["none", "yes", "yes:"]
    assert sum(line[1:3] == ["128", "px"] for line in lines.values()) == 4  # without recipes, the default


def test_the_kept_table_is_of_these_networks_and_recipes():
    rows = {row.network: row for row in read_rows()}
    assert list(rows) == sorted(set(ARCHITECTURES) - {"tiny"})
    for name, row in rows.items():
        known, config = ARCHITECTURES[name], load_config(None, {"arch": name}, recipes())
        assert (row.licence, row.tflite, row.hailo, row.input_size) == (known.licence, known.tflite, known.hailo, config.face.input_size)
    for name in ("mini_xception", "dlib_resnet"):
        assert measure(name) == rows[name]


@pytest.mark.slow
def test_the_kept_table_is_that_of_the_networks_as_built():
    assert [measure(row.network) for row in read_rows()] == read_rows()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_full_builds_train_and_convert(name, sample_set, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {"arch": name, "data": str(sample_set), "weights": "none", "stage1_epochs": 0, "stage2_epochs": 1, "stage2_warmup_epochs": 0}
    run = start(load_config(None, settings | {"tensorboard": False}, recipes()), tmp_path / "runs" / name)
    bundle = load_bundle(convert(str(run), {}, None, None, None))
    stage = "tflite" if name in ("ddamfn", "poster", "poster_v2") else "tflite-int8"  # PReLU, layer norms: no 8 bits
    assert bundle.manifest["metrics"][stage]["test"]["count"] == 30 and bool(bundle.int8) == (stage == "tflite-int8")


def test_the_table_in_the_documents_is_that_of_list():
    stated = [line.strip("| ").split(" | ") for line in (ROOT / "docs" / "training.md").read_text().splitlines() if " px | " in line]
    lines = [re.split(" {2,}", line) for line in list_networks().splitlines() if " px " in line]
    assert {re.search(r"\w+", row[0])[0]: row[1:] for row in stated} == {row[0]: [*row[1:5], row[6]] for row in lines}
