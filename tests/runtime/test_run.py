"""run.py as its users call it: on images, folders and videos, with good and bad input."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys

import films
import handmade
import numpy as np
import pytest
from conftest import PATHS, ROOT, assert_quiet, error_line
from handmade import compile_hef, write_bundle

from fer_hailo.board.frames import Shot
from fer_hailo.board.images import read_picture, write_picture
from fer_hailo.board.mp4 import Mp4
from fer_hailo.board.session import Settings, analyse, faceless
from fer_hailo.common.metrics import softmax
from fer_hailo.common.runs import CONFIDENCE, MODEL


@pytest.fixture
def faces(sample_set, tmp_path):
    """Twelve drawn faces, 48 x 48: images that are faces already."""
    chosen = sorted((sample_set / "test").rglob("*.*"))[::2][:12]
    for number, path in enumerate(chosen):
        (tmp_path / "faces").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "faces" / f"{number:02d}{path.suffix}")
    return tmp_path / "faces"


@pytest.fixture
def model(converted):
    return converted / "model_float32.tflite"


def film(path, frames=40, size=(160, 120), rate=20):
    """A video of grey noise that moves."""
    import cv2

    path.parent.mkdir(exist_ok=True)
    codec = "mp4v" if path.suffix == ".mp4" else "MJPG"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, size)
    for number in range(frames):
        writer.write(np.full((size[1], size[0], 3), 40 + number % 200, np.uint8))
    writer.release()
    return path


def frames_of(path):
    import cv2

    capture, count = cv2.VideoCapture(str(path)), 0
    rate = capture.get(cv2.CAP_PROP_FPS)
    while capture.read()[0]:
        count += 1
    return count, rate


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_answers_are_the_networks(command, trained, model, faces):
    """Against a loop in plain OpenCV and Keras."""
    import cv2
    import keras

    result = command("run.py", "faces", "--detector", "none", "--model", model, "--json")
    assert result.returncode == 0, result.stderr
    assert_quiet(result)
    answers = json.loads(result.stdout)
    network = keras.models.load_model(trained / MODEL, compile=False)
    temperature = json.loads((trained / CONFIDENCE).read_text())["temperature"]
    assert [os.path.basename(entry["source"]) for entry in answers] == sorted(
        path.name for path in faces.iterdir()
    )
    for entry in answers:
        grey = cv2.imread(str(faces / os.path.basename(entry["source"])), cv2.IMREAD_GRAYSCALE)
        small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_CUBIC).astype(np.float32) / 127.5 - 1
        expected = softmax(np.asarray(network(np.repeat(small[None, ..., None], 3, axis=3))) / temperature)[0]
        (face,) = entry["faces"]
        assert (entry["width"], entry["height"], face["box"], face["track"]) == (48, 48, [0, 0, 48, 48], None)
        assert list(face["probabilities"]) == ["angry", "disgust", "happy", "neutral", "surprise"]
        assert list(face["probabilities"].values()) == pytest.approx(expected, abs=2e-3)
        assert face["label"] == max(face["probabilities"], key=face["probabilities"].get)


def test_nothing_is_stored_unless_asked_for(command, model, faces, tmp_path):
    before = listing(tmp_path)
    assert command("run.py", "faces", "--detector", "none", "--model", model).returncode == 0
    assert listing(tmp_path) == before


def test_one_bad_picture_does_not_stop_the_others(command, model, faces, tmp_path):
    import cv2

    (tmp_path / "text.jpg").write_text("I am no image")
    cv2.imwrite(str(tmp_path / "dot.png"), np.full((1, 1, 3), 7, np.uint8))
    cv2.imwrite(str(tmp_path / "large.png"), np.zeros((60, 60), np.uint8))
    sources = ["none.png", "text.jpg", "dot.png", "large.png", "faces/0[0-3].*", "nothing/*.png"]
    result = command(
        "run.py", *sources, "--model", model, "--detector", "none", "--max-pixels", 3000, "--json"
    )
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    told = ["none.png", "text.jpg", "large.png", "nothing/*.png"]
    assert [line.split(": ")[1] for line in lines] == told and "Traceback" not in result.stderr
    answers = json.loads(result.stdout)
    assert [entry["source"] for entry in answers if "problem" in entry] == told
    assert len([entry for entry in answers if "faces" in entry]) == 5
    (dot,) = [entry for entry in answers if entry["source"] == "dot.png"]
    assert (dot["width"], dot["height"], len(dot["faces"])) == (1, 1, 1)


@pytest.mark.parametrize("detector", ["haar", "none"])
def test_a_picture_of_one_pixel(command, model, tmp_path, detector):
    import cv2

    cv2.imwrite(str(tmp_path / "dot.png"), np.full((1, 1, 3), 7, np.uint8))
    result = command("run.py", "dot.png", "--model", model, "--detector", detector, "--json")
    assert result.returncode == 0 and len(json.loads(result.stdout)[0]["faces"]) == (detector == "none"), (
        result.stderr
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.png"], "none.png"),
        ([], "name an image"),
        (["faces", "--save", "faces/00.jpg"], "faces/00.jpg"),
        (["faces", "--detector", "none.onnx"], "none.onnx"),
        (["faces", "--margin", "9"], "must be a number from -0.5 to 2, not 9"),
        (["faces", "--every", "0"], "must be a whole number from 1 to 1000, not 0; or auto"),
        (["faces", "--model", "none.tflite"], "no model at none.tflite"),
        (["faces", "--web", "0.0.0.0:0"], "token"),
        (["faces", "--jsonn"], "did you mean --json"),
        (["0", "faces"], "only"),
        (
            ["faces", "--save", "out.png"],
            "--save takes a folder, or a .mp4 for one video, not the file out.png",
        ),
        (["faces", "--save", "out.mp4"], "out.mp4 takes one video, not 12 sources: give --save a folder"),
    ],
)
def test_mistakes(command, model, faces, tmp_path, arguments, said):
    if (tmp_path / "faces/00.png").exists():
        (tmp_path / "faces/00.png").rename(tmp_path / "faces/00.jpg")
    before = listing(tmp_path)
    arguments = arguments if "--model" in arguments else [*arguments, "--model", model]
    assert said in error_line(command("run.py", *arguments, FER_HAILO_TOKEN=""))
    assert listing(tmp_path) == before


def test_a_video(command, model, tmp_path):
    film(tmp_path / "clip.mp4")
    result = command(
        "run.py", "clip.mp4", "--model", model, "--detector", "none", "--jsonl", "--save", "out.mp4"
    )
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["frame"] for line in lines] == list(range(40)) and {
        line["faces"][0]["track"] for line in lines
    } == {1}
    assert [line["time_s"] for line in lines] == pytest.approx([n / 20 for n in range(40)], abs=1e-3)
    assert frames_of(tmp_path / "out.mp4") == (40, 20)
    assert "40 images in" in result.stderr


def test_faces_of_a_video_are_followed(inside, model, shared, tmp_path):
    photo = read_picture(shared / "data/photos/astronaut.png")
    films.film(tmp_path / "clip.mp4", [photo[:240, 60 + 2 * n : 380 + 2 * n] for n in range(6)])

    def found(*options):
        result = inside("run.py", "clip.mp4", "--model", model, "--jsonl", *options)
        assert result.returncode == 0, result.stderr
        return [json.loads(line)["faces"] for line in result.stdout.splitlines()]

    followed, each = found("--every", 4), found("--every", 1)
    assert [[face["detected"] for face in faces] for faces in followed] == [
        [True], [False], [False], [False], [True], [False],
    ]  # fmt: skip
    assert all(face["detected"] and face["track"] == 1 for faces in each for face in faces)
    for one, other in zip(followed, each, strict=True):
        assert one[0]["box"] == pytest.approx(other[0]["box"], abs=5)
    assert all(face["detected"] for faces in found("--detector", "none") for face in faces)


def test_what_has_no_face_says_so_at_the_end(inside, model, shared, tmp_path):
    write_picture(tmp_path / "a.png", films.plain())
    write_picture(tmp_path / "b.png", films.plain())
    films.film(tmp_path / "clip.mp4", [films.plain()] * 3)
    result = inside("run.py", "a.png", "clip.mp4", "b.png", "--model", model)
    asked = ": are faces upright, and larger than some 20 pixels?"
    said = [f"no face in any frame of clip.mp4{asked}", f"no face in any of the 2 images{asked}"]
    assert result.returncode == 0 and result.stderr.splitlines()[-2:] == said
    assert "no face in any" not in inside("run.py", "a.png", "--model", model).stderr  # its one line says it
    photo = read_picture(shared / "data/photos/astronaut.png")[:240, 100:340]
    write_picture(tmp_path / "b.png", np.ascontiguousarray(np.rot90(photo)))
    lying = inside("run.py", "a.png", "b.png", "--model", model, "--json")
    ((), (face,)) = [image["faces"] for image in json.loads(lying.stdout)]
    # The face's middle is at (223 - 100, 120), see test_faces.py: turned to the left at (120, 240 - 123)
    x, y, wide, high = face["box"]
    assert (x + wide / 2, y + high / 2) == pytest.approx((120, 117), abs=15) and "no face" not in lying.stderr
    haar = ("a.png", "b.png", "--model", model, "--detector", "haar", "--turn", "never")
    assert inside("run.py", *haar).stderr.splitlines()[-1] == said[1]


def test_many_videos_without_a_face_are_one_line():
    faces = {(f"{number}.mp4", True): 0 for number in range(5)} | {("good.mp4", True): 3, ("a.png", False): 0}
    (line,) = faceless(faces)
    assert line.startswith("no face in any frame of 0.mp4, 1.mp4, 2.mp4 and 2 more: ")
    assert faceless({("good.mp4", True): 3, ("a.png", False): 0, ("b.png", False): 1}) == []


def test_csv_and_saved_pictures(command, model, faces, tmp_path):
    import cv2

    film(tmp_path / "faces/clip.avi", frames=5)
    result = command("run.py", "faces", "--model", model, "--detector", "none", "--csv", "--save", "out")
    assert result.returncode == 0, result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(rows) == 12 + 5 and [
        row["frame"] for row in rows if row["source"].endswith("clip.avi")
    ] == list("01234")
    row = rows[0]
    assert [row[name] for name in ("face", "x", "y", "w", "h")] == ["0", "0", "0", "48", "48"] and 0 <= float(
        row[f"p_{row['label']}"]
    ) <= 1
    saved = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(saved) == 13 and all(
        cv2.imread(str(path)) is not None for path in saved if path.suffix != ".mp4"
    )
    assert frames_of(next(path for path in saved if path.suffix == ".mp4"))[0] == 5


def test_a_video_cut_in_half_is_read_as_far_as_it_goes(command, model, tmp_path):
    whole = film(tmp_path / "whole.avi", frames=60).read_bytes()
    (tmp_path / "half.avi").write_bytes(whole[: len(whole) // 2])
    result = command("run.py", "half.avi", "--model", model, "--detector", "none", "--jsonl")
    assert result.returncode == 1, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert 15 < len([line for line in lines if "faces" in line]) < 45
    (problem,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert problem.startswith("error: half.avi: ")
    film(tmp_path / "lost.mp4")
    data = (tmp_path / "lost.mp4").read_bytes()
    (tmp_path / "lost.mp4").write_bytes(data[: len(data) // 2])
    assert "lost.mp4" in error_line(command("run.py", "lost.mp4", "--model", model))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_leaves_a_video_that_plays(model, tmp_path, number):
    film(tmp_path / "long.mp4", frames=800)  # more than the pipe holds lines
    arguments = ["long.mp4", "--model", model, "--detector", "none", "--jsonl", "--save", "out.mp4"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *map(str, arguments)], cwd=tmp_path, env=os.environ | PATHS,
        text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    for _ in range(30):
        assert process.stdout.readline()
    process.send_signal(number)
    # Not communicate(), which loses what readline() had read beyond the line
    rest, said = process.stdout.read(), process.stderr.read()
    assert process.wait(60) == 130 and "Traceback" not in said and "interrupted: after" in said, said
    written = 30 + len(rest.splitlines())
    count, rate = frames_of(tmp_path / "out.mp4")
    # Stopped between the line and the frame
    assert rate == 20 and 29 <= count < 800 and abs(count - written) <= 1
    assert listing(tmp_path) == ["long.mp4", "out.mp4"]


def test_a_second_ctrl_c_does_not_cost_the_video(model, tmp_path, monkeypatch, capfd):
    film(tmp_path / "clip.mp4", frames=5)
    finish = Mp4.close

    def interrupted(video):
        signal.raise_signal(signal.SIGINT)
        finish(video)

    monkeypatch.setattr(Mp4, "close", interrupted)
    monkeypatch.chdir(tmp_path)
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            analyse(Settings(["clip.mp4"], str(model), detector="none", form="jsonl", save="out.mp4"))
    finally:
        signal.signal(signal.SIGINT, previous)
    assert frames_of(tmp_path / "out.mp4") == (5, 20) and len(capfd.readouterr().out.splitlines()) == 5
    assert listing(tmp_path) == ["clip.mp4", "out.mp4"]


class Given:
    """A source of given shots, which the user ends where one is None."""

    name, count = "clip.avi", None

    def __init__(self, shots, live):
        self.given, self.live = shots, live

    def shots(self):
        for shot in self.given:
            if shot is None:
                raise KeyboardInterrupt
            yield shot

    def stop(self):
        pass


@pytest.mark.parametrize(("live", "status"), [(False, 2), (True, 0)])
def test_damaged_frames_are_told_once_and_counted(model, monkeypatch, capfd, live, status):
    gone = [Shot("cam\x1b[2J\nera", None, problem="is gone, retrying")] * 2
    damaged = [
        Shot("clip.avi", None, number, number / 10, problem="a frame could not be decoded")
        for number in range(3, 9)
    ]
    monkeypatch.setattr(
        "fer_hailo.board.session.open_sources",
        lambda arguments, max_pixels, wish: [Given(gone + damaged, live)],
    )
    assert analyse(Settings(["clip.avi"], str(model))) == status
    *told, last = [
        line for line in capfd.readouterr().err.splitlines() if line.startswith(("error", "0 images"))
    ]
    assert told == ["error: cam?[2J?era: is gone, retrying"] * 2 + [
        "error: clip.avi: a frame could not be decoded (frame 3; the next such frames are counted)"
    ]
    assert "8 could not be read" in last


@pytest.mark.parametrize("source", ["0", "clip.avi"])
def test_ctrl_c_keeps_what_was_written(model, monkeypatch, capfd, source):
    shots = [Shot("clip.avi", np.zeros((60, 80, 3), np.uint8), 0, 0.0), None]
    monkeypatch.setattr(
        "fer_hailo.board.session.open_sources",
        lambda arguments, max_pixels, wish: [Given(shots, arguments == ["0"])],
    )
    with pytest.raises(KeyboardInterrupt, match="after 1 image in .* until here is kept") as end:
        analyse(Settings([source], str(model), detector="none", form="json"))
    assert len(json.loads(capfd.readouterr().out)) == 1
    assert ("latency p50" in str(end.value)) == (source == "0")


def test_a_closed_standard_output(model, tmp_path):
    result = subprocess.run(
        ["sh", "-c", '"$0" "$@" >&-', sys.executable, str(ROOT / "run.py"), "none.png", "--model",
        str(model)],
        cwd=tmp_path, env=os.environ | PATHS, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert "standard output is closed" in error_line(result)


def test_all_kinds_of_model_give_the_same_labels(command, trained, converted, faces, tmp_path):
    deploy = shutil.copytree(converted, tmp_path / "deploy")
    compiled = compile_hef(deploy, "--quick", 10, "--max-drop", 100, cwd=tmp_path)
    assert compiled.returncode == 0, compiled.stderr
    board = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "doubles/hailort")])}
    labels = {}
    for model in (
        trained / MODEL,
        deploy / "model_float32.tflite",
        deploy / "model_int8.tflite",
        deploy / "hailo8",
    ):
        result = command("run.py", "faces", "--detector", "none", "--model", model, "--json", **board)
        assert result.returncode == 0, result.stderr
        labels[model.name] = [entry["faces"][0]["label"] for entry in json.loads(result.stdout)]
    assert len(set(labels["hailo8"])) > 1 and len({tuple(found) for found in labels.values()}) == 1, labels


def test_red_is_red(command, tmp_path):
    """A network that tells colours apart, on images; with red and blue exchanged most predictions are
    wrong.
    """
    import cv2

    write_bundle(tmp_path / "deploy")
    images, truth = handmade.pictures()
    images, truth = images[:60], [handmade.NAMES[label] for label in truth[:60]]
    for folder, order in (("right", cv2.COLOR_RGB2BGR), ("swapped", None)):
        (tmp_path / folder).mkdir()
        for number, image in enumerate(images):
            cv2.imwrite(
                str(tmp_path / f"{folder}/{number}.png"),
                image if order is None else cv2.cvtColor(image, order),
            )
    shares = {}
    for folder in ("right", "swapped"):
        result = command(
            "run.py", folder, "--detector", "none", "--model", "deploy/model_float32.tflite", "--json"
        )
        assert result.returncode == 0, result.stderr
        answers = [entry["faces"][0]["label"] for entry in json.loads(result.stdout)]
        shares[folder] = np.mean([answer == label for answer, label in zip(answers, truth, strict=True)])
    assert shares["right"] > 0.7 and shares["swapped"] < 0.55, shares


def test_flags_reach_what_they_are_for(model, faces, monkeypatch, capfd):
    import fer_hailo.board.session as module
    import run as script

    seen, load = {}, module.load

    def loaded(path, threads, batch):
        seen["load"] = threads, batch
        return load(path, threads, batch)

    def ran(sources, analyzer, sinks, smooth, watched, statistics, problem, picture, every):
        seen["run"] = (
            analyzer.margin,
            type(analyzer.detectors[0]).__name__,
            len(sinks),
            smooth,
            watched,
            sources[0].max_pixels,
            analyzer.turn,
            every,
        )

    monkeypatch.setattr(module, "load", loaded)
    monkeypatch.setattr(module, "run", ran)
    given = [str(faces), "--model", str(model)]
    assert script.main(given) == 0 and seen == {
        "load": (1, 8),
        "run": (None, "YuNetDetector", 1, 0.5, False, 10**8, True, None),
    }
    flags = [
        "--threads=3",
        "--batch=5",
        "--margin=0.25",
        "--detector=haar",
        "--turn=never",
        "--every=3",
        "--smooth=2.5",
        "--max-pixels=7",
        "--web=0",
    ]
    assert script.main([*given, *flags]) == 0 and seen == {
        "load": (3, 5),
        "run": (0.25, "HaarDetector", 2, 2.5, True, 7, False, 3),
    }
    assert "look at http://127.0.0.1:" in capfd.readouterr().err


def test_the_photograph(command, shared, model):
    photo = shared / "data/photos/astronaut.png"
    for detector in ("haar", "yunet"):
        result = command("run.py", photo, "--model", model, "--detector", detector, "--json")
        assert result.returncode == 0, result.stderr
        (entry,) = json.loads(result.stdout)
        (face,) = entry["faces"]
        x, y, width, height = face["box"]
        assert (entry["width"], entry["height"]) == (512, 512)
        # Seen by eye
        assert abs(x + width / 2 - 223) < 20 and abs(y + height / 2 - 120) < 25 and 60 < width < 140


def test_a_board_needs_numpy_opencv_and_litert_only(command, model, faces, tmp_path):
    code = (
        "import sys; sys.modules['PIL'] = None; import run; status = run.run(run.main, sys.argv[1:]); "
        "print(*sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr); sys.exit(status)"
    )
    arguments = ["faces", "--detector", "none", "--model", model, "--save", "out", "--explain"]
    result = command([sys.executable, "-c", code], *arguments)
    assert result.returncode == 0 and (tmp_path / "out/00-explained.png").is_file(), result.stderr
    loaded = set(result.stderr.splitlines()[-1].split())
    assert not loaded & {
        "tensorflow",
        "keras",
        "jax",
        "torch",
        "yaml",
        "matplotlib",
        "sklearn",
        "scipy",
        "bottle",
        "hailo_platform",
    }
