"""Odd arguments and models: each is one line that says what is wrong, and what else was asked for is done."""

import json
import shutil

import numpy as np
import pytest
from conftest import ROOT, error_line

import fer_hailo
from fer_hailo.board.faces import YUNET, YuNetDetector
from fer_hailo.board.images import read_picture, write_picture
from fer_hailo.common.errors import UserError
from fer_hailo.deploy.bundle import FLOAT, MANIFEST, file_sha256

DEPLOY = ROOT / "tests" / "saved" / "run" / "deploy"


@pytest.fixture(autouse=True)
def photo(tmp_path):
    write_picture(tmp_path / "photo.png", np.full((60, 60, 3), 90, np.uint8))


@pytest.fixture
def nan(tmp_path):
    """The saved network with a logits' bias of NaN."""
    from ai_edge_litert.interpreter import Interpreter

    (tmp_path / "nan").mkdir()
    model, whole = tmp_path / "nan" / FLOAT, DEPLOY / FLOAT
    network = Interpreter(str(whole))
    (bias,) = [d["index"] for d in network.get_tensor_details() if d["name"] == "logits/bias"]
    content, bias = whole.read_bytes(), network.get_tensor(bias).tobytes()
    assert content.count(bias) == 1
    model.write_bytes(content.replace(bias, np.full(5, np.nan, "<f4").tobytes()))
    manifest = (DEPLOY / MANIFEST).read_text().replace(file_sha256(whole), file_sha256(model))
    (tmp_path / "nan" / MANIFEST).write_text(manifest)
    return model


def run(inside, *arguments, model=DEPLOY / FLOAT):
    return inside("run.py", *arguments, "--model", model, "--detector", "none")


# A network that gives NaN


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_nan_from_a_network_is_no_answer(inside, nan, form):
    result = run(inside, "photo.png", "photo.png", "--save", "out", f"--{form}", model=nan)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    lines = json.loads(result.stdout) if form == "json" else map(json.loads, result.stdout.splitlines())
    problem = "the network gave no answer (NaN or infinity): is the model file whole?"
    assert list(lines) == [{"source": "photo.png", "problem": problem}] * 2
    assert result.stderr.count(f"error: photo.png: {problem}") == 2 and "2 got no answer" in result.stderr


def test_nan_is_a_users_error_to_programs(nan, tmp_path):
    with (
        pytest.warns(UserWarning, match="drawn faces"),
        fer_hailo.load(nan, detector="none") as model,
        pytest.raises(UserError, match="no answer"),
    ):
        model.predict(tmp_path / "photo.png")


# A detector that is none


def test_a_network_that_opens_but_is_no_yunet(inside, tmp_path):
    content = YUNET.read_bytes()
    assert content.count(b"cls_8") >= 2  # the name of an output
    (tmp_path / "other.onnx").write_bytes(content.replace(b"cls_8", b"clz_8"))
    assert isinstance(YuNetDetector(YUNET), YuNetDetector)
    with pytest.raises(UserError, match="other.onnx is no YuNet model"):
        YuNetDetector(tmp_path / "other.onnx")
    line = error_line(inside("run.py", "photo.png", "--model", DEPLOY, "--detector", "other.onnx"))
    assert "other.onnx is no YuNet model" in line


# Names and numbers


@pytest.mark.parametrize("number", ["9" * 20, "9" * 5000, "12345"])
def test_a_camera_of_a_number_that_no_camera_has(inside, number):
    assert f"camera {number} cannot be opened" in error_line(run(inside, number))


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + ".jpg", "x" * 300 + ".mp4", "[xy]" * 100])
def test_a_name_that_is_too_long_is_one_file_of_many(inside, name):
    result = run(inside, name, "photo.png", "--jsonl")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    first, second = [json.loads(line) for line in result.stdout.splitlines()]
    assert first["source"] == name and first["problem"] and len(second["faces"]) == 1


def test_the_longest_name_can_be_saved(inside, tmp_path):
    name = "ü" * 125 + ".png"  # 254 bytes
    shutil.copy(tmp_path / "photo.png", tmp_path / name)
    assert run(inside, name, "--save", "out").returncode == 0
    assert read_picture(tmp_path / "out" / name).shape == (60, 60, 3)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
