"""compile_hef.py --rehearse: what it measures, worked out by other means, and that it makes neither HAR nor
HEF.
"""

import dataclasses
import json
from pathlib import Path

import handmade
import numpy as np
import pytest
from conftest import assert_quiet, error_line
from handmade import (
    CALIBRATION,
    NAMES,
    TEST,
    VAL,
    accuracies,
    compile_hef,
    interpreted,
    networks,
    pictures,
    write_bundle,
)

from fer_hailo.common.files import read_csv
from fer_hailo.deploy.bundle import Bundle, load_bundle
from fer_hailo.deploy.manifest import Calibration
from fer_hailo.predict.litert import LiteRT
from fer_hailo.sdk.rehearsal import CalibrationFacts, calibration_facts, layer_noise, speed_bound

HEADING = "rehearsal: no HEF was made"


@pytest.fixture(scope="module")
def right(tmp_path_factory) -> Path:
    """An intact bundle. Do not change it."""
    return write_bundle(tmp_path_factory.mktemp("right") / "deploy")


@pytest.fixture(scope="module")
def rehearsed(right):
    """A rehearsal in a folder of its own: the result and the report."""
    result = compile_hef(right, "--rehearse", "--out", "out", cwd=right.parent, sdk=False)
    assert result.returncode == 0, result.stderr
    return result, json.loads((right.parent / "out" / "compile_report.json").read_text())


def test_the_report(right, rehearsed):
    result, facts = rehearsed
    assert_quiet(result)
    out = right.parent / "out"
    assert {path.name for path in out.iterdir()} == {"compile_report.json", "compile_report.html"}
    assert not [path for path in right.parent.rglob("*") if path.suffix in (".har", ".hef")]
    (row,) = {(row["stage"], row["split"]) for row in read_csv(right.parent / "results.csv")} - {
        ("emulated-int8", "test")
    }
    assert row == ("emulated-int8", "val")  # the TFLite files got theirs when they were made
    page = (out / "compile_report.html").read_text()
    assert (
        f"<h1>handmade for hailo8 ({HEADING})</h1>" in page
        and HEADING in result.stdout
        and facts["rehearsal"] is True
    )
    for part in (
        "What was emulated",
        "Accuracy at each step",
        "Calibration set",
        "Work for the chip",
        "Signal-to-noise",
        "<svg",
    ):
        assert part in page
    assert "664 parameters" in page
    assert "hef" not in facts and facts["settings"]["calibset_size"] == "64"


def test_accuracies(rehearsed):
    images = pictures()[0][: VAL + TEST]
    found = {
        stage: {split: m["accuracy"] for split, m in scores.items()}
        for stage, scores in rehearsed[1]["metrics"].items()
    }
    emulated = found.pop("emulated-int8")
    expected = {
        stage: accuracies(interpreted(networks()[key], images))
        for stage, key in (("tflite", "float"), ("tflite-int8", "int8"))
    }
    assert found == expected
    assert all(abs(emulated[split] - expected["tflite"][split]) < 0.05 for split in ("val", "test"))
    lost = 100 * (expected["tflite"]["val"] - emulated["val"])
    assert (
        rehearsed[1]["verdict"]["lost"] == pytest.approx(lost, abs=1e-6)
        and "(emulated-int8 " in rehearsed[0].stderr
    )


def test_sixteen_bits_and_what_is_ignored(right, tmp_path):
    lines = (
        'quantization_param(["stem", "depth"], '
        "precision_mode=a16_w16)\npre_quantization_optimization(equalization, policy=enabled)\n"
    )
    script = (right / "model.alls").read_text() + lines
    (tmp_path / "a16.alls").write_text(lines)  # what the network adds to its bundle's script
    result = compile_hef(
        right,
        "--rehearse",
        "--layers",
        tmp_path / "a16.alls",
        "--out",
        tmp_path / "out",
        cwd=tmp_path,
        sdk=False,
    )
    facts = json.loads((tmp_path / "out" / "compile_report.json").read_text())
    assert (
        "note: this network has h-swish or gates; in 8 bits mobilenet_v3_small_minimalistic" in result.stderr
    )
    assert (
        list(facts["metrics"]) == ["tflite", "tflite-int8", "emulated-int8", "emulated-a16"]
        and result.returncode == 0
    )
    assert (
        facts["emulation"]["wide"] == {"stem": "a16_w16", "depth": "a16_w16"}
        and facts["emulation"]["calibset_size"] == CALIBRATION
    )
    said = (
        f"line {len(script.splitlines())}: pre_quantization_optimization(equalization, policy=enabled): "
        "not emulated"
    )
    assert facts["emulation"]["ignored"][-1] == said and f"the emulation ignores {said}" in result.stderr
    assert (
        said in (tmp_path / "out" / "compile_report.html").read_text() and "(emulated-a16 " in result.stderr
    )
    assert facts["verdict"]["lost"] == pytest.approx(
        100
        * (
            facts["metrics"]["tflite"]["val"]["accuracy"]
            - facts["metrics"]["emulated-a16"]["val"]["accuracy"]
        ),
        abs=1e-6,
    )


def test_litert_gives_what_tensorflow_gives(right):
    images = pictures()[0][:20]
    for name, key in (("model_float32.tflite", "float"), ("model_int8.tflite", "int8")):
        given = LiteRT(right / name).logits(images, handmade.SPEC)
        # XNNPACK may round one step of the int8 output otherwise
        assert np.allclose(given, interpreted(networks()[key], images), atol=1e-5 if key == "float" else 0.1)


def test_noise_of_the_layers(right, rehearsed):
    """Against numpy, on the values of every tensor as TensorFlow's interpreter gives them."""
    import tensorflow as tf

    images, values = pictures()[0][-CALIBRATION:][:12], {}
    for key in ("float", "int8"):
        interpreter = tf.lite.Interpreter(
            model_content=networks()[key], experimental_preserve_all_tensors=True
        )
        interpreter.allocate_tensors()
        (source,) = interpreter.get_input_details()
        scale, zero = source["quantization"]
        rows: dict[str, list] = {}
        for image in images:
            scaled = (image[None].astype(np.float32) - np.float32(127.5)) / np.float32(127.5)
            fed = (
                np.clip(image[None].astype(int) - 127 + zero, -128, 127).astype(np.int8)
                if key == "int8"
                else scaled
            )
            interpreter.set_tensor(source["index"], fed)
            interpreter.invoke()
            for detail in interpreter.get_tensor_details():
                if detail["name"] in ("stem", "gate", "scale", "depth", "sum", "logits"):
                    step, offset = detail["quantization"]
                    raw = interpreter.get_tensor(detail["index"]).astype(np.float64)
                    rows.setdefault(detail["name"], []).append((raw - offset) * step if step else raw)
        values[key] = {name: np.concatenate([row.ravel() for row in some]) for name, some in rows.items()}
    expected = {
        name: 10 * np.log10(v.var() / ((v - values["int8"][name]) ** 2).mean())
        for name, v in values["float"].items()
    }
    found = layer_noise(load_bundle(right), images)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=0.01)
    assert list(found.values()) == sorted(found.values()) and set(rehearsed[1]["noise"]) == set(found)
    assert list(rehearsed[1]["noise"].values()) == sorted(rehearsed[1]["noise"].values())


@pytest.fixture
def calibrated(right, monkeypatch):
    """Facts about any calibration set of the bundle."""

    def facts(images: np.ndarray, per_class: list[int]) -> tuple[CalibrationFacts, list[str]]:
        bundle = load_bundle(right)
        monkeypatch.setattr(Bundle, "calibration", lambda self: images)
        counts = Calibration(len(images), tuple(per_class))
        return calibration_facts(
            dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, calibration=counts))
        )

    return facts


def test_calibration_statistics(calibrated):
    rng = np.random.default_rng(3)
    images = np.clip(rng.normal([90, 130, 170], [20, 60, 90], (1030, 16, 16, 3)), 0, 255).astype(np.uint8)
    images[7] = images[3]
    images[1029] = images[3]
    facts, warnings = calibrated(images, [300, 300, 200, 230])
    scaled = images / 127.5 - 1
    assert facts.mean == pytest.approx(scaled.mean((0, 1, 2)), abs=1e-4)
    assert facts.deviation == pytest.approx(scaled.std((0, 1, 2)), abs=1e-4)
    assert facts.clipped == pytest.approx(((images == 0) | (images == 255)).mean())
    assert (facts.count, facts.duplicates) == (1030, 2)
    assert facts.per_class == dict(zip(NAMES, [300, 300, 200, 230], strict=True))
    assert warnings == ["2 calibration images are copies of others"]


def test_calibration_warnings(calibrated):
    images = np.zeros((8, 16, 16, 3), np.uint8)
    images[:, :8] = 255
    images[:, 0, 0, 0] = np.arange(8)
    _, warnings = calibrated(images, [5, 2, 1, 0])
    assert warnings[0].startswith("8 calibration images: with fewer than 1024")
    assert warnings[1] == "the classes of the calibration set are not balanced: 5, 2, 1, 0 images"
    assert (
        warnings[2] == "100% of the calibration values are 0 or 255: over- or underexposed images"
        and len(warnings) == 3
    )
    dull = np.full((1024, 16, 16, 3), 128, np.uint8)
    dull[..., 0, :2] = np.arange(1024)[:, None, None] // 4 % 256
    _, warnings = calibrated(dull[:, :, :, [2, 2, 2]], [256] * 4)
    (only,) = [warning for warning in warnings if "copies" not in warning]
    assert (
        only
        == "after normalisation the calibration set has a deviation of [0.0, 0.0, 0.0], outside of 0.1 to 5"
    )


@pytest.mark.parametrize("arch, tops", [("hailo8", 26), ("hailo8r", 26), ("hailo8l", 13)])
def test_the_bound_of_the_speed(right, arch, tops):
    speed = speed_bound(load_bundle(right), arch)
    work = 3 * 3 * 3 * 12 * 64 + 12 * 12 + 3 * 3 * 12 * 64 + 12 * 4  # multiply-adds, of two operations each
    assert (speed.tops, speed.parameters, speed.multiply_adds) == (tops, 664, work) == (tops, 664, 27_840)
    assert speed.most_frames_per_second == pytest.approx(tops * 1e12 / (2 * work))
    assert {
        layer.name: layer.multiply_adds for layer in speed.layers if layer.multiply_adds
    } == handmade.MULTIPLY_ADDS


def test_quick_and_another_chip(right):
    result = compile_hef(
        right,
        "--rehearse",
        "--quick",
        16,
        "--hw-arch",
        "hailo8l",
        "--out",
        "small",
        cwd=right.parent,
        sdk=False,
    )
    facts = json.loads((right.parent / "small" / "compile_report.json").read_text())
    assert result.returncode in (0, 3) and facts["quick"] == 16 and facts["speed"]["tops"] == 13
    for split in ("val", "test"):  # the four classes are of one size
        assert [sum(row) for row in facts["metrics"]["tflite"][split]["confusion_matrix"]] == [4, 4, 4, 4]
    assert facts["reference"] == {}


def test_a_loss_gives_3_after_the_report_is_written(tmp_path):
    """Calibrated on dark images, all that is brighter is cut off.

    The INT8 TFLite, which is right, does not excuse it.
    """
    write_bundle(tmp_path / "deploy", calibration=pictures()[0][-CALIBRATION:] // 6)
    result = compile_hef("deploy", "--rehearse", "--max-drop", 0, cwd=tmp_path, sdk=False)
    facts = json.loads((tmp_path / "deploy" / "rehearsal_hailo8" / "compile_report.json").read_text())
    accuracy = {stage: scores["val"]["accuracy"] for stage, scores in facts["metrics"].items()}
    assert accuracy["emulated-int8"] < accuracy["tflite"] and result.returncode == 3, (
        accuracy,
        result.stderr,
    )
    assert facts["verdict"]["causes"] == ["quantization"] and "signal-to-noise" in result.stderr
    assert compile_hef("deploy", "--rehearse", "--max-drop", 100, cwd=tmp_path, sdk=False).returncode == 0


def test_operators_that_the_parser_may_refuse_are_named(tmp_path):
    write_bundle(tmp_path / "deploy", float32="cut")
    result = compile_hef("deploy", "--rehearse", "--max-drop", 100, cwd=tmp_path, sdk=False)
    assert (
        result.stderr.count("no integer emulation of this network: head_pool_exp (EXP) is not emulated") == 1
    )
    facts = json.loads((tmp_path / "deploy" / "rehearsal_hailo8" / "compile_report.json").read_text())
    assert (
        list(facts["metrics"]) == ["tflite", "tflite-int8"] and facts["emulation"] is None and facts["noise"]
    )
    assert "warning: head_pool_exp (EXP): the Dataflow Compiler's parser may not take it" in result.stderr


def test_without_litert_nothing_slow_begins(right, tmp_path):
    absent = "import sys; sys.modules['ai_edge_litert'] = sys.modules['tensorflow'] = None"
    result = compile_hef(right, "--rehearse", "--out", "out", cwd=tmp_path, sdk=False, before=absent)
    assert "pip install ai-edge-litert" in error_line(result) and "measuring" not in result.stderr


def test_rehearsing_runs_no_steps(right):
    assert "leave out --steps" in error_line(
        compile_hef(right, "--rehearse", "--steps", "parse", cwd=right.parent, sdk=False)
    )


def test_a_layer_that_the_network_does_not_have_is_found_before_the_parse(right, tmp_path):
    script = (right / "model.alls").read_text() + 'quantization_param("stm", precision_mode=a16_w16)\n'
    (tmp_path / "a16.alls").write_text(script)
    said = error_line(
        compile_hef(
            right, "--rehearse", "--alls", tmp_path / "a16.alls", "--out", tmp_path, cwd=tmp_path, sdk=False
        )
    )
    line = len(script.splitlines())
    assert f"a16.alls: line {line}, column 20: no layer of " in said and said.endswith(
        'comes from "stm" (did you mean stem?)'
    )


def test_a_bundle_without_int8_is_rehearsed_without_it(tmp_path):
    folder = write_bundle(tmp_path / "deploy")
    (folder / "model_int8.tflite").unlink()
    handmade.reseal(folder, without={"model_int8.tflite": "no INT8 kernel for strange (EXP)"})
    assert load_bundle(folder).int8 is None
    result = compile_hef(folder, "--rehearse", "--out", "out", cwd=tmp_path, sdk=False)
    assert result.returncode == 0, result.stderr
    assert (
        "there is no model_int8.tflite (no INT8 kernel for strange (EXP)): it is not scored" in result.stderr
    )
    facts = json.loads((tmp_path / "out" / "compile_report.json").read_text())
    assert (
        set(facts["metrics"]) == {"tflite", "emulated-int8"}
        and facts["noise"]
        and facts["verdict"]["lost"] is not None
    )
    assert facts["settings"]["bias_correction"] == "enabled"
