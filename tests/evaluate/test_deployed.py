"""evaluate.py on deploy bundles, as on a board: HailoRT's double runs the HEF; comparisons with the SDK's
double, which made it.
"""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, broken_pipe, error_line

sys.path.insert(0, str(ROOT / "tests" / "hailo"))
import handmade
from handmade import NAMES, TEST, VAL, accuracies, compile_hef, interpreted, networks, pictures, write_bundle

from fer_hailo.board.comparison import paired_interval
from fer_hailo.common.errors import UserError
from fer_hailo.deploy.answers import Answers, read_answers, write_answers
from fer_hailo.deploy.home import Use, resolve
from fer_hailo.formats.hef import read_hef

# Refuses what the project itself imports besides the standard library, numpy and the runtimes, and writes
# down what that was. The runtimes (the double of HailoRT runs LiteRT) import what they like.
ALONE = """
import sys
class Alone:
    allowed = {*sys.stdlib_module_names, "numpy", "fer_hailo", "evaluate", "hailo_platform", "ai_edge_litert"}
    def find_spec(self, name, path=None, target=None):
        frame = sys._getframe(1)
        while frame and frame.f_globals.get("__name__", "").startswith("importlib"):
            frame = frame.f_back
        own = frame.f_globals.get("__name__", "").split(".")[0] in ("fer_hailo", "evaluate", "__main__")
        if own and name.split(".")[0] not in self.allowed:
            print("ASKED FOR", name, file=sys.stderr)
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None
sys.meta_path.insert(0, Alone())
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A bundle with its HEF and all that the SDK machine left, as it is copied to a board.

    Do not change it: copy it.
    """
    folder = tmp_path_factory.mktemp("whole")
    write_bundle(folder / "deploy")
    result = compile_hef("deploy", "--max-drop", 5, cwd=folder)
    assert result.returncode == 0, result.stderr
    (folder / "results.csv").unlink()
    return folder


@pytest.fixture
def board(whole, tmp_path):
    """A copy of it, to be changed."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    return tmp_path


def evaluate(
    *arguments, cwd, before: str = "", double: bool = True, **switches
) -> subprocess.CompletedProcess:
    """Run evaluate.py as a user does, with the double of HailoRT. before: Python to run first; switches: the
    double's.
    """
    code = f"{before}\nimport sys, evaluate\nsys.exit(evaluate.run(evaluate.main, sys.argv[1:]))"
    places = [str(ROOT), *([str(ROOT / "doubles" / "hailort")] if double else [])]
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=cwd, capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places), "FER_HAILO_RT_DOUBLE": json.dumps(switches)},
    )  # fmt: skip


def rows(path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def put_answers(folder, logits, index, evaluation) -> None:
    """Replace the SDK's predictions, and name them in its record."""
    record = json.loads((folder / "steps.json").read_text())
    record["optimize"]["scores"]["answers"] = write_answers(
        folder / "int8_answers.npz", Answers(logits, index, evaluation)
    )
    (folder / "steps.json").write_text(json.dumps(record))


def device_logits(hef) -> np.ndarray:
    """TensorFlow's interpreter on the INT8 TFLite, rounded to the 256 steps of the HEF's output."""
    output = read_hef(hef).groups[0].outputs[0]
    exact = interpreted(networks()["int8"], pictures()[0][: VAL + TEST])
    return (np.clip(np.rint(exact / output.qp_scale) + output.qp_zp, 0, 255) - output.qp_zp) * output.qp_scale


def test_on_the_board_numpy_and_hailort_are_enough(board):
    shutil.copy(board / "deploy" / "hailo8" / "model.hef", board)  # a HEF may lie anywhere
    result = evaluate(
        "model.hef",
        "--data",
        "deploy/",
        cwd=board,
        before=ALONE,
        tflite=str(board / "deploy" / "model_int8.tflite"),
    )
    assert result.returncode == 0 and "ASKED FOR" not in result.stderr, result.stderr
    known, out = accuracies(device_logits(board / "model.hef")), board / "deploy" / "evaluation_hef"
    for split in ("val", "test"):
        metrics = json.loads((out / f"metrics_{split}.json").read_text())
        assert metrics["accuracy"] == known[split] and metrics["split"] == split
        assert (
            f"accuracy {known[split]:.2%} [" in result.stdout
            and f"{known[split]:.2%}" in (out / "report.html").read_text()
        )
    keras = json.loads((board / "deploy" / "manifest.json").read_text())["metrics"]["keras"]
    for row, split in zip(rows(board / "results.csv"), ("val", "test"), strict=True):
        assert (row["run"], row["stage"], row["split"], row["seed"]) == ("handmade", "hef", split, "7")
        assert float(row["drop"]) == pytest.approx(keras[split]["accuracy"] - known[split], abs=1e-6)
        assert (
            row["sha256"] == keras[split]["sha256"]
            and int(row["size_bytes"]) == (board / "model.hef").stat().st_size
        )
        assert 0 < float(row["latency_ms"]) < 1000


def test_a_folder_with_a_model(board):
    result = evaluate("deploy/hailo8", "--split", "val", "--json", "--explain", cwd=board)
    assert result.returncode == 0, result.stderr
    assert (
        json.loads(result.stdout)["accuracy"]
        == accuracies(device_logits(board / "deploy/hailo8/model.hef"))["val"]
    )
    assert (board / "deploy/evaluation_hef/explained_val.png").is_file()


def test_corrupted_faces_of_a_bundle_need_opencv_besides(board):
    """The HEF and the TFLite in one run; what the bundle's images were enlarged from is what is corrupted."""
    arguments = ["deploy/hailo8/model.hef", "deploy/model_float32.tflite", "--corruptions", "--json"]
    result = evaluate(*arguments, cwd=board, before=ALONE.replace('"numpy",', '"numpy", "cv2",'))
    assert result.returncode == 0 and "no plot" in result.stderr, result.stderr
    hef, tflite = json.loads(result.stdout)["models"]
    assert hef["clean"]["accuracy"] == accuracies(device_logits(board / "deploy/hailo8/model.hef"))["val"]
    images, truth = pictures()[0][:VAL], pictures()[1][:VAL]
    dark = interpreted(networks()["float"], np.rint(images * 0.4).astype(np.uint8)).argmax(axis=1)
    assert tflite["corruptions"]["darkness"][1]["accuracy"] == (dark == truth).mean() < 1
    assert [row["stage"] for row in rows(board / "results.csv")] == ["hef", "tflite"]
    assert sorted(path.name for path in (board / "deploy" / "corruptions").iterdir()) == [
        "answers", "corruptions_val.csv", "corruptions_val.json"
    ]  # fmt: skip


def test_a_tflite_needs_litert_alone(board, converted):
    # In the bundle that it lies in
    result = evaluate("deploy/model_float32.tflite", "--json", cwd=board, before=ALONE, double=False)
    assert result.returncode == 0 and "ASKED FOR" not in result.stderr, result.stderr
    found, known = (
        json.loads(result.stdout),
        accuracies(interpreted(networks()["float"], pictures()[0][: VAL + TEST])),
    )
    assert {split: metrics["accuracy"] for split, metrics in found.items()} == known
    out = board / "deploy" / "evaluation_tflite"
    assert {path.name for path in out.iterdir()} == {"metrics_val.json", "metrics_test.json", "report.html"}
    assert {row["stage"] for row in rows(board / "results.csv")} == {"tflite"}

    shutil.copytree(converted, board / "real" / "deploy")
    known = json.loads((converted / "manifest.json").read_text())["metrics"]["tflite-int8"]
    result = evaluate(
        "real/deploy/model_int8.tflite",
        "--split",
        "test",
        "--out",
        "mine",
        "--json",
        cwd=board,
        before=ALONE,
        double=False,
    )
    assert result.returncode == 0 and "ASKED FOR" not in result.stderr, result.stderr
    assert (
        json.loads(result.stdout)
        == json.loads((board / "mine" / "metrics_test.json").read_text())
        == known["test"]
    )
    assert not (board / "mine" / "metrics_val.json").exists()
    (row,) = rows(board / "real" / "results.csv")
    assert (row["stage"], row["split"]) == ("tflite-int8", "test") and float(row["latency_ms"]) > 0


def test_disagreements_with_the_emulation_are_listed(board):
    changed = np.arange(5, VAL + TEST, 13)
    with np.load(board / "deploy" / "hailo8" / "int8_answers.npz") as file:
        sdk, evaluation = file["logits"], str(file["evaluation"])
    sdk[changed] = np.roll(sdk[changed], 1, axis=1)  # as if the emulation had answered otherwise
    put_answers(board / "deploy" / "hailo8", sdk, np.arange(VAL + TEST), evaluation)
    result = evaluate("deploy/hailo8/model.hef", "--data", "deploy", cwd=board)
    assert result.returncode == 0, result.stderr
    device, truth = device_logits(board / "deploy" / "hailo8" / "model.hef"), pictures()[1][: VAL + TEST]
    ours, theirs = device.argmax(1), sdk.argmax(1)
    other = np.flatnonzero(ours != theirs)
    assert 10 < len(other) < 20 and len(set(changed) & set(other)) > 10
    listed = rows(board / "deploy" / "evaluation_hef" / "disagreements.csv")
    assert [(int(r["index"]), r["split"], r["truth"], r["board"], r["sdk"]) for r in listed] == [
        (i, "val" if i < VAL else "test", NAMES[truth[i]], NAMES[ours[i]], NAMES[theirs[i]]) for i in other
    ]
    for row, i in zip(listed, other, strict=True):
        for name, logits in (("board", device), ("sdk", sdk)):
            powers = np.exp(logits[i].astype(float))
            assert float(row[f"{name}_probability"]) == pytest.approx(powers.max() / powers.sum(), abs=1e-3)
    splits = json.loads((board / "deploy" / "evaluation_hef" / "comparison.json").read_text())["splits"]
    for split, side in (("val", slice(0, VAL)), ("test", slice(VAL, None))):
        right, wrong = ours[side] == truth[side], theirs[side] == truth[side]
        numbers = splits[split]
        assert (numbers["board"], numbers["sdk"]) == (right.mean(), wrong.mean())
        assert numbers["agreement"] == (ours[side] == theirs[side]).mean() and numbers["count"] == len(right)
        assert (numbers["gained"], numbers["lost"]) == ((right & ~wrong).sum(), (wrong & ~right).sum())
        assert numbers["difference"] == pytest.approx(right.mean() - wrong.mean())
        assert f"difference {100 * numbers['difference']:+.2f} points [" in result.stdout
    assert (
        f"{len(other)} images with another prediction, see deploy/evaluation_hef/disagreements.csv"
        in result.stdout
    )
    shown = [line.split() for line in result.stdout.splitlines() if line.split()[1:2] in (["val"], ["test"])]
    assert [int(line[0]) for line in shown] == other[:10].tolist()


def test_a_part_of_the_pictures_is_compared_where_the_sdk_machine_scored_a_part(board):
    compile_hef("deploy", "--quick", 20, cwd=board)
    result = evaluate("deploy/hailo8/model.hef", "--split", "val", "--json", cwd=board)
    metrics = json.loads(result.stdout)
    splits = json.loads((board / "deploy" / "evaluation_hef" / "comparison.json").read_text())["splits"]
    answers = read_answers(board / "deploy" / "hailo8" / "int8_answers.npz")
    assert (
        metrics["count"] == VAL
        and set(splits) == {"val"}
        and splits["val"]["count"] == (answers.index < VAL).sum() == 20
    )
    seen = answers.index[answers.index < VAL]
    assert (
        splits["val"]["board"]
        == (
            device_logits(board / "deploy" / "hailo8" / "model.hef")[seen].argmax(1) == pictures()[1][seen]
        ).mean()
    )
    assert "against the SDK's INT8 emulation" in result.stderr  # standard output is for the metrics


def test_a_chip_that_normalises_otherwise_is_warned_of(board):
    result = evaluate("deploy/hailo8/model.hef", cwd=board, normalization=[0, 255])
    assert (
        result.returncode == 0
        and "warning: val: board and emulation give the same prediction on only " in result.stderr
    )
    assert 'see "When the numbers differ" in docs/troubleshooting.md' in result.stderr
    assert "class=warn" in (board / "deploy" / "evaluation_hef" / "report.html").read_text()
    fine = evaluate("deploy/hailo8/model.hef", cwd=board)
    splits = json.loads((board / "deploy" / "evaluation_hef" / "comparison.json").read_text())["splits"]
    assert "warning" not in fine.stderr and min(numbers["agreement"] for numbers in splits.values()) >= 0.99


def test_what_the_sdk_machine_left_may_be_missing(board):
    folder = board / "deploy" / "hailo8"
    scores = json.loads((folder / "steps.json").read_text())["optimize"]["scores"]["metrics"]["har-int8"]
    (folder / "int8_answers.npz").unlink()
    result = evaluate("deploy/hailo8/model.hef", cwd=board)
    assert "note: no deploy/hailo8/int8_answers.npz: the comparison is of accuracies only" in result.stderr
    assert f"SDK {scores['val']['accuracy']:.2%} (the SDK's of {VAL} images)" in result.stdout
    assert not (board / "deploy" / "evaluation_hef" / "disagreements.csv").exists()
    record = (folder / "steps.json").read_text()
    for text in (record.replace('"compile"', '"compiled"'), "{"):
        (folder / "steps.json").write_text(text)
        result = evaluate("deploy/hailo8/model.hef", cwd=board)
        assert (
            result.returncode == 0
            and "model.hef is not the file that deploy/hailo8/steps.json records" in result.stderr
        )
    (folder / "steps.json").unlink()
    result = evaluate("deploy/hailo8/model.hef", "--out", "none", cwd=board)
    assert result.returncode == 0 and "note: no steps.json of the SDK machine" in result.stderr
    assert (
        "against the SDK" not in result.stdout
        and "no steps.json" in (board / "none" / "report.html").read_text()
    )


def test_answers_of_another_compilation_are_refused(board):
    folder = board / "deploy" / "hailo8"
    path, answers = folder / "int8_answers.npz", read_answers(folder / "int8_answers.npz")

    def refused() -> str:
        return error_line(evaluate("deploy/hailo8/model.hef", cwd=board))

    write_answers(path, Answers(answers.logits[:-1], answers.index[:-1], answers.evaluation))
    assert "int8_answers.npz is not the file that deploy/hailo8/steps.json records" in refused()
    put_answers(folder, answers.logits, answers.index, "0" * 64)
    assert "is about other images" in refused()
    put_answers(folder, answers.logits, answers.index[:-1], answers.evaluation)
    assert "does not hold the SDK's predictions" in refused()
    record = json.loads((folder / "steps.json").read_text())
    path.write_bytes(b"no archive")
    record["optimize"]["scores"]["answers"] = hashlib.sha256(b"no archive").hexdigest()
    (folder / "steps.json").write_text(json.dumps(record))
    assert "does not hold the SDK's predictions" in refused()
    assert not (board / "results.csv").exists()


def test_nobody_reads_the_output(board):
    result = subprocess.run(
        [sys.executable, ROOT / "evaluate.py", "deploy/model_float32.tflite", "--json"], cwd=board,
        stdout=broken_pipe(),
        stderr=subprocess.PIPE, text=True, timeout=100,
    )  # fmt: skip
    assert (
        result.returncode == 141 and "Traceback" not in result.stderr and "BrokenPipe" not in result.stderr
    ), result.stderr
    assert (
        len(rows(board / "results.csv")) == 2
        and (board / "deploy" / "evaluation_tflite" / "report.html").is_file()
    )


def test_interval_of_paired_proportions():
    # By hand: (1 + 1) / 23 and (7 + 1) / 23 differ by -6 / 23; variance (10 / 23 - (6 / 23)^2) / 23.
    low, high = paired_interval(1, 7, 21)
    assert (low, high) == (pytest.approx(-0.508357, abs=1e-5), pytest.approx(-0.013382, abs=1e-5))
    assert paired_interval(7, 1, 21) == (pytest.approx(-high), pytest.approx(-low))
    assert (
        paired_interval(0, 0, 1000)[1] == pytest.approx(0.00276, abs=1e-5) == -paired_interval(0, 0, 1000)[0]
    )
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(400, [0.03, 0.05, 0.92], 4000)
    inside = [
        low <= -0.02 <= high
        for low, high in (paired_interval(gained, lost, 400) for gained, lost, _ in drawn)
    ]
    assert 0.94 < np.mean(inside) < 0.97


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["deploy/hailo8/model.hef", "--split", "train"],
            "deploy holds images of test and val, none of train",
        ),
        (["deploy/hailo8/model.hef", "--classes", "red,blue"], "--classes: does not go with a deploy bundle"),
        (["deploy/none.hef", "--data", "deploy"], "no model at deploy/none.hef"),
        (["none.hef"], "no model at none.hef"),
        (["deploy/hailo8/model.hef", "--data", "deply"], "no bundle or data set at deply"),
        (["model.hef"], "model.hef lies in no deploy bundle: name one, or a data set, with --data"),
        (["junk.hef", "--data", "deploy"], "junk.hef"),
        (["junk.tflite", "--data", "deploy"], "junk.tflite is not a TFLite file"),
        (["deploy/model_int8.tflite", "--out", "junk.hef"], "--out takes a folder"),
        (["model.hef", "--data", "deploy/hailo8"], "scoring on a data set needs the training packages"),
        (["some.keras", "--data", "deploy"], "scoring on a data set needs the training packages"),
    ],
)
def test_mistakes(whole, tmp_path, arguments, said):
    (tmp_path / "deploy").symlink_to(whole / "deploy")
    shutil.copy(whole / "deploy" / "hailo8" / "model.hef", tmp_path)
    for name in ("junk.hef", "junk.tflite", "some.keras"):
        (tmp_path / name).write_bytes(b"junk")
    assert said in error_line(evaluate(*arguments, cwd=tmp_path, before=ALONE))
    assert not (whole / "results.csv").exists()


def test_a_model_of_another_bundle_is_refused(board):
    for name, changes, said in (
        ("names", {"labels": ["blue", "green", "grey", "violet"]}, "tells apart blue, green, grey, violet"),
        ("spec", {"preprocess": handmade.SPEC.to_dict() | {"mean": 0.0}}, ": mean 0.0, not 127.5"),
    ):
        other = shutil.copytree(board / "deploy", board / name)
        (other / "labels.txt").write_text("\n".join(changes.get("labels", NAMES)) + "\n")
        handmade.reseal(other, **changes)
        assert said in error_line(evaluate(other / "model_int8.tflite", "--data", "deploy", cwd=board))
    (board / "deploy" / "eval_set.npz").write_bytes(b"")
    assert "eval_set.npz is no evaluation set" in error_line(evaluate("deploy/hailo8/model.hef", cwd=board))


def test_no_device_is_one_line(board):
    assert "Hailo device" in error_line(evaluate("deploy/hailo8/model.hef", cwd=board, devices=0))
    assert "hailo_platform) is not installed" in error_line(
        evaluate("deploy/hailo8/model.hef", cwd=board, double=False)
    )
    assert not (board / "deploy" / "evaluation_hef").exists()


def test_a_converted_model_goes_through_a_data_set_as_the_keras_file_does(
    command, converted, sample_set, trained, tmp_path
):
    """Cached images, prepared here, give what the bundle's images gave."""
    from fer_hailo.training.evaluate.evaluation import evaluate_file

    run = shutil.copytree(trained, tmp_path / "runs" / trained.name)  # it gets files beside it
    before = (run / "metrics_test.json").read_text()
    known = json.loads((converted / "manifest.json").read_text())["metrics"]
    result = command("evaluate.py", run / "deploy" / "model_int8.tflite", "--data", sample_set, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == known["tflite-int8"]["test"]
    (folder,) = run.parent.glob(f"evaluation_{run.name}_tflite-int8_*")
    assert (
        json.loads((folder / "metrics_test.json").read_text()) == known["tflite-int8"]["test"]
        and (folder / "report.html").is_file()
    )
    assert (run / "metrics_test.json").read_text() == before

    def on_data(name, split, **overrides) -> dict:
        home = resolve(run / "deploy" / name, Use.SCORE, {"data": str(sample_set)} | overrides)
        return evaluate_file(home, split, tmp_path / "out")[0].to_dict()

    assert on_data("model_float32.tflite", "val") == known["tflite"]["val"]
    assert [row["stage"] for row in rows(run.parent / "results.csv")[-2:]] == ["tflite-int8", "tflite"]
    with pytest.raises(UserError, match="was made for input_size 32, not 64"):
        on_data("model_int8.tflite", "test", input_size=64)
    with pytest.raises(
        UserError, match="the model's classes are angry, disgust, happy, neutral, surprise, not angry, happy"
    ):
        on_data("model_int8.tflite", "test", classes=("angry", "happy"))
    with pytest.raises(UserError, match="was split with split_seed"):
        on_data("model_int8.tflite", "val", split_seed=5)
