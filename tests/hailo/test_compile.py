"""compile_hef.py with the double of the SDK: the whole chain, and whatever may go wrong in it."""

import contextlib
import csv
import dataclasses
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import handmade
import numpy as np
import pytest
from conftest import ROOT, error_line
from handmade import (
    CALIBRATION,
    TEST,
    VAL,
    accuracies,
    compile_hef,
    interpreted,
    networks,
    pictures,
    write_bundle,
)

from fer_hailo.common.errors import UserError
from fer_hailo.common.metrics import compute_metrics
from fer_hailo.deploy.bundle import load_bundle
from fer_hailo.formats.har import read_har
from fer_hailo.formats.hef import read_hef
from fer_hailo.script.layers import Layers
from fer_hailo.script.settings import settings_of
from fer_hailo.sdk import client as sdk
from fer_hailo.sdk import log
from fer_hailo.sdk.compile import _lowered
from fer_hailo.sdk.expect import what_to_expect
from fer_hailo.sdk.noise import noise_of
from fer_hailo.sdk.parse import check_parsed
from fer_hailo.sdk.reason import advice_for, reason_of
from fer_hailo.sdk.verdict import concerns_of, judge

ARTEFACTS = [
    "effective.alls",
    "int8_answers.npz",
    "model.har",
    "model.hef",
    "model_quantized.har",
    "sdk.log",
    "steps.json",
]
QUOTED = handmade.SCRIPT + 'quantization_param(["stem", "depth"], precision_mode=a16_w16)\n'
FULL_DISK = """
import errno, os
sync = os.fsync
def full(number):
    if os.readlink(f"/proc/self/fd/{number}").endswith(%r):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    sync(number)
os.fsync = full
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A bundle that was compiled with a script that names two layers after the TFLite.

    Do not change it: copy it.
    """
    folder = tmp_path_factory.mktemp("whole")
    write_bundle(folder / "deploy", script=QUOTED)
    result = compile_hef("deploy", "--max-drop", 2, cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder, result


@pytest.fixture
def compiled(whole, tmp_path):
    """A copy of it, to be changed."""
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A bundle to compile into folders of one's own. Do not change it."""
    return write_bundle(tmp_path_factory.mktemp("fresh") / "deploy")


def report(folder) -> dict:
    return json.loads((folder / "compile_report.json").read_text())


def contents(folder) -> dict:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def rows(folder) -> list[dict]:
    with open(folder / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def member(har, name: str) -> bytes:
    with tarfile.open(har) as archive:
        return archive.extractfile(name).read()


def test_the_whole_chain(whole):
    folder, result = whole
    out = folder / "deploy" / "hailo8"
    facts, images = report(out), pictures()[0][: VAL + TEST]
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    assert names == {*ARTEFACTS, "compile_report.json", "compile_report.html"}

    native = accuracies(interpreted(networks()["float"], images))
    quantized = member(out / "model_quantized.har", "colours.double.q.tflite")
    int8 = accuracies(interpreted(quantized, images))
    found = {
        stage: {split: m["accuracy"] for split, m in scores.items()}
        for stage, scores in facts["metrics"].items()
    }
    # But for the input's rounding
    assert found == {"har-native": native, "har-fp": native, "har-int8": pytest.approx(int8, abs=0.02)}
    assert (
        facts["agreement"]["har-native"] == 1
        and facts["verdict"]["causes"] == []
        and facts["verdict"]["allowed"] == 2
    )
    assert f"har-native val {native['val']:.2%} test {native['test']:.2%}" in " ".join(result.stdout.split())
    assert "100.00% as the float TFLite" in result.stdout
    assert (
        "written: deploy/hailo8/model.hef" in result.stdout
        and "report: deploy/hailo8/compile_report.html" in result.stdout
    )

    assert {(row["run"], row["stage"], row["split"]) for row in rows(folder)} == {
        ("handmade", stage, split)
        for stage in ("har-native", "har-fp", "har-int8")
        for split in ("val", "test")
    }
    for row in rows(folder):
        reference = found["har-native"][row["split"]]
        assert float(row["accuracy"]) == pytest.approx(found[row["stage"]][row["split"]], abs=1e-6)
        assert float(row["drop"]) == pytest.approx(reference - found[row["stage"]][row["split"]], abs=1e-6)
        assert (row["commit"], row["seed"], row["count"]) == (
            "0123abc",
            "7",
            str(VAL if row["split"] == "val" else TEST),
        )

    hef = read_hef(out / "model.hef")
    (stream,), (answer,) = hef.groups[0].inputs, hef.groups[0].outputs
    assert (hef.architecture, stream.shape, answer.shape[-1], stream.normalised_on_chip) == (
        "HAILO8",
        (16, 16, 3),
        4,
        True,
    )
    assert facts["hef"]["architecture"] == "HAILO8" and facts["versions"]["Dataflow Compiler"] == "3.33.0"
    assert facts["versions"]["parsed"] == "model_float32.tflite"
    assert "parse: the parser took model_float32.tflite: 10 layers\n" in result.stderr
    assert facts["settings"]["precision_mode of [colours/conv1, colours/dw1]"] == "a16_w16"
    assert facts["settings"]["calibset_size"] == "64" and set(facts["seconds"]) == {
        "parse",
        "optimize",
        "compile",
    }
    assert {"colours/conv1", "colours/fc1"} <= set(facts["noise"]) and all(
        np.isfinite(list(facts["noise"].values()))
    )
    page = (out / "compile_report.html").read_text()
    assert "<h1>handmade for hailo8</h1>" in page and "rehearsal" not in page and page.count("<svg") >= 4
    assert f"{native['val']:.2%}" in page and "Signal-to-noise" in page


def test_the_first_hour_quotes_what_is_printed(whole):
    """docs/first-contact.md, but for numbers, paths, and what other calls than this one print."""

    def masked(line: str) -> str:
        line = re.sub(r"(RUN/)?deploy/hailo8/(try_fast/)?", "OUT/", line)
        return " ".join(re.sub(r"-?\d[\d.]*", "N", line).split())

    printed = {masked(line) for line in f"{whole[1].stdout}\n{whole[1].stderr}".splitlines()}
    blocks = (ROOT / "docs/first-contact.md").read_text().split("```")[1::2]
    quoted = [masked(line) for block in blocks for line in block.splitlines()]
    starts = ("parse: begins", "parse: done", "optimize: begins", "optimize: done", "compile: ", "scoring ")
    starts += ("har-", "written: OUT", "report: ", "accuracy lost from float to INTN: N")
    found = [line for line in quoted if line.startswith(starts)]
    assert len(found) > 20 and set(found) <= printed


def test_the_int8_answers_are_kept_picture_by_picture(compiled):
    out = compiled / "deploy" / "hailo8"
    images, labels = (part[: VAL + TEST] for part in pictures())
    known = interpreted(member(out / "model_quantized.har", "colours.double.q.tflite"), images)

    def kept() -> dict:
        with np.load(out / "int8_answers.npz") as file:
            return {name: file[name] for name in file.files}

    def recorded() -> dict:
        return json.loads((out / "steps.json").read_text())["optimize"]["scores"]

    whole = kept()
    assert whole["logits"].dtype == np.float32 and whole["logits"].shape == (VAL + TEST, 4)
    assert np.abs(whole["logits"] - known).mean() < 0.1 * known.std()  # but for the input's rounding
    assert whole["index"].tolist() == list(range(VAL + TEST))
    assert (
        str(whole["evaluation"])
        == hashlib.sha256((compiled / "deploy" / "eval_set.npz").read_bytes()).hexdigest()
    )
    right = whole["logits"].argmax(1) == labels
    scores = report(out)["metrics"]["har-int8"]
    assert [scores[split]["accuracy"] for split in ("val", "test")] == [
        right[:VAL].mean(),
        right[VAL:].mean(),
    ]
    assert recorded()["answers"] == hashlib.sha256((out / "int8_answers.npz").read_bytes()).hexdigest()
    page = (out / "compile_report.html").read_text()
    assert "int8_answers.npz keeps the INT8 predictions" in page
    for name, count in (
        ("bytes_to_chip", 16 * 16 * 3),
        ("bytes_from_chip", 8),
    ):  # four bytes, in a buffer of 8
        assert report(out)["hef"][name] == count and f"<td>{name}</td><td>{count}</td>" in page

    (out / "int8_answers.npz").write_bytes(b"damaged")  # scored again, though nothing is made again
    again = compile_hef("deploy", "--max-drop", 2, cwd=compiled)
    assert (
        again.returncode == 0
        and again.stderr.count("is up to date") == 3
        and np.array_equal(kept()["logits"], whole["logits"])
    )

    compile_hef("deploy", "--quick", 40, cwd=compiled)
    part = kept()
    assert (
        len(part["index"]) == 80 and (np.diff(part["index"]) > 0).all() and (part["index"] < VAL).sum() == 40
    )
    assert np.array_equal(part["logits"], whole["logits"][part["index"]])
    assert recorded()["answers"] == hashlib.sha256((out / "int8_answers.npz").read_bytes()).hexdigest()


def test_quoted_layer_names_reach_the_sdk_as_its_own(whole):
    out = whole[0] / "deploy" / "hailo8"
    effective = (out / "effective.alls").read_text()
    assert (
        "quantization_param([colours/conv1, colours/dw1], precision_mode=a16_w16)" in effective
        and '"' not in effective
    )
    layers = json.loads(member(out / "model.har", "colours.hn"))["layers"]
    assert (
        "stem" in layers["colours/conv1"]["original_names"]
        and "depth" in layers["colours/dw1"]["original_names"]
    )
    assert json.loads(member(out / "model_quantized.har", "colours.metadata.json"))["script"] == effective


def test_a_second_run_makes_and_adds_nothing(compiled):
    out = compiled / "deploy" / "hailo8"
    before, lines = contents(out), rows(compiled)
    again = compile_hef("deploy", "--max-drop", 2, cwd=compiled)
    assert again.returncode == 0 and again.stderr.count("is up to date") == 3
    assert {name: before[name] for name in ARTEFACTS} == {name: contents(out)[name] for name in ARTEFACTS}
    assert rows(compiled) == lines

    # Another number of images costs no second optimization
    quick = compile_hef("deploy", "--quick", 40, cwd=compiled)
    assert quick.returncode in (0, 3) and quick.stderr.count("is up to date") == 3
    assert {split: m["count"] for split, m in report(out)["metrics"]["har-int8"].items()} == {
        "val": 40,
        "test": 40,
    }
    assert all(
        before[name] == contents(out)[name] for name in ("model.har", "model_quantized.har", "model.hef")
    )
    added = rows(compiled)[len(lines) :]
    assert (
        len(added) == 6
        and {row["count"] for row in added} == {"40"}
        and {row["drop"] for row in added} == {""}
    )
    assert not {row["sha256"] for row in added} & {row["sha256"] for row in lines}


def test_steps_are_run_when_asked_for(compiled):
    out = compiled / "deploy" / "hailo8"
    before = json.loads((out / "steps.json").read_text())
    (out / "model.hef").unlink()
    assert "no HEF yet" in compile_hef("deploy", "--steps", "parse", cwd=compiled).stdout
    after = json.loads((out / "steps.json").read_text())
    assert (
        list(after) == ["parse"]
        and after["parse"]["scores"]["metrics"] == before["parse"]["scores"]["metrics"]
    )
    line = error_line(compile_hef("deploy", "--steps", "compile", cwd=compiled))
    assert (
        "model_quantized.har is missing, or was made from another" in line
        and "--steps optimize,compile" in line
    )
    # In any order
    done = compile_hef("deploy", "--steps", "compile, optimize", "--max-drop", 5, cwd=compiled)
    assert done.returncode == 0 and "is up to date" not in done.stderr and (out / "model.hef").exists()


def test_a_stale_artefact_is_named(compiled):
    out, bundle = compiled / "deploy" / "hailo8", compiled / "deploy"
    other = compiled / "other.alls"
    other.write_text(handmade.SCRIPT)
    line = error_line(compile_hef("deploy", "--alls", other, "--steps", "compile", cwd=compiled))
    assert (
        "model_quantized.har" in line
        and "another bundle, script or architecture" in line
        and "--steps optimize,compile" in line
    )
    line = error_line(
        compile_hef("deploy", "--hw-arch", "hailo8l", "--out", out, "--steps", "optimize", cwd=compiled)
    )
    assert "model.har is missing" in line and "--steps parse,optimize,compile" in line
    handmade.reseal(bundle, name="renamed")
    assert "model.har" in error_line(compile_hef("deploy", "--steps", "compile", cwd=compiled))
    (out / "steps.json").write_text('{"parse": {"inputs": 1}, "optimize": [')
    assert "model.har" in error_line(compile_hef("deploy", "--steps", "optimize", cwd=compiled))
    # The plain command puts all right again
    redone = compile_hef("deploy", "--alls", other, "--max-drop", 5, cwd=compiled)
    assert redone.returncode == 0 and "is up to date" not in redone.stderr
    assert (
        '"depth"' not in (out / "effective.alls").read_text()
        and read_hef(out / "model.hef").architecture == "HAILO8"
    )


@pytest.mark.parametrize("arch, shown", [("hailo8l", "HAILO8L"), ("hailo8r", "HAILO8R")])
def test_other_chips(fresh, tmp_path, arch, shown):
    result = compile_hef(fresh, "--hw-arch", arch, "--out", tmp_path / "out", "--max-drop", 5, cwd=tmp_path)
    assert result.returncode == 0 and read_hef(tmp_path / "out" / "model.hef").architecture == shown


def test_the_parser_recommends_end_nodes(fresh, tmp_path):
    result = compile_hef(
        fresh, "--out", "out", "--max-drop", 5, cwd=tmp_path, parse="recommend", hn_as_string=True
    )
    said = "it was run again with the end nodes that it recommended: logits"
    assert result.returncode == 0 and "warning: the parser stopped (Parsing failed: " in result.stderr
    assert f"{said}\n" in result.stderr and any(
        said in warning for warning in report(tmp_path / "out")["warnings"]
    )
    assert said in (tmp_path / "out" / "compile_report.html").read_text()


def test_a_network_without_its_end_is_refused(tmp_path):
    write_bundle(tmp_path / "deploy", float32="cut", plain="cut")
    result = compile_hef("deploy", cwd=tmp_path)
    line = error_line(result)
    said = "with shape [-1, 1, 1, 12], not with 4 logits: the parser cut off its end"
    assert line.startswith("error: parse: model_float32_primitive.tflite: the parser stopped (Parsing failed")
    assert "unsupported operators: EXP" in line and said in line and "conversion.html" in line
    # Both reasons, each in a line
    (first,) = [line for line in result.stderr.splitlines() if line.startswith("parse: model_float32.tflite")]
    assert said in first and "Traceback" not in result.stderr
    assert not list((tmp_path / "deploy" / "hailo8").glob("*.har"))


def test_the_parser_takes_the_second_road(fresh, tmp_path):
    """It does not know HARD_SWISH, and recommends a network without its end; layers keep their names."""
    (tmp_path / "x.alls").write_text(QUOTED)
    arguments = (fresh, "--alls", "x.alls", "--out", "out", "--max-drop", 5)
    result = compile_hef(*arguments, cwd=tmp_path, refuses=["HARD_SWISH"])
    assert result.returncode == 0, result.stderr
    steps, facts = json.loads((tmp_path / "out/steps.json").read_text()), report(tmp_path / "out")
    assert steps["parse"]["parsed"] == facts["versions"]["parsed"] == "model_float32_primitive.tflite"
    said = "the parser did not take model_float32.tflite: model_float32_primitive.tflite was parsed"
    assert any(note.startswith(said) for note in steps["parse"]["notes"])
    assert f"warning: {said}" in result.stderr and said in (tmp_path / "out/compile_report.html").read_text()
    assert "unsupported operators: HARD_SWISH" in result.stderr and "cut off its end" in result.stderr
    assert facts["agreement"]["har-native"] == 1  # with the first road's TFLite
    layers = Layers.from_har(tmp_path / "out/model.har")
    assert layers.layers["colours/dw1"].original_names == ("stem_hard_swish_gate",)
    # With a layer goes its h-swish, which is three layers here
    assert "quantization_param([colours/conv1, colours/dw1, colours/dw2, colours/ew_mult1, colours/dw3]" in (
        (tmp_path / "out/effective.alls").read_text()
    )
    again = compile_hef(*arguments, cwd=tmp_path, refuses=["HARD_SWISH"])
    assert again.stderr.count("is up to date") == 3


def test_the_parser_takes_neither_road(fresh, tmp_path):
    result = compile_hef(fresh, "--out", "out", "--steps", "parse", cwd=tmp_path, refuses=["CONV_2D"])
    line = error_line(result)
    reason = "UnsupportedModelError: unsupported operators: CONV_2D (stem)"
    assert line.startswith("error: parse: model_float32_primitive.tflite: the parser does not take this kind")
    assert reason in line
    (first,) = [line for line in result.stderr.splitlines() if line.startswith("parse: model_float32.tflite")]
    assert reason in first and list((tmp_path / "out").glob("*.har")) == []


@pytest.mark.parametrize("kind, text", [("MemoryError", "no memory"), ("RuntimeError", "std::bad_alloc")])
def test_another_file_does_not_help_where_memory_ran_out(fresh, tmp_path, kind, text):
    raises = {"parse": [kind, text]}
    result = compile_hef(fresh, "--out", "out", "--steps", "parse", cwd=tmp_path, raises=raises)
    assert text in error_line(result) and "primitive" not in result.stderr


def test_a_bundle_without_a_second_road_says_so(fresh, tmp_path):
    older = shutil.copytree(fresh, tmp_path / "deploy")
    (older / "model_float32_primitive.tflite").unlink()
    files = json.loads((older / "manifest.json").read_text())["files"]
    del files["model_float32_primitive.tflite"]
    handmade.reseal(older, files=files)
    line = error_line(compile_hef("deploy", "--steps", "parse", cwd=tmp_path, refuses=["HARD_SWISH"]))
    assert "no model_float32_primitive.tflite to try (convert the model again for it)" in line


@pytest.mark.parametrize("rank", [2, 4])
def test_answers_of_any_rank(fresh, tmp_path, rank):
    result = compile_hef(fresh, "--out", "out", "--max-drop", 5, "--quick", 8, cwd=tmp_path, rank=rank)
    assert result.returncode == 0 and report(tmp_path / "out")["agreement"]["har-native"] == 1


FAULTS = {
    "bad_shape": (
        {"bad_shape": True},
        ["optimize: the calibration images do not have the shape", "BadInputsShape"],
        ["model.har"],
    ),
    "allocator": (
        {"allocator": "fail"},
        ["compile: the compiler found no place for the network on the chip; try", "Agent infeasible"],
        ["model.har", "model_quantized.har"],
    ),
    "nan": (
        {"nan": True},
        ["har-int8: the model gives values that are not finite", "look for"],
        ["model.har", "model_quantized.har"],
    ),
    "chip": (
        {"wrong_arch_in_hef": True},
        ["compile: the HEF is not what was asked for: it is for HAILO8", "not HAILO8;", "model_rejected.hef"],
        ["model.har", "model_quantized.har", "model_rejected.hef"],
    ),
    "bytes": (
        {"no_bytes_in_hef": True},
        [
            "does not take the bytes 0..255 that the board sends",
            "needs a normalization",
            "model_rejected.hef",
        ],
        ["model.har", "model_quantized.har", "model_rejected.hef"],
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_end_in_one_line_and_leave_no_hef(fresh, tmp_path, name):
    switches, words, left = FAULTS[name]
    line = error_line(compile_hef(fresh, "--out", "out", cwd=tmp_path, **switches))
    assert all(word in line for word in words), line
    assert sorted(path.name for path in (tmp_path / "out").glob("*.h[ae][rf]")) == left
    assert not list((tmp_path / "out").glob(".*.h[ae][rf]"))


def test_a_fault_keeps_the_hef_that_was_there(compiled):
    out = compiled / "deploy" / "hailo8"
    before = (out / "model.hef").read_bytes()
    error_line(compile_hef("deploy", "--steps", "compile", cwd=compiled, wrong_arch_in_hef=True))
    assert (out / "model.hef").read_bytes() == before
    assert compile_hef("deploy", "--steps", "compile", "--max-drop", 5, cwd=compiled).returncode == 0
    assert not (out / "model_rejected.hef").exists()


def test_what_the_sdk_does_silently_is_told(tmp_path):
    script = handmade.SCRIPT.replace("optimization_level=0", "optimization_level=2")
    write_bundle(tmp_path / "deploy", script=script)
    result = compile_hef("deploy", "--max-drop", 100, cwd=tmp_path, level=0, compression4=True)
    facts = report(tmp_path / "deploy" / "hailo8")
    page = (tmp_path / "deploy" / "hailo8" / "compile_report.html").read_text()
    assert result.returncode == 0
    said = "the script asks for optimization_level 2, the SDK worked with 0"  # the HAR has it
    assert f"warning: {said}" in result.stderr and said in facts["warnings"]
    assert (
        result.stderr.count("warning: the SDK chose 4-bit weights") == 1
        and "(and 3 more such lines in sdk.log)" in result.stderr
    )
    assert page.count(f"<p class=warn>{said}") == 1 and page.count("<p class=warn>the SDK chose 4-bit") == 1
    text = (tmp_path / "deploy" / "hailo8" / "sdk.log").read_text()
    # From C, and by print
    assert "Searching for a better partition" in text and "Translation started" in text


def test_a_stated_level_is_kept_without_a_gpu(tmp_path):
    script = handmade.SCRIPT.replace("optimization_level=0", "optimization_level=2")
    write_bundle(tmp_path / "deploy", script=script)
    result = compile_hef("deploy", "--max-drop", 100, cwd=tmp_path, downgrade=True)
    assert result.returncode == 0 and "the SDK worked with" not in result.stderr
    har = read_har(tmp_path / "deploy/hailo8/model_quantized.har")
    assert har.levels == (2, 0) and "optimization_level=2" in har.script
    begins = result.stderr.index("optimize: level 2 fine-tunes the quantized network")
    assert begins < result.stderr.index("Starting Model Optimization")
    # Which only the import says
    assert (tmp_path / "deploy/hailo8/sdk.log").read_text().startswith("[info] No GPU chosen")
    assert result.stderr.count("warning: the SDK found no GPU") == 1


def test_bad_numbers_of_layers_stand_in_the_verdict(fresh, tmp_path):
    """With an empty table of noise, from the log's own lines."""
    switches = {"reduced": {"colours/conv1": 5, "colours/dw1": 6}, "no_statistics": True}
    (tmp_path / "two.alls").write_text(handmade.SCRIPT.replace("level=0, c", "level=2, c"))
    arguments = (fresh, "--alls", "two.alls", "--out", "out", "--max-drop", 100)
    result = compile_hef(*arguments, cwd=tmp_path, compression4=True, **switches)
    facts = report(tmp_path / "out")
    (ratio,) = facts["noise"].values()
    text = (tmp_path / "out/sdk.log").read_text()
    assert f"colours/output_layer1 SNR:\t{ratio:.4g} dB" in text and list(facts["noise"]) == [
        "colours/output_layer1"
    ]
    reduced = "the SDK reduced the output bits of colours/conv1 by 5, colours/dw1 by 6: try --layers"
    noisy = [f"the output colours/output_layer1 is mostly noise, {ratio:.3g} dB"] if ratio <= 10 else []
    concerns = facts["verdict"]["concerns"]
    assert all(said.startswith(start) for said, start in zip(concerns, [reduced, *noisy], strict=True))
    page = (tmp_path / "out/compile_report.html").read_text()
    assert result.returncode == 0 and result.stderr.count(reduced) == page.count(reduced) == 1
    told = "no noise of the layers: the report cannot tell which of them lose accuracy; its log tells of the"
    assert told in result.stderr and told in page


def test_concerns():
    noise = {"net/output_layer1": 10.0, "net/output_layer2": 10.1, "net/conv1": 2.0}
    (said,) = concerns_of([], noise)
    assert "the output net/output_layer1 is mostly noise, 10 dB" in said and "negative_exponent" in said
    assert "mobilenet_v3_small_minimalistic" in said
    (simple,) = concerns_of([], noise, simple=True)
    assert "negative_exponent" in simple and "minimalistic" not in simple  # it is of that kind already
    assert concerns_of([], {}) == [] and len(concerns_of(["net/conv1 by 5"], noise)) == 2


@pytest.mark.parametrize(
    "level, more, said",
    [
        ("optimization_level=2, ", "", "level 2 fine-tunes the quantized network"),
        ("optimization_level=2, ", "(finetune, policy=disabled)", "level 2 without fine-tuning"),
        ("optimization_level=0, ", "", "level 0 without fine-tuning"),
        ("optimization_level=0, ", "(finetune, policy=enabled)", "the script asks for fine-tuning"),
        ("optimization_level=4, ", "", "level 4 uses AdaRound"),
        ("", "", "the script states no optimization level"),
    ],
)
def test_what_the_optimization_will_do(level, more, said):
    script = f"model_optimization_flavor({level}compression_level=0)\n"
    assert what_to_expect(script + (f"post_quantization_optimization{more}" if more else "")).startswith(said)


def test_a_hef_is_not_refused_for_a_name(fresh, tmp_path):
    result = compile_hef(
        fresh, "--out", "out", "--max-drop", 5, cwd=tmp_path, no_normalization_in_hef=True, no_statistics=True
    )
    assert result.returncode == 0 and (tmp_path / "out/model.hef").exists()
    assert "warning: no name in the HEF proves that the chip normalises" in result.stderr
    assert "measured no noise of the layers" in result.stderr and report(tmp_path / "out")["noise"] == {}


def test_noise_from_flat_and_from_nested_statistics():
    flat = {
        "net/conv1/layer_noise_analysis/snr": np.array([12.5, 7.0]),
        "net/fc1/layer_noise_analysis/snr": np.inf,
    }
    nested = {"net/conv1": {"layer_noise_analysis/snr": 7.0}, "net/fc1": {"other": 3.0}}
    for statistics in (flat, nested):
        assert noise_of(statistics, ["net/conv1", "net/fc1", "net/none"]) == {"net/conv1": 7.0}
    assert noise_of({}, ["net/conv1"]) == {} == noise_of(None, ["net/conv1"])


def test_a_har_that_cannot_be_described_loses_nothing(tmp_path):
    """It took hours to make, and its levels are only to be compared."""
    (tmp_path / "model_quantized.har").write_bytes(b"of a kind that nobody has seen")
    (note,) = _lowered(type("Job", (), {"out": tmp_path}), handmade.SCRIPT)
    assert "the levels that took effect are not known" in note and "is not a HAR" in note


def test_a_constant_that_the_parser_made_a_layer_of_is_told(fresh):
    layers = {
        "net/input_layer1": {"type": "input_layer", "output_shapes": [[-1, 16, 16, 3]]},
        "net/normalization1": {"type": "normalization", "original_names": ["gate_mul"]},
    }
    hn, bundle = {"name": "net", "layers": layers}, load_bundle(fresh)
    notes = check_parsed(bundle, hn, Layers.from_hn(hn))
    assert "normalization layer net/normalization1 (of gate_mul): a MUL by a constant" in notes[0]


def test_scripts_are_tried_and_compared(fresh, tmp_path):
    script = (fresh / "model.alls").read_text()
    (tmp_path / "plain.alls").write_text(script)
    (tmp_path / "wide.alls").write_text(
        script + 'quantization_param(["stem", "depth"], precision_mode=a16_w16)\n'
    )
    arguments = (fresh, "--out", "out", "--max-drop", 100, "--quick", 20, "--try", "plain.alls", "wide.alls")
    result = compile_hef(*arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines() if line.split()[:1] in (["plain"], ["wide"])]
    kept = {
        name: report(tmp_path / "out" / f"try_{name}")["metrics"]["har-int8"]["val"]
        for name in ("plain", "wide")
    }
    assert {row[0]: row[1] for row in rows} == {name: f"{m['accuracy']:.2%}" for name, m in kept.items()}
    assert [row[1] for row in rows] == sorted((row[1] for row in rows), reverse=True)
    assert not list((tmp_path / "out").rglob("*.hef"))
    again = compile_hef(*arguments, cwd=tmp_path)
    assert again.stderr.count("is up to date") == 4  # parse and optimization of each
    line = error_line(compile_hef(fresh, "--try", "plain.alls", "./plain.alls", cwd=tmp_path))
    assert "two scripts called plain" in line
    assert "leave out --alls" in error_line(
        compile_hef(fresh, "--alls", "plain.alls", "--try", "wide.alls", cwd=tmp_path)
    )


def test_strict_stops_at_a_warning(fresh, tmp_path):
    (tmp_path / "x.alls").write_text((fresh / "model.alls").read_text() + "performance_param(turbo=1)\n")
    line = error_line(
        compile_hef(fresh, "--alls", "x.alls", "--strict", "--rehearse", "--out", "out", cwd=tmp_path)
    )
    assert "x.alls has 1 error, see above" in line


def test_a_subtle_fault_of_the_parse_gives_3(fresh, tmp_path):
    result = compile_hef(fresh, "--out", "out", "--max-drop", 100, cwd=tmp_path, parse_wrong=True)
    facts = report(tmp_path / "out")
    assert (
        result.returncode == 3
        and facts["verdict"]["causes"] == ["parse"]
        and facts["agreement"]["har-native"] < 0.99
    )
    assert (
        "a fault of the parse" in result.stderr
        and "a fault of the parse" in (tmp_path / "out" / "compile_report.html").read_text()
    )
    assert (
        set(ARTEFACTS) <= {path.name for path in (tmp_path / "out").iterdir()}
        and len(rows(fresh.parent)) >= 6
    )


def test_accuracy_lost_by_quantization_gives_3_after_all_is_saved(tmp_path):
    dull = np.full((CALIBRATION, 16, 16, 3), 130, np.uint8)  # images that do not show what values there are
    write_bundle(tmp_path / "deploy", calibration=dull)
    result = compile_hef("deploy", cwd=tmp_path)
    out = tmp_path / "deploy" / "hailo8"
    facts = report(out)
    accuracy = {stage: scores["val"]["accuracy"] for stage, scores in facts["metrics"].items()}
    assert accuracy["har-int8"] < accuracy["har-fp"] == accuracy["har-native"]
    assert facts["verdict"]["lost"] == pytest.approx(100 * (accuracy["har-native"] - accuracy["har-int8"]))
    assert (
        result.returncode == 3
        and facts["verdict"]["causes"] == ["quantization"]
        and "NETWORK_a16.alls (--layers)" in result.stderr
    )
    assert set(ARTEFACTS) <= {path.name for path in out.iterdir()} and len(rows(tmp_path)) == 6


@pytest.mark.parametrize(
    "switches, ready",
    [
        ({"kill_before": "optimize"}, 1),
        ({"kill_after": "parse"}, 1),
        ({"kill_after": "optimize"}, 2),
        ({"kill_before": "compile"}, 2),
    ],
)
def test_killed_between_steps_and_started_again(fresh, tmp_path, switches, ready):
    killed = compile_hef(fresh, "--out", "out", cwd=tmp_path, **switches)
    assert killed.returncode == -signal.SIGKILL and not (tmp_path / "out" / "model.hef").exists()
    again = compile_hef(fresh, "--out", "out", "--max-drop", 5, cwd=tmp_path)
    assert again.returncode == 0 and again.stderr.count("is up to date") == ready, again.stderr
    assert set(report(tmp_path / "out")["metrics"]) == {"har-native", "har-fp", "har-int8"}
    assert read_hef(tmp_path / "out" / "model.hef").architecture == "HAILO8"


@pytest.mark.parametrize("full", [".har", ".hef", ".json"])
def test_a_full_disk_loses_nothing(compiled, full):
    out = compiled / "deploy" / "hailo8"
    before = contents(out)
    steps = "compile" if full == ".hef" else "optimize,compile"
    line = error_line(compile_hef("deploy", "--steps", steps, cwd=compiled, before=FULL_DISK % full))
    assert "No space left on device" in line and "make room" in line
    after = contents(out)
    kept = set(before) - {"sdk.log"} - ({"model_quantized.har"} if full == ".json" else set())
    assert {name: after.get(name) for name in kept} == {name: before[name] for name in kept}
    assert set(after) == set(before)  # no half-written file
    assert compile_hef("deploy", "--max-drop", 5, cwd=compiled).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(compiled, number):
    out = compiled / "deploy" / "hailo8"
    before = contents(out)
    process = subprocess.Popen(
        [sys.executable, ROOT / "compile_hef.py", "deploy", "--steps", "compile"], cwd=compiled, text=True,
        env=handmade.environment(ROOT, slow=30), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
         # a suite in the background inherits an ignored Ctrl-C
    )  # fmt: skip
    while "Searching" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130 and "Traceback" not in errors
    assert "interrupted: steps that were done are kept, the same command goes on" in errors
    assert (out / "model.hef").read_bytes() == before["model.hef"] and set(contents(out)) == set(before)


def test_one_at_a_time(compiled):
    holder = (
        f"import fcntl; file = open({str(compiled / 'deploy/hailo8/.lock')!r}); fcntl.flock(file, "
        "fcntl.LOCK_EX); "
    )
    line = error_line(compile_hef("deploy", cwd=compiled, before=holder))
    assert "in use by another process" in line


# Without the SDK


def test_the_sdk_is_missing(fresh, tmp_path):
    line = error_line(compile_hef(fresh, "--out", "out", cwd=tmp_path, sdk=False))
    assert "hailo_sdk_client" in line and "Developer Zone" in line and "--rehearse" in line
    assert f"in this Python, {platform.python_version()}: " in line
    assert not (tmp_path / "out").exists()


def test_the_compiler_of_another_family_is_refused_before_anything_is_made(fresh, tmp_path):
    line = error_line(compile_hef(fresh, "--out", "out", cwd=tmp_path, version="5.1.0"))
    assert "the Dataflow Compiler here is 5.1.0" in line and "needs 3.x" in line
    assert not (tmp_path / "out").exists()


GRAPH = (
    "Parsing failed\nThe errors found in the graph are:\n UnsupportedOp in op act: HARD_SWISH\n  in op "
    "mul: MUL\n"
)
SUBPROCESS = (
    "Subprocess failed with traceback\nTraceback (most recent call last):\n  File x\nKeyError: 'conv7'\n"
)


@pytest.mark.parametrize(
    ("kind", "text", "advice", "reason"),
    [
        ("Exception", GRAPH, "the SDK failed", "in op act: HARD_SWISH; in op mul: MUL"),
        ("SubprocessTracebackFailure", SUBPROCESS, "a part of the compiler failed", "KeyError: 'conv7'"),
        (
            "Exception",
            "CUDA says\nout of memory, try a smaller batch_size\nx",
            "memory ran out",
            "try a smaller batch_size",
        ),
        ("MemoryError", "", "memory ran out", "no reason given"),
        ("BackendAllocatorException", "Mapping Failed", "no place for the network", "Mapping Failed"),
        (
            "BackendAllocatorException",
            "a.so: cannot open shared object file",
            "cannot start",
            "shared object",
        ),
        ("BackendAllocatorException", "symbol lookup error: x", "LD_LIBRARY_PATH", "symbol lookup"),
        ("BackendAllocatorException", "failed with unexpected crash", "another version", "unexpected crash"),
        ("NegativeSlopeExponentNonFixable", "unsupported required slope", "16 bits", "required slope"),
        (
            "BackendScriptParserException",
            "Parsing failed at: >!<quant",
            "a line of the model script",
            ">!<quant",
        ),
        ("RuntimeError", "x" * 5000, "the SDK failed", "x" * 600),
    ],
)
def test_the_reason_and_what_to_do(kind, text, advice, reason):
    error = type(kind, (Exception,), {})(text)
    assert advice in advice_for(error) and reason in reason_of(error)
    assert len(reason_of(error)) < 650 and "\n" not in reason_of(error)


def test_a_reason_that_stands_below_is_shown(fresh, tmp_path):
    ordered = {"optimize": ["RuntimeError", SUBPROCESS]}
    line = error_line(compile_hef(fresh, "--out", "out", cwd=tmp_path, raises=ordered))
    assert "optimize: the SDK failed (RuntimeError: KeyError: 'conv7')" in line


def test_the_sdk_cannot_be_imported(fresh, tmp_path):
    for reason in (
        "import nothing_of_the_kind",
        "raise ImportError('libhailo.so: no such file')",
        "raise RuntimeError('numpy 2')",
    ):
        (tmp_path / "hailo_sdk_client.py").write_text(reason)
        line = error_line(
            compile_hef(
                fresh,
                "--out",
                "out",
                cwd=tmp_path,
                sdk=False,
                before=f"import sys; sys.path[0] = {str(tmp_path)!r}",
            )
        )
        assert "installed but cannot be imported" in line and reason.split()[-1].strip("')") in line


def test_what_inference_raises_is_one_line(monkeypatch, tmp_path, capfd):
    class Runner:
        @contextlib.contextmanager
        def infer_context(self, context):
            yield 1

        def infer(self, handle, images, batch_size):
            assert batch_size > 1
            os.write(1, b"from C\n")
            raise MemoryError("no memory for\nthe emulator")

    monkeypatch.setattr(
        sdk, "client", lambda: type("client", (), {"InferenceContext": type("all", (), {"SDK_QUANTIZED": 1})})
    )
    with (
        pytest.raises(
            UserError,
            match=r"^scoring har-int8: memory ran out; .* \(MemoryError: no memory for\); the whole log is "
            r".*sdk.log$",
        ),
        sdk.inference(Runner(), "har-int8", handmade.SPEC, tmp_path / "sdk.log") as infer,
    ):
        infer(pictures()[0][:2])
    log = (tmp_path / "sdk.log").read_text()
    assert log.startswith("from C\nTraceback (most") and log.endswith(
        "MemoryError: no memory for\nthe emulator\n"
    )
    assert capfd.readouterr().out == "from C\n"


def test_exceptions_are_known_by_name_and_by_base(tmp_path):
    class BackendAllocatorException(Exception):
        pass

    class Newer(BackendAllocatorException):
        pass

    with (
        pytest.raises(UserError, match=r"compile: the compiler found no place.*Newer: no reason given"),
        sdk.calling("compile", tmp_path / "l"),
    ):
        raise Newer
    with pytest.raises(UserError, match="mine"), sdk.calling("compile", tmp_path / "l"):
        raise UserError("mine")
    with pytest.raises(OSError, match="full"), sdk.calling("compile", tmp_path / "l"):
        raise OSError(28, "full")
    with pytest.raises(KeyboardInterrupt), sdk.calling("compile", tmp_path / "l"):
        raise KeyboardInterrupt


def test_the_log_is_caught_from_python_c_and_children(tmp_path):
    code = """
import os, subprocess, sys
from pathlib import Path
from fer_hailo.sdk.log import captured
for line in ("first", "second"):
    with captured(Path("a/b.log")):
        print(line)
        os.write(2, b"by C\\n")
        subprocess.run(["sh", "-c", "echo by a child"], check=True)
print("outside")
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=handmade.environment(ROOT),
        capture_output=True,
        text=True,
        timeout=60,
    )
    caught = (tmp_path / "a" / "b.log").read_text().splitlines()
    assert sorted(caught) == ["by C", "by C", "by a child", "by a child", "first", "second"]
    assert sorted(result.stdout.splitlines()) == ["by a child", "by a child", "first", "outside", "second"]
    assert result.stderr == "by C\nby C\n"


def test_the_log_waits_for_no_process_left_behind(tmp_path, capfd):
    start = time.monotonic()
    with log.captured(tmp_path / "a.log"):
        left = subprocess.Popen(["sleep", "30"])
    assert time.monotonic() - start < 10
    left.kill()
    left.wait()


def test_the_log_goes_on_where_nobody_reads(tmp_path):
    code = (
        "import os, sys; from fer_hailo.sdk.log import captured; from pathlib import Path\n"
        "with captured(Path('a.log')):\n    os.write(1, b'x' * 300_000)\nsys.exit(5)"
    )
    command = f'{sys.executable} -c "$CODE" | head -c 1; exit ${{PIPESTATUS[0]}}'
    result = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=handmade.environment(ROOT) | {"CODE": code}, timeout=60
    )
    assert result.returncode == 5 and (tmp_path / "a.log").stat().st_size == 300_000


def test_findings():
    text = (
        "\x1b[33m[warning] Reducing optimization level to 0 (the accuracy ...) because there's no available "
        "GPU\x1b[0m\n"
        "[info] Assigning 4bit weights to layer net/conv1 with 9 parameters\r[info] Assigning 4bit weights "
        "to layer net/conv2\n"
        "[info] Assigning 4bit weights to layer net/conv2\n[info] No GPU found\n[info] all is well, 64-bit\n"
    )
    assert [(f.what, f.count, f.level) for f in log.findings(text)] == [
        ("the SDK lowered the optimization level", 1, 0), ("the SDK chose 4-bit weights", 2, None),
        ("the SDK found no GPU", 1, None),
    ]  # fmt: skip
    assert log.findings(text)[0].line.startswith("[warning] Reducing")


def test_findings_by_cause_with_the_layers():
    """Wording of real logs, 3.2x to 3.33."""
    text = (
        "[warning] No GPU chosen and no suitable GPU found, falling back to CPU\n"
        "[warning] The expected calibration set should be [0, 255] when using an in-net normalization layer, "
        "but the "
        "range received is [(0.0, 1.0)]\n"
        "[info] Using dataset with 64 entries for calibration\n[info] Using dataset with 1024 entries for "
        "calibration\n"
        "[info] Quantization-Aware Fine-Tuning skipped\n"
        "[warning] Reducing output bits of net/conv7 by 5 bits\n[warning] Reducing output bits of net/fc2 by "
        "6 bits\n"
        "[info] net/output_layer1 SNR: 0.0005 dB\n[info] net/output_layer2 SNR:\t24.1 dB\n"
        "[info] Single context flow failed\n[info] Applying selected partition to 7 contexts\n[error] "
        "Mapping Failed\n"
    )
    found = {f.what: (f.line, f.count) for f in log.findings(text)}
    assert found.pop("the SDK reduced the output bits of layers") == ("net/conv7 by 5, net/fc2 by 6", 2)
    assert log.output_ratios(text) == {"net/output_layer1": 0.0005, "net/output_layer2": 24.1}
    assert {what: count for what, (_, count) in found.items()} == {
        "the SDK found no GPU": 1, "the calibration images are not in the range that the script takes": 1,
        "the SDK calibrated on 64 images": 1, "the SDK skipped the fine-tuning": 1,
        "the network needs several contexts": 2, "a mapping to the chip failed": 1,
    }  # fmt: skip


def test_settings_are_those_that_were_got():
    script = (
        handmade.SCRIPT.replace("level=0, c", "level=4, c")
        + "quantization_param(net/conv1, precision_mode=a8_w4)\n"
    )
    assert settings_of(script, [2, 1]) == {
        "normalization": "([127.5, 127.5, 127.5], [127.5, 127.5, 127.5])",
        "optimization_level": "1 (the script asks for 4: lowered by the SDK)", "compression_level": "0",
        "batch_size": "8",
        "calibset_size": "64", "bias_correction": "enabled", "precision_mode of net/conv1": "a8_w4",
    }  # fmt: skip
    assert settings_of(script, [])["optimization_level"] == "4"


@pytest.mark.parametrize(
    "native, fp, int8, agreement, most, causes",
    [
        (0.70, 0.70, 0.69, 1.0, 1.0, []),  # exactly what is allowed
        (0.76, 0.76, 0.75, 1.0, 1.0, []),  # although 100 * (0.76 - 0.75) is more than 1 in binary
        (0.70, 0.70, 0.689, 1.0, 1.0, ["quantization"]),
        (0.70, 0.68, 0.68, 1.0, 1.0, ["script"]),
        (0.70, 0.68, 0.66, 1.0, 1.0, ["script", "quantization"]),
        (0.70, 0.694, 0.688, 1.0, 1.0, ["quantization"]),  # a little in each
        (0.70, 0.70, 0.70, 0.98, 1.0, ["parse"]),
        (0.70, 0.70, 0.72, 0.99, 0.0, []),
        (0.70, 0.70, 0.6999, 1.0, 0.0, ["quantization"]),
    ],
)
def test_causes(native, fp, int8, agreement, most, causes):
    values = {"har-native": native, "har-fp": fp, "har-int8": int8}
    some = compute_metrics(np.eye(2), np.arange(2), ["a", "b"], data="", split="val", sha256="")
    scores = {stage: {"val": dataclasses.replace(some, accuracy=value)} for stage, value in values.items()}
    verdict = judge(scores, {"har-native": agreement}, most)
    assert list(verdict.causes) == causes and len(verdict.advice) == len(causes)
    assert verdict.lost == pytest.approx(100 * (native - int8))
    assert judge({"har-native": scores["har-native"]}, {}, most).lost is None
