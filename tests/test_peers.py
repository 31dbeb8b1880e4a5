"""bench/peers.py: turns, ratios and intervals by hand; what it refuses; face-api's program with a package
that only counts.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest

from bench import contenders, peer, peers
from bench.contenders import REFERENCE, Answers, own
from fer_hailo.board.comparison import paired_interval
from fer_hailo.common.errors import UserError
from fer_hailo.common.results import read_rows

LABELS = ("angry", "disgust", "happy", "neutral", "surprise")
FACES = np.zeros((20, 48, 48), np.uint8)


@dataclass(frozen=True)
class Scripted:
    """Answers as told: the classes, then a time for each call."""

    name: str
    classes: tuple
    times: tuple
    calls: list
    stage: str = "peer"
    input_size: int = 64
    size_bytes: str = ""

    def ask(self, faces, labels):
        number = sum(name == self.name for name in self.calls)
        self.calls.append(self.name)
        if not self.classes:
            raise UserError(f"{self.name} is not here")
        return Answers(np.eye(5)[list(self.classes[: len(faces)])], self.times[number], 7)

    def __hash__(self):
        return hash(self.name)


def test_rounds_ratios_and_intervals_by_hand(monkeypatch, capsys):
    truth, calls = np.arange(20) % 5, []
    wrong = (truth + 1) % 5
    # fer is right on the first 10 of 20, the other on all but 8 and 9
    fer = Scripted("fer", tuple(np.where(np.arange(20) < 10, truth, wrong)), (9, 1, 2, 10), calls)
    ours = Scripted("a", tuple(np.where(np.isin(np.arange(20), (8, 9)), wrong, truth)), (9, 3, 4, 5), calls)
    absent = Scripted("gone", (), (), calls)
    monkeypatch.setattr(peers, "REFERENCE", fer)
    scored = peers.scores([ours, absent, fer], FACES, LABELS)
    assert "error: gone is not here" in capsys.readouterr().err
    times = peers.in_turns(list(scored), FACES, LABELS, 3)
    assert calls == ["a", "gone", "fer"] + 3 * ["a", "fer"] and times.tolist() == [[3, 1], [4, 2], [5, 10]]
    test = SimpleNamespace(labels=truth, sha256=lambda: "x")
    dataset = SimpleNamespace(part=lambda split: test, names=LABELS, name="d")
    first, second = peers.measured(scored, times, dataset, truth)
    # Ratios of the rounds 3, 2 and 0.5; 10 images gained, 2 lost
    assert (first.latency_ms, first.time_ratio, second.latency_ms, second.time_ratio) == (
        "4.000",
        "2.000",
        "2.000",
        "1.000",
    )
    low, high = paired_interval(10, 2, 20)
    assert first.difference == "0.400000" and second.difference == "0.000000"
    assert (float(first.difference_low), float(first.difference_high)) == pytest.approx((low, high), abs=1e-6)
    assert {first.reference, second.reference} == {"fer"} and first.date == second.date


def test_without_the_reference_nothing_is_compared():
    answers = Answers(np.eye(5), 1.0, 7)
    contender = Scripted("a", (0,), (1,), [])
    test = SimpleNamespace(labels=np.arange(5), sha256=lambda: "x")
    dataset = SimpleNamespace(part=lambda split: test, names=LABELS, name="d")
    (row,) = peers.measured({contender: answers}, np.ones((1, 1)), dataset, test.labels)
    assert (row.reference, row.difference, row.time_ratio, row.accuracy) == ("", "", "", "1.000000")


def test_a_trial_takes_images_of_all_classes():
    assert peers.spread(9, 3).tolist() == [0, 4, 8] and peers.spread(4, None).tolist() == [0, 1, 2, 3]
    assert peers.spread(4, 9).tolist() == [0, 1, 2, 3]


def test_ours_are_int8_throughout():
    released = peers.OURS[0]
    assert own(released, LABELS).stage == "tflite-int8" and own(released, LABELS).parameters == 991_551
    with pytest.raises(UserError, match="not INT8 throughout"):
        own(released.with_name("model_float32.tflite"), LABELS)
    with pytest.raises(UserError, match="knows other classes than happy"):
        own(released, ("happy",))


def test_a_trial_of_ours_alone(monkeypatch, tmp_path, capsys):
    """Rows are written only where all images were scored."""
    part = SimpleNamespace(images=FACES[:5], labels=np.arange(5), sha256=lambda: "x")
    dataset = SimpleNamespace(part=lambda split: part, names=LABELS, name="d")
    monkeypatch.setattr(peers, "load_dataset", lambda *arguments: dataset)
    monkeypatch.setattr(peers, "PEERS", ())
    results = tmp_path / "results.csv"
    common = ["--results", str(results), "--rounds", "1", "--model", str(peers.OURS[1])]
    assert peers.main([*common, "--limit", "3"]) == 0 and not results.exists()
    assert "3 images" in capsys.readouterr().out
    assert peers.main(common) == 0
    (row,) = read_rows(results)
    assert (row.stage, row.count, row.input_size, row.parameters) == ("tflite-int8", "5", "160", "571829")
    with pytest.raises(UserError, match="must be 1 or more"):
        peers.main([*common, "--rounds", "0"])


def test_precision_is_in_the_name_of_each_peer():
    assert all("float32" in each.name for each in contenders.PEERS) and contenders.PEERS[0] is REFERENCE
    assert len({each.name for each in contenders.PEERS}) == len(contenders.PEERS)
    assert replace(REFERENCE, name="x").stage == "peer"


PACKAGE = """
const tensor3d = (values, shape, type) => ({ values, shape, type, dispose() { this.values = null; } });
exports.tf = { tensor3d, setBackend: async () => {}, ready: async () => {} };
exports.nets = { faceExpressionNet: {
  loadFromDisk: async (folder) => { if (!folder.endsWith('face-api/model')) throw new Error(folder); },
  getParamList: () => [{ tensor: { size: 3 } }],
  faceFeatureExtractor: { getParamList: () => [{ tensor: { size: 4 } }, { tensor: { size: 5 } }] },
  predictExpressions: async ({ values, shape, type }) => ({
    neutral: values[0], happy: values[2], sad: values[3], angry: shape[2], fearful: values.length,
    disgusted: type === 'int32' ? 1 : 0, surprised: 0 }) } };
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_face_api_gets_each_face_in_colour_and_answers_in_our_words(tmp_path, monkeypatch):
    modules = tmp_path / "node_modules"
    for name, text in {
        "@vladmandic/face-api/dist/face-api.node-wasm.js": PACKAGE,
        "@tensorflow/tfjs-backend-wasm/index.js": "exports.setThreadsCount = () => {};",
    }.items():
        (modules / name).parent.mkdir(parents=True)
        (modules / name).write_text(text)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    faces = np.arange(3 * 48 * 48, dtype=np.uint32).astype(np.uint8).reshape(3, 48, 48)
    faces[:, 0, :2] = [[10, 20], [30, 40], [50, 60]]
    answers = peer.face_api(faces)
    assert answers["labels"] == ["neutral", "happy", "sad", "angry", "fear", "disgust", "surprise"]
    assert answers["parameters"] == 12 and len(answers["times_ms"]) == 3
    # A grey value three times, then the next pixel's
    assert answers["probabilities"] == [
        [10, 10, 20, 3, 6912, 1, 0],
        [30, 30, 40, 3, 6912, 1, 0],
        [50, 50, 60, 3, 6912, 1, 0],
    ]


def test_a_failing_program_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(contenders, "environment", lambda name: sys.executable)
    with pytest.raises(UserError, match="fer 25.10.3.* failed: .*nosuch"):
        replace(REFERENCE, kind="nosuch").ask(FACES, LABELS)


def test_npm_that_is_missing(tmp_path, monkeypatch):
    from bench import environments

    monkeypatch.setattr(environments.shutil, "which", lambda name: None)
    monkeypatch.setattr(environments.venv, "create", lambda folder, **_: folder.mkdir(parents=True))
    monkeypatch.setattr(environments.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 0))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="face-api needs Node.js with npm"):
        environments.environment("face-api")
    assert not (tmp_path / ".venv-peers/face-api/ready").exists()
