"""run.py --benchmark, and what of a prediction is not the network's own work."""

import csv
import os
import shutil
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from conftest import ROOT, error_line

from fer_hailo.board import benchmark
from fer_hailo.board.benchmark import call_times, format_table, measure, peak_mib, run_benchmark
from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec, normalise
from fer_hailo.common.results import SPEED, Speed
from fer_hailo.deploy.bundle import load_bundle
from fer_hailo.deploy.home import resolve
from fer_hailo.predict.litert import LiteRT
from fer_hailo.predict.predictor import load


@pytest.fixture
def deploy(converted, tmp_path):
    """A copy of a converted bundle, in a folder of its own."""
    return shutil.copytree(converted, tmp_path / "board" / "deploy")


def rows(folder) -> list[dict]:
    with open(folder / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_one_table_and_a_row_a_model(deploy, capfd):
    models = [str(deploy / "model_float32.tflite"), str(deploy / "model_int8.tflite")]
    assert run_benchmark(models, seconds=0.2) == 0
    out, err = capfd.readouterr()
    header, *lines, blank = out.splitlines()
    assert header.split()[:2] == ["model", "stage"] and [line.split()[:2] for line in lines] == [
        [models[0], "tflite"], [models[1], "tflite-int8"],
    ]  # fmt: skip
    assert "1 CPU thread for TFLite" in blank and "noise" in blank and "2 of 2 models measured" in err
    assert f"a row for each added to {deploy.parent / 'results.csv'}" in err
    for row, path in zip(rows(deploy.parent), models, strict=True):
        assert row["run"] == load_bundle(deploy).name and int(row["size_bytes"]) == os.path.getsize(path)
        assert (row["accuracy"], row["split"], row["data"], row["count"]) == ("", "", "", "")
        speed = {name: float(row[name]) for name in SPEED}
        assert 0 < speed["latency_ms"] <= speed["latency_p95_ms"] <= speed["latency_p99_ms"]
        assert 0 < speed["images_per_s_1"] <= 1.5 * 1000 / speed["latency_ms"]
        assert 10 < speed["memory_mib"] < 2000


def test_a_model_that_fails_has_its_line_and_the_others_go_on(deploy, capfd, tmp_path):
    (tmp_path / "junk.tflite").write_bytes(b"junk")
    good = str(deploy / "model_int8.tflite")
    assert (
        run_benchmark([str(tmp_path / "nothing.hef"), good, str(tmp_path / "junk.tflite")], 2, seconds=0.05)
        == 1
    )
    out, err = capfd.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (
        len(lines) == 2 and "no model at" in lines[0] and "junk.tflite" in lines[1] and "Traceback" not in err
    )
    assert good in out and "2 CPU threads for TFLite" in out and len(rows(deploy.parent)) == 1
    assert (
        run_benchmark([str(tmp_path / "nothing.hef")], 1, seconds=0.05) == 2
        and "model  " not in capfd.readouterr().out
    )


def test_the_command_measures_what_there_is(deploy, command):
    result = command("run.py", "--benchmark", "nothing.hef", deploy)  # a folder: the float32 network in it
    assert (
        result.returncode == 1
        and "error: no model at nothing.hef" in result.stderr
        and "1 of 2 models measured" in result.stderr
    )
    assert str(deploy / "model_float32.tflite") in result.stdout and len(rows(deploy.parent)) == 1
    assert "take no SOURCE" in error_line(command("run.py", "photo.jpg", "--benchmark"))
    assert "name all of them there" in error_line(
        command("run.py", "--model", "a.hef", "--benchmark", "b.hef")
    )


def test_a_process_that_dies_is_one_line(deploy, capfd, monkeypatch):
    killed = f"{sys.executable} -c 'import os; os.kill(os.getpid(), 9)'"
    (deploy / "python").write_text(f"#!/bin/sh\nexec {killed}\n")
    (deploy / "python").chmod(0o755)
    monkeypatch.setattr(benchmark.sys, "executable", str(deploy / "python"))
    assert run_benchmark([str(deploy / "model_int8.tflite")], 1, seconds=0.05) == 2
    assert (
        "could not be measured: its process ended with status -9 (it said nothing)" in capfd.readouterr().err
    )


def test_numbers_of_one_model(converted):
    speed = measure(resolve(converted / "model_float32.tflite"), 1, 0.2)
    assert speed.stage == "tflite" and 0 < speed.invoke_ms < speed.latency_p99_ms
    assert speed.memory_mib >= speed.added_mib >= 0
    measured = Speed("hef", 3 * 2**20, **dict.fromkeys(SPEED, 1234.567), invoke_ms=None, added_mib=None)
    header, line = format_table([("a.hef", measured)]).splitlines()
    assert line.split() == [
        "a.hef",
        "hef",
        "3.0",
        "1,235",
        "1,235",
        "1234.57",
        "1234.57",
        "1234.57",
        "–",
        "1,235",
        "–",
    ]
    assert len(header) == len(line)


def test_calls_are_timed_one_by_one():
    calls = []
    times = call_times(lambda: (calls.append(0), time.sleep(0.01)), 0.3)
    assert (
        10 <= len(times) <= 30
        and len(calls) >= len(times) + 10
        and (times >= 0.01).all()
        and np.median(times) < 0.05
    )
    assert len(call_times(lambda: time.sleep(0.002), 0)) == 10


def test_memory_is_this_process_s_own():
    """Not that of the process which started it: Linux hands the number of getrusage on."""
    code = (
        "from fer_hailo.board.benchmark import peak_mib; a = peak_mib(); b = bytearray(300 << 20); "
        "print(a, peak_mib())"
    )
    held = np.ones(40 << 20)  # 320 MiB here
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    before, after = map(float, result.stdout.split())
    assert before < 200 and 300 <= after - before < 340 and peak_mib() > held.nbytes / 2**20


@pytest.mark.parametrize("opencv", [cv2, None])
@pytest.mark.parametrize("spec", [PreprocessSpec(16, 32), PreprocessSpec(16, 32, mean=103.3, scale=57.1)])
def test_inputs_are_written_bit_for_bit(converted, spec, opencv, monkeypatch):
    """The fast way, with OpenCV and without, gives what `normalise` and the rounding rule give, for every
    byte.
    """
    monkeypatch.setitem(sys.modules, "cv2", opencv)
    images = np.stack(
        [
            np.arange(256, dtype=np.uint8).repeat(12).reshape(32, 32, 3),
            np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8),
        ]
    )
    for name in ("model_float32.tflite", "model_int8.tflite"):
        network = LiteRT(converted / name)
        scale, zero = network._input["quantization"]
        for image in images:
            network.logits(image[None], spec)
            seen = network._interpreter.get_tensor(network._input["index"])[0]
            values = normalise(image, spec)
            if network.stage == "tflite-int8":
                values = np.clip(np.floor(values / scale + zero + 0.5 + 1e-3), -128, 127).astype(np.int8)
            assert seen.dtype == values.dtype and np.array_equal(seen, values)
    changed = LiteRT(converted / "model_int8.tflite")
    first = changed.logits(images, spec)
    # No table of another spec
    assert not np.array_equal(changed.logits(images, PreprocessSpec(16, 32, mean=0.0, scale=255.0)), first)
    assert np.array_equal(changed.logits(images, spec), first)


def test_the_answers_of_a_batch_are_those_of_its_pictures(converted):
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    for name in ("model_float32.tflite", "model_int8.tflite"):
        with load(resolve(converted / name)) as predictor:
            whole = predictor.logits(images)
            kept = whole.copy()
            singles = np.concatenate([predictor.logits(images[i : i + 1]) for i in range(5)])
        assert whole.dtype == np.float32 and np.array_equal(whole, singles) and np.array_equal(whole, kept)


def test_the_bench_knows_where_its_faces_are_and_finds_them(shared, converted, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    import cv2

    from bench import film
    from bench import pipeline as bench
    from fer_hailo.board.analysis import Analyzer
    from fer_hailo.board.faces import open_detector

    video = tmp_path / "film.mp4"
    faces = film.write_film(video, shared / "data" / "photos" / "astronaut.png", 8)
    capture = cv2.VideoCapture(str(video))
    seen = [cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FPS]
    assert [capture.get(setting) for setting in seen] == [8, 640, 30] and len(faces) == 8
    # The first frame's middle is a fifth of the scene from the left, at 0.7 times its size
    assert faces[0][0] == pytest.approx(
        (223 - 0.2 * 3 * 512 + 320 / 0.7, 120 - 0.4 * 614 + 240 / 0.7, 75), 0.3
    )
    with load(resolve(converted / "model_float32.tflite")) as predictor:
        done = bench.whole(video, Analyzer(predictor, [open_detector()]), None, 1)
    found = bench.check(faces, {"a": done["boxes"], "c": done["boxes"], "d": done["boxes"]})["a"]
    assert found == list(map(len, faces)) and sum(found) >= 8
    assert set(done["ms"]) == {"read", "detect", "classify"} and min(done["ms"].values()) > 0
    with pytest.raises(UserError, match="finds no face in the video"):
        bench.check(faces, {"c": [[]] * 8, "d": [[]] * 8})
    with pytest.raises(UserError, match="found other faces with the same cascade"):
        bench.check(faces, {"c": [[]] * 8, "d": done["boxes"]})


def test_a_box_is_on_a_face_by_its_middle_and_width():
    from bench.film import on_faces

    faces = np.array([(100.0, 100.0, 40.0), (200.0, 100.0, 40.0)])
    assert on_faces([(80, 80, 40, 40)], faces) == 1
    assert on_faces([(80, 80, 40, 40), (85, 80, 40, 40)], faces) == 1  # two boxes on one face
    assert on_faces([(101, 80, 40, 40), (160, 60, 79, 79)], faces) == 1  # off by 21 of 20; 79 of 80 wide
    assert on_faces([(60, 60, 80, 80), (191, 91, 20, 20)], faces) == 0  # twice, and half as wide
