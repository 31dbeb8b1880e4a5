"""evaluate.py --corruptions: its scores against plain loops, what it keeps, peers, mistakes."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import error_line

from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_csv
from fer_hailo.common.metrics import softmax
from fer_hailo.common.preprocess import PreprocessSpec, prepare
from fer_hailo.common.runs import MODEL
from fer_hailo.predict.outside import ask
from fer_hailo.robustness.corruptions import corrupt
from fer_hailo.robustness.faces import Faces, source_faces
from fer_hailo.robustness.measure import Answers, measure
from fer_hailo.robustness.models import Contender, Session, peer
from fer_hailo.robustness.scores import score
from fer_hailo.robustness.table import TABLE
from fer_hailo.training.data.dataset import load_dataset
from fer_hailo.training.data.sample import draw_face
from fer_hailo.training.evaluate.plots import plot_corruptions
from fer_hailo.training.evaluate.score import Scorer
from fer_hailo.training.models.build import load_model

# Says happy of a bright face and angry of another; knows a class more than the data set.
PEER = """
import sys
import numpy as np

faces = np.load(sys.argv[1])
assert faces.dtype == np.uint8 and faces.shape[1:] == (48, 48)
answers = np.zeros((len(faces), 6))
answers[:, 5] = 0.6
bright = faces.mean(axis=(1, 2)) > 120
answers[bright, 2], answers[~bright, 0] = 0.3, 0.3
labels = ["angry", "disgust", "happy", "neutral", "surprise", "sad"]
np.savez(sys.argv[2], probabilities=answers, labels=labels, rest=7)
"""


@pytest.fixture
def program(tmp_path) -> str:
    """The command of a peer."""
    (tmp_path / "peer.py").write_text(PEER)
    return f"{sys.executable} {tmp_path / 'peer.py'}"


@pytest.fixture
def faces(tmp_path) -> Faces:
    """Six drawn faces."""
    images = np.stack([draw_face("happy", np.random.default_rng(i)) for i in range(6)])
    return Faces(images, np.arange(6) % 2, ("a", "b"), "drawn", "val", tmp_path / "kept")


class Asked:
    """Answers by a face's mean, and counts the faces that it was asked for; stops at a number of them."""

    def __init__(self, stop: int | None = None):
        self.faces, self.stop, self.opened, self.calls = 0, stop, 0, 0

    def __enter__(self) -> Session:
        self.opened += 1
        return Session("keras", self.answer)

    def __exit__(self, *problem) -> None:
        pass

    def answer(self, blocks):
        answers = []
        self.calls += 1
        for block in blocks:
            self.faces += len(block)
            if self.stop and self.faces >= self.stop:
                raise KeyboardInterrupt
            shares = block.mean(axis=(1, 2)) / 255
            answers.append(np.stack([shares, 1 - shares], axis=1))
        return np.concatenate(answers)


def test_command_gives_what_a_plain_loop_gives(inside, trained, small, program, tmp_path):
    run = shutil.copytree(trained, tmp_path / "runs" / "one")
    result = inside("evaluate.py", run, "--corruptions", "--peer", f"by light={program}", "--json")
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    (folder,) = (tmp_path / "runs").glob("corruptions_synthetic*")
    written = json.loads((folder / "corruptions_val.json").read_text())
    assert {**written, "date": ""} == {**said, "date": ""}
    part, scorer = load_dataset(small, None).val, Scorer(load_model(run / MODEL), small.preprocess)
    ours, light = said["models"]
    known = json.loads((run / "metrics_val.json").read_text())
    assert {**ours["clean"], "ece": 0} == {**known, "ece": 0} and said["split"] == "val"
    assert np.isclose(ours["clean"]["ece"], known["ece"], atol=1e-6)  # kept in float32
    row = TABLE[4]
    blurred = np.stack([corrupt(face, row, 2) for face in part.images])
    right = (scorer.logits(blurred).argmax(axis=1) == part.labels).mean()
    assert ours["corruptions"]["blur"][1]["accuracy"] == right
    bright = np.array([corrupt(face, TABLE[0], 1).mean() > 120 for face in part.images])
    assert light["corruptions"]["darkness"][0]["accuracy"] == (np.where(bright, 2, 0) == part.labels).mean()
    rows = read_csv(folder / "corruptions_val.csv")
    assert len(rows) == 2 * 37 and (folder / "corruptions_val.png").stat().st_size > 10_000
    for model in (ours, light):
        losses = [float(r["loss"]) for r in rows if r["model"] == model["name"] and r["strength"] != "0"]
        assert len(losses) == 36 and np.isclose(np.mean(losses), model["mean_loss"], atol=1e-6)
        low, high = model["mean_loss_ci95"]
        assert low <= model["mean_loss"] <= high
    added = [(r["run"], r["stage"], r["corruption_loss"]) for r in read_csv(run.parent / "results.csv")]
    assert added == [
        ("one", "keras", f"{ours['mean_loss']:.6f}"), ("by light", "peer", f"{light['mean_loss']:.6f}")
    ]  # fmt: skip
    # What is kept is not asked for again: the program is gone
    (tmp_path / "peer.py").unlink()
    again = inside("evaluate.py", run, "--corruptions", "--peer", f"by light={program}")
    assert again.returncode == 0 and again.stderr.count("kept in") == 2
    assert f"B loses {100 * light['more_than_first']:+.1f} points more than A" in again.stdout
    line = next(line for line in again.stdout.splitlines() if "darkness" in line)
    assert line.split()[1] == f"{100 * ours['corruptions']['darkness'][0]['accuracy']:.1f}"


def test_converted_model_gets_the_corrupted_face_as_the_board_prepares_it(
    inside, converted, small, undrawn, tmp_path
):
    from fer_hailo.deploy.home import resolve
    from fer_hailo.predict.predictor import load

    model, data = converted / "model_int8.tflite", small.data.source
    arguments = [model, "--data", data, "--split", "test", "--corruptions", "--out", "out", "--json"]
    result = inside("evaluate.py", *arguments)
    assert result.returncode == 0, result.stderr
    part = load_dataset(small, None).test
    with load(resolve(model)) as predictor:
        jpegs = [prepare(corrupt(face, TABLE[6], 3), predictor.spec) for face in part.images]
        predicted = softmax(predictor.logits(np.stack(jpegs))).argmax(axis=1)
    (scores,) = json.loads(result.stdout)["models"]
    assert scores["stage"] == "tflite-int8"
    assert scores["corruptions"]["jpeg"][2]["accuracy"] == (predicted == part.labels).mean()
    assert (tmp_path / "out/corruptions_test.csv").is_file()


def test_an_interruption_loses_nothing_that_was_answered(faces, capsys):
    interrupted = Asked(stop=6 + 2 * 18 + 10)  # clean, darkness, brightness; stopped within contrast
    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        measure(Contender("m, n", "d", lambda: interrupted), faces, "f")
    kept = sorted(path.name.split("_")[0] for path in (faces.folder / "answers" / "m_n").iterdir())
    assert kept == ["brightness", "clean", "darkness"]
    rest = Asked()
    found = measure(Contender("m, n", "d", lambda: rest), faces, "f")
    assert rest.faces == 10 * 18 and found.probabilities["contrast"].shape == (3, 6, 2)
    straight = measure(Contender("other", "d2", lambda: Asked()), faces, "f")
    for name, probabilities in straight.probabilities.items():
        assert (found.probabilities[name] == probabilities).all()
    idle = Asked()
    assert measure(Contender("m, n", "d", lambda: idle), faces, "f").stage == "keras" and not idle.opened
    assert "m, n: kept in" in capsys.readouterr().err


def test_what_is_kept_belongs_to_one_model_and_one_set_of_faces(faces):
    measure(Contender("m", "d", lambda: Asked()), faces, "f")
    for digests in (("d", "other faces"), ("another model", "f")):
        asked = Asked()
        measure(Contender("m", digests[0], lambda asked=asked: asked), faces, digests[1])
        assert asked.faces == 37 * 6
    next((faces.folder / "answers" / "m").glob("noise_*.npz")).write_bytes(b"junk")
    asked = Asked()
    for digest, data in (("d", "f"), ("d", "other faces"), ("another model", "f")):
        measure(Contender("m", digest, lambda: asked), faces, data)
    assert asked.faces == 18  # the damaged ones alone


@pytest.mark.parametrize(("most", "calls"), [(2**29, 1), (3 * 6 * 48 * 48 * 5, 3), (1, 13)])
def test_what_starts_slowly_is_asked_as_seldom_as_memory_allows(faces, monkeypatch, most, calls):
    monkeypatch.setattr("fer_hailo.robustness.measure.AT_ONCE", most)
    asked = Asked()
    found = measure(Contender("m", "d", lambda: asked, starts_slowly=True), faces, "f")
    assert asked.calls == calls and asked.faces == 37 * 6
    faces = replace(faces, folder=faces.folder / "one by one")
    other = measure(Contender("m", "d", lambda: Asked()), faces, "f")
    for name, probabilities in other.probabilities.items():
        assert (found.probabilities[name] == probabilities).all()


def test_losses_by_hand(faces):
    """Two images: the first right but for one of 36, the second wrong but for 3 of them."""

    def answers(name: str, clean: list[int], corrupted: np.ndarray) -> Answers:
        shares = np.eye(2, dtype=np.float32)[corrupted].reshape(12, 3, 2, 2)
        cells = {row.name: shares[i] for i, row in enumerate(TABLE)}
        return Answers(Contender(name, "", lambda: Asked()), "keras", {"clean": np.eye(2)[[clean]], **cells})

    two = Faces(faces.images[:2], np.array([0, 1]), ("a", "b"), "drawn", "val", faces.folder)
    predicted = np.zeros((36, 2), int)
    predicted[5, 0], predicted[[0, 1, 30], 1] = 1, 1
    first = score(answers("m", [0, 0], predicted), two, "f")
    assert first.clean.accuracy == 0.5 and np.allclose(first.losses, [1 / 36, -3 / 36])
    assert first.loss("darkness") == (-0.5, -0.5, 0.0) and first.loss("brightness") == (0.0, 0.0, 0.5)
    assert np.isclose(first.mean_loss, -1 / 36)
    # Deviation of the two from their mean 1/36 and 3/36 apart: sqrt(2) * 2/36; over sqrt(2)
    half = 1.959964 * 2 / 36
    assert np.allclose(first.interval, (-1 / 36 - half, -1 / 36 + half))
    never = score(answers("n", [0, 1], np.zeros((36, 2), int)), two, "f")
    assert np.isclose(never.mean_loss, 0.5)
    more, (low, high) = never.more_than(first)
    assert np.isclose(more, 0.5 + 1 / 36) and np.isclose(high - low, 2 * 1.959964 * (39 + 1) / 36 / 2)


def test_faces_of_a_bundle_are_those_that_were_enlarged():
    drawn = [draw_face(label, np.random.default_rng(9)) for label in ("angry", "happy", "surprise")]
    # Black and white squares: bicubic goes beyond 0 and 255 at their edges, and is cut off there
    squares = np.random.default_rng(0).integers(0, 2, (12, 12)) * 255
    images = np.stack([*drawn, np.kron(squares, np.ones((4, 4)))]).astype(np.uint8)
    for spec in (PreprocessSpec(48, 160), PreprocessSpec(48, 128), PreprocessSpec(48, 48)):
        prepared = np.stack([prepare(face, spec) for face in images])
        apart = np.abs(source_faces(prepared, spec).astype(int) - images).max(axis=(1, 2))
        assert apart[:3].max() <= 1 and apart[3] <= 7  # plain least squares: 27
    colour = PreprocessSpec(48, 128, color=True)
    red = np.stack([images[0], images[1], images[2]], axis=-1)
    back = source_faces(prepare(red, colour)[None], colour)
    assert back.shape == (1, 48, 48, 3) and np.abs(back[0].astype(int) - red).max() <= 1


def test_models_that_do_not_go_together(inside, trained, converted, tmp_path):
    run = shutil.copytree(trained, tmp_path / "other")
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("split_seed: 42", "split_seed: 7"))
    assert "different images or classes" in error_line(inside("evaluate.py", trained, run, "--corruptions"))
    assert "images of 32 pixels do not tell the faces of 48" in error_line(
        inside("evaluate.py", converted / "model_int8.tflite", "--corruptions")
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--peer", "a=b"], "go with --corruptions"),
        (["RUN"], "go with --corruptions"),
        (["--corruptions", "--out", "file"], "--out takes a folder"),
        (["--corruptions", "--peer", "fer"], "--peer takes NAME=COMMAND, got fer"),
        (["--corruptions", "--peer", "fer='a"], "No closing quotation"),
    ],
)
def test_mistakes(inside, trained, tmp_path, arguments, said):
    (tmp_path / "file").touch()
    arguments = [trained if argument == "RUN" else argument for argument in arguments]
    assert said in error_line(inside("evaluate.py", trained, *arguments))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit('no such network')", "p failed: no such network"),
        ("", "wrote no probabilities of angry, happy"),
        (PEER.replace('"happy"', '"glad"'), "'happy' is not in list"),
        (PEER.replace("np.zeros((len(faces)", "np.zeros((2 * len(faces)").replace("answers[", "answers[:3]["),
         "answered 6 of 3 faces"),
    ],
)  # fmt: skip
def test_peers_that_do_not_answer(tmp_path, code, said):
    (tmp_path / "p.py").write_text(code)
    faces = np.zeros((3, 48, 48), np.uint8)
    with pytest.raises(UserError, match=said):
        ask([sys.executable, tmp_path / "p.py"], "p", faces, ("angry", "happy"))
    with pytest.raises(UserError, match="cannot be started"):
        ask([tmp_path / "absent"], "p", faces, ("angry", "happy"))


def test_a_peer_gets_grey_faces_and_its_other_classes_are_left_out(program):
    answers = ask(program.split(), "p", np.full((2, 48, 48), 200, np.uint8), ("happy", "angry"))
    assert np.allclose(answers.probabilities, [[1, 0], [1, 0]]) and answers.rest["rest"] == 7
    colour = np.full((2, 48, 48, 3), 9, np.uint8)
    with peer(f"p={program}", ("happy", "angry")).open() as session:
        assert session.stage == "peer"
        assert np.allclose(session.answer(iter([colour[:1], colour[1:]])), [[0, 1], [0, 1]])


def test_plot_of_any_number_of_corruptions(tmp_path):
    plot_corruptions(tmp_path / "p.png", {"dark": {"m": [1, 0.5]}}, "title")
    assert (tmp_path / "p.png").stat().st_size > 3000
