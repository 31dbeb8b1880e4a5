"""What a model file is and what belongs to it, in every place where one can lie. Folders made by hand."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from conftest import ROOT

from fer_hailo.common.confidence import Confidence
from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.deploy.home import Format, Kind, Stated, Use, is_bundle, resolve, warn_if_drawn

RUNS = Path("fer2013_keras_hailo")
RUN = "20261120-101010_tiny_s5"
KERAS, FLOAT, INT8 = "best_model_float32.keras", "model_float32.tflite", "model_int8.tflite"
SETTINGS = "classes: [happy, sad]\nextra_classes: [fear]\nsource_size: 40\ninput_size: 64\nseed: 5\ndata: d\n"
TRAINED = Stated(("happy", "sad"), PreprocessSpec(40, 64))
CONVERTED = Stated(("happy", "sad"), PreprocessSpec(40, 64, mean=1.0, scale=2.0))
NO_RUN = "no complete run in fer2013_keras_hailo"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(path, content: bytes | str = b"model") -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def make_run(folder, complete: bool = True) -> Path:
    """As training leaves it."""
    put(f"{folder}/{KERAS}")
    put(f"{folder}/config.yaml", SETTINGS)
    put(f"{folder}/environment.json", '{"data": {"key": "abc"}}')
    put(f"{folder}/labels.txt", "happy\nsad\n")
    put(f"{folder}/confidence.json", '{"temperature": 1.5, "unsure_below": 0.6}')
    if complete:
        put(f"{folder}/DONE", "")
    return Path(folder)


def write_manifest(folder, files: dict[str, bytes]) -> None:
    """Write a manifest.json that describes `files`."""
    sums = {file: {"sha256": hashlib.sha256(content).hexdigest()} for file, content in files.items()}
    stated = {"labels": ["happy", "sad"], "preprocess": CONVERTED.spec.to_dict()}
    stated["confidence"] = {"temperature": 2.0, "unsure_below": 0.5}
    put(f"{folder}/manifest.json", json.dumps({"name": RUN, **stated, "files": sums}))


def make_bundle(folder) -> Path:
    """As conversion leaves it, with a HEF of the SDK machine."""
    files = {FLOAT: b"float", INT8: b"int8"}
    for name, content in files.items():
        put(f"{folder}/{name}", content)
    put(f"{folder}/hailo8/model.hef", b"hef")
    write_manifest(folder, files)
    return Path(folder)


def make_release(folder) -> Path:
    folder = make_run(folder, complete=False)
    files = {KERAS: b"model", FLOAT: b"float", INT8: b"int8"}
    for name in (FLOAT, INT8):
        put(folder / name, files[name])
    (folder / "confidence.json").unlink()
    write_manifest(folder, files)
    return folder


@pytest.mark.parametrize("complete", [True, False])
def test_a_run(complete):
    run = make_run(RUNS / RUN, complete)
    for place in (run, str(run), run / KERAS):
        home = resolve(place, Use.SCORE)
        assert (home.model, home.format, home.kind) == (run / KERAS, Format.KERAS, Kind.RUN)
        assert (home.manifest, home.run) == (None, run)
        assert (home.name, home.results) == (RUN, RUNS / "results.csv")
        assert home.stated == TRAINED and (home.labels, home.spec) == TRAINED
        assert home.confidence == Confidence(1.5, 0.6) and home.trained_on == "abc"
        assert (home.own.seed, home.own.data.extra_classes, home.own.data.source) == (5, ("fear",), "d")
        assert (home.config.seed, home.config.data.extra_classes, home.config.face.input_size) == (5, (), 64)


def test_flags_over_the_configuration_of_a_run():
    run = make_run(RUNS / RUN)
    home = resolve(run, Use.SCORE, {"data": "other", "batch_size": 7})
    assert (home.config.data.source, home.config.optimiser.batch_size, home.config.data.classes) == (
        "other",
        7,
        ("happy", "sad"),
    )
    assert (home.own.data.source, home.own.optimiser.batch_size) == ("d", 32)
    with pytest.raises(UserError, match="the model's classes are happy, sad, not angry, happy"):
        _ = resolve(run, Use.SCORE, {"classes": ("angry", "happy")}).config


def test_a_run_that_was_converted():
    run, bundle = make_run(RUNS / RUN), make_bundle(RUNS / RUN / "deploy")
    assert resolve(run).model == bundle / FLOAT
    assert resolve(run, Use.SCORE).model == resolve(run, Use.LEARN).model == run / KERAS
    assert resolve(bundle).model == resolve(bundle, Use.SCORE).model == bundle / FLOAT
    assert resolve(bundle / "hailo8").model == bundle / "hailo8/model.hef"
    for model, format in ((FLOAT, Format.TFLITE), (INT8, Format.TFLITE), ("hailo8/model.hef", Format.HEF)):
        home = resolve(bundle / model, Use.SCORE, {"data": "other"})
        assert (home.format, home.kind, home.run) == (format, Kind.BUNDLE, run)
        assert home.manifest == bundle / "manifest.json"
        assert (home.name, home.results, home.trained_on) == (RUN, RUNS / "results.csv", "abc")
        assert home.stated == CONVERTED and home.confidence == Confidence(2.0, 0.5)
        assert (home.config.seed, home.config.data.source, home.config.data.classes) == (
            5,
            "other",
            ("happy", "sad"),
        )
    assert resolve(run / KERAS).kind is Kind.RUN and resolve(run / KERAS).confidence == Confidence(1.5, 0.6)
    with pytest.raises(UserError, match="model_int8.tflite was made for input_size 64, not 96"):
        _ = resolve(bundle / INT8, Use.SCORE, {"input_size": 96}).config


@pytest.mark.parametrize("inside", ["", "hailo8/model.hef"])
def test_a_bundle_that_was_copied_elsewhere(inside):
    bundle = make_bundle("board/deploy")
    home = resolve(bundle / inside)
    assert (home.model, home.kind, home.run) == (bundle / (inside or FLOAT), Kind.BUNDLE, None)
    assert (home.name, home.results) == (RUN, Path("board/results.csv"))
    assert home.stated == CONVERTED and home.confidence == Confidence(2.0, 0.5)
    assert home.own is None and home.trained_on is None
    assert (home.config.seed, home.config.face.input_size) == (Config().seed, 64)
    assert home.config.data.classes == ("happy", "sad")
    assert is_bundle(bundle)


def test_files_that_stand_in_no_manifest_are_told_by_it_too():
    """A HEF that was put beside it, a TFLite file under another name."""
    bundle = make_bundle("board/deploy")
    for name in ("model.hef", "mine.tflite"):
        home = resolve(put(bundle / name, b"anything"))
        assert (home.kind, home.name, home.stated) == (Kind.BUNDLE, RUN, CONVERTED)
    assert resolve(bundle).model == bundle / "model.hef"  # what is compiled is meant first


@pytest.mark.parametrize("place", [RUNS / "released", "copy/of/it"])
def test_a_released_folder(place):
    folder = make_release(place)
    for model in (FLOAT, INT8, KERAS):
        home = resolve(folder / model, Use.SCORE)
        assert (home.kind, home.manifest, home.run) == (Kind.RELEASED, folder / "manifest.json", folder)
        assert (home.name, home.results) == (RUN, folder.parent / "results.csv")  # named as its run
        assert home.stated == CONVERTED and home.confidence == Confidence(2.0, 0.5)
        assert (home.own.seed, home.trained_on, home.config.face.input_size) == (5, "abc", 64)
    assert (resolve(folder).model, resolve(folder, Use.SCORE).model) == (folder / FLOAT, folder / KERAS)
    assert not is_bundle(folder)
    put(folder / "hailo8/model.hef", b"compiled")
    assert resolve(folder / "hailo8").kind is Kind.RELEASED


def test_a_released_folder_that_was_converted_again():
    folder = make_release("copy")
    bundle = make_bundle(folder / "deploy")
    home = resolve(bundle / INT8)
    assert (home.kind, home.manifest, home.run) == (Kind.BUNDLE, bundle / "manifest.json", folder)
    assert (home.name, home.results) == (RUN, Path("results.csv"))
    assert resolve(folder).model == folder / FLOAT


def test_an_ensemble():
    """A run by its files, under a name that is not a run's: it is the newest for nobody."""
    folder = make_run(RUNS / "ensemble_20261121-101010")
    put(folder / "config.yaml", SETTINGS + "arch: ensemble\n")
    home = resolve(folder, Use.LEARN)
    assert (home.kind, home.name, home.config.model.arch) == (
        Kind.RUN,
        "ensemble_20261121-101010",
        "ensemble",
    )
    with pytest.raises(UserError, match=NO_RUN):
        resolve(None, Use.SCORE)


def test_a_keras_file_by_itself():
    home = resolve(put("bare.keras"), Use.SCORE, {"data": "faces", "input_size": 48, "classes": ("a", "b")})
    assert (home.kind, home.format, home.manifest, home.run) == (Kind.BARE, Format.KERAS, None, None)
    assert (home.name, home.results) == ("bare", RUNS / "results.csv")
    assert home.stated == Stated(None, None)
    assert home.confidence is None and home.own is None and home.trained_on is None
    assert (home.config.data.source, home.config.face.input_size, home.config.data.classes) == (
        "faces",
        48,
        ("a", "b"),
    )
    for name in ("labels", "spec"):
        with pytest.raises(UserError, match=r"no manifest.json beside bare.keras.*copy deploy/ as a whole"):
            getattr(home, name)
    assert resolve("bare.keras", Use.SCORE).config.data.classes == Config().data.classes


def test_a_keras_file_beside_labels_or_a_configuration():
    put("alone/bare.keras")
    put("alone/labels.txt", "a\nb\n")
    home = resolve("alone/bare.keras", Use.SCORE)
    assert (home.kind, home.stated, home.config.data.classes) == (
        Kind.BARE,
        Stated(("a", "b"), None),
        ("a", "b"),
    )
    put("alone/labels.txt", "happy\nsad\n")
    put("alone/config.yaml", SETTINGS)
    home = resolve("alone/bare.keras", Use.SCORE)
    assert (home.kind, home.name, home.own) == (Kind.BARE, "bare", None)  # nobody knows of a run
    assert home.stated == TRAINED and (home.config.seed, home.config.face.input_size) == (5, 64)
    (Path("alone/labels.txt")).unlink()
    assert resolve("alone/bare.keras").labels == ("happy", "sad")


def test_the_order_of_the_classes_is_as_stated():
    put("alone/bare.keras")
    flags = {"classes": "sad, Happy,fear"}
    home = resolve("alone/bare.keras", Use.SCORE, flags)
    assert home.order == ("sad", "Happy", "fear") and home.config.data.classes == ("Happy", "fear", "sad")
    assert resolve("alone/bare.keras", Use.SCORE).order == Config().data.classes
    put("alone/labels.txt", "Happiness\nsad\nfear\n")
    for given in ({}, flags):  # the file knows better
        home = resolve("alone/bare.keras", Use.SCORE, given)
        assert home.order == ("Happiness", "sad", "fear")
        assert home.config.data.classes == ("Happiness", "fear", "sad")
    with pytest.raises(UserError, match="the model's classes are Happiness, sad, fear, not fear, sad"):
        _ = resolve("alone/bare.keras", Use.SCORE, {"classes": "fear,sad"}).config
    # A run's is the alphabet's, whatever the flag's
    assert resolve(make_run("run"), Use.SCORE, {"classes": "sad,happy"}).order == ("happy", "sad")


@pytest.mark.parametrize("name", ["bare.tflite", "bare.hef"])
def test_a_converted_file_by_itself(name):
    home = resolve(put(f"away/{name}"), Use.SCORE)
    assert (home.kind, home.name) == (Kind.BARE, "bare")
    assert (home.stated, home.confidence) == (Stated(None, None), None)
    for field in ("labels", "spec", "config"):
        with pytest.raises(
            UserError, match=f"no manifest.json beside away/{name} nor one folder up"
        ) as error:
            getattr(home, field)
        assert ("a face detector goes after --detector" in str(error.value)) == name.endswith(".hef")


def test_a_manifest_above_a_keras_file_is_another_s():
    """Such names are common: a run in the folder of some program, say."""
    put("program/manifest.json", '{"manifest_version": 3}')
    home = resolve(make_run("program/run"))
    assert (home.kind, home.stated) == (Kind.RUN, TRAINED)


def test_nothing_named(monkeypatch):
    assert resolve().model == ROOT / "fer2013_keras_hailo" / "released" / FLOAT  # the library's own
    with monkeypatch.context() as patch:
        patch.setattr("fer_hailo.deploy.home.released", lambda: Path("nowhere"))
        with pytest.raises(UserError, match="^no model: fer2013_keras_hailo holds no complete run; name a"):
            resolve()
    make_release(RUNS / "released")
    make_run(RUNS / "20261122-101010_tiny_s5", complete=False)
    assert resolve().model == RUNS / "released" / FLOAT
    for use in (Use.SCORE, Use.LEARN):
        with pytest.raises(UserError, match=NO_RUN):
            resolve(None, use)
    make_run(RUNS / RUN)
    make_run(RUNS / "20261119-101010_tiny_s5")
    for use in Use:
        assert resolve(use=use).model == RUNS / RUN / KERAS
    make_bundle(RUNS / RUN / "deploy")
    assert resolve().model == RUNS / RUN / "deploy" / FLOAT
    assert resolve(use=Use.SCORE).model == RUNS / RUN / KERAS


def test_nothing_there():
    Path("empty").mkdir()
    with pytest.raises(UserError, match="^no model in empty: it has none of model.hef, model_float32"):
        resolve("empty")
    with pytest.raises(UserError, match="^no model at empty/best_model_float32.keras"):
        resolve("empty", Use.LEARN)
    put("some/model.hef")
    with pytest.raises(UserError, match=r"^no model at some/modle.hef \(did you mean some/model.hef\?\)"):
        resolve("some/modle.hef")
    with pytest.raises(UserError, match="^a.onnx is no model: .keras, .tflite, .hef, .pth, .h5 files are"):
        resolve(put("a.onnx"))


def test_damaged_files():
    bundle = make_bundle("deploy")
    put(bundle / INT8, b"another")
    with pytest.raises(UserError, match="int8.tflite is not the file that deploy/manifest.json describes"):
        _ = resolve(bundle / INT8).labels
    put(bundle / "labels.txt", "a\nb\n")
    with pytest.raises(UserError, match="labels.txt and manifest.json name different classes"):
        _ = resolve(bundle / FLOAT).spec
    for content in ("{", "[1]", "{}"):
        put(bundle / "manifest.json", content)
        with pytest.raises(UserError, match="deploy/manifest.json does not tell labels and preprocessing"):
            _ = resolve(bundle / FLOAT).stated
    run = make_run("run")
    put(run / "confidence.json", '{"temperature": -1}')
    with pytest.raises(UserError, match=r"not tell how sure predictions are \(.*temperature must be above 0"):
        _ = resolve(run).confidence
    for content in ("{", "[]", '{"data": 1}'):
        put(run / "environment.json", content)
        assert resolve(run).trained_on is None


WITHIN = [("run", "."), ("run", KERAS), ("run/deploy", f"../{KERAS}"), ("run/deploy", "..")]


@pytest.mark.parametrize("inside, path", WITHIN)
def test_a_path_from_within(here, monkeypatch, inside, path):
    """Rows and outputs go where they go from outside, under the run's name."""
    make_run("run")
    (here / inside).mkdir(exist_ok=True)
    monkeypatch.chdir(inside)
    home = resolve(path, Use.SCORE)
    assert (home.kind, home.name, home.results) == (Kind.RUN, "run", here / "results.csv")


def test_a_bundle_from_within(here, monkeypatch):
    make_run("run")
    make_bundle("run/deploy")
    monkeypatch.chdir("run/deploy/hailo8")
    home = resolve("model.hef")
    assert (home.kind, home.stated) == (Kind.BUNDLE, CONVERTED)
    assert (home.run, home.results) == (here / "run", here / "results.csv")
    monkeypatch.chdir("..")
    assert resolve(".").kind is Kind.BUNDLE and resolve(FLOAT).results == here / "results.csv"


def test_the_record_is_frozen_and_reads_when_asked():
    put("deploy/manifest.json", "{")
    home = resolve(put(f"deploy/{FLOAT}"))  # damage is told where labels are wanted, not here
    with pytest.raises(FrozenInstanceError):
        home.model = Path("other")


def test_a_board_without_yaml_can_ask_all_but_a_run(here):
    make_bundle("deploy")
    make_run("run")
    code = "from fer_hailo.deploy.home import resolve; print(resolve(sys.argv[1]).labels)"
    program = [sys.executable, "-c", f"import sys; sys.modules['yaml'] = None; {code}"]

    def ask(place):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run([*program, place], capture_output=True, text=True, env=environment)

    assert ask("deploy").stdout == "('happy', 'sad')\n"
    assert "run/config.yaml, which tells its labels, cannot be read" in ask("run").stderr


def test_what_learnt_drawn_faces_is_no_default_and_says_so(here, capsys):
    """After `train.py --smoke`, a photograph is not read by the network of drawn faces."""
    old, new = make_run(RUNS / RUN), make_run(RUNS / RUN.replace("20261120", "20261121"))
    put(new / "environment.json", '{"data": {"key": "abc", "name": "synthetic sample set"}}')
    assert resolve().run == old and resolve(use=Use.LEARN).run == new == resolve(use=Use.SCORE).run
    home = resolve(new)
    assert home.learnt_drawn and not resolve(old).learnt_drawn
    warn_if_drawn(resolve(old))
    assert capsys.readouterr().err == ""
    warn_if_drawn(home)
    assert capsys.readouterr().err.startswith(f"warning: {home.model} learnt drawn faces")
    put(new / "deploy" / FLOAT)
    put(new / "deploy" / "manifest.json", '{"data": {"name": "synthetic sample set"}}')
    assert resolve(new / "deploy").learnt_drawn
    (old / "DONE").unlink()
    assert resolve().kind is Kind.RELEASED  # no other run is complete
