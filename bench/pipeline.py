"""From video frame to labels: run.py's way against the package `fer`, on the same video and machine, in
turns.

    python bench/pipeline.py [--model FILE] [--photo FILE] [--fer-python PYTHON]

(a) run.py's pipeline, its parts in threads, on each core a frame      (b) the same parts one after the other
(c) fer with its quantized TFLite network, its default      (d) fer with its Keras network
(e) as (a), with another detector; only where a YuNet file is given

Both sides look for faces in every frame with OpenCV's Haar cascade and the same parameters, and classify
every face. The video is made here: a photograph, panned and zoomed. `fer` gets an environment of its own, see
bench/environments.py. The photograph is data/photos/astronaut.png in ../shared or $FER_HAILO_SHARED where
that is, else the portrait among Matplotlib's sample data.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.environments import environment
from fer_hailo.board import pipeline
from fer_hailo.board.analysis import Analyzer
from fer_hailo.board.faces import HaarDetector, open_detector
from fer_hailo.board.frames import Result
from fer_hailo.board.images import read_picture, to_bgr
from fer_hailo.board.sources import open_sources
from fer_hailo.common.cli import Parser, run
from fer_hailo.common.errors import UserError
from fer_hailo.deploy.home import Home, resolve
from fer_hailo.predict.predictor import Predictor, load

ROOT = Path(__file__).parents[1]
FER = "fer"
WIDTH, HEIGHT, RATE = 640, 480, 30
HAAR = {"scale_factor": 1.1, "min_neighbors": 6, "min_size": HEIGHT // 12}
PARTS = ("read", "detect", "cut + prepare", "classify")
NAMES = {
    "a": "(a) run.py",
    "b": "(b) one by one",
    "c": "(c) fer, TFLite",
    "d": "(d) fer, Keras",
    "e": "(e) run.py, YuNet",
}


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model",
        help="model file or folder [the newest run's, else an untrained network of configs/finetune.yaml]",
    )
    parser.add_argument("--photo", type=Path, help="photograph with a face seen from the front [see above]")
    parser.add_argument("--yunet", metavar="FILE.onnx", help="also measure run.py with this detector")
    parser.add_argument(
        "--fer-python", metavar="PYTHON", help=f"Python that has {FER} [made by bench/environments.py]"
    )
    parser.add_argument("--frames", type=int, default=60, help="frames of the video [60]")
    parser.add_argument("--rounds", type=int, default=6, help="rounds; the first is not counted [6]")
    parser.add_argument("--threads", type=int, help="OpenCV's threads, on both sides [as OpenCV chooses]")
    arguments = parser.parse_args(argv)
    if arguments.frames < 2 or arguments.rounds < 2:
        raise UserError("--frames and --rounds must be 2 or more")
    photo = arguments.photo or _photo()
    python = arguments.fer_python or environment(FER)
    with tempfile.TemporaryDirectory() as folder, load(_model(arguments.model, Path(folder))) as predictor:
        video = write_video(Path(folder) / "pan.mp4", photo, arguments.frames)
        with _fer(python) as order:
            compare(video, photo.name, predictor, order, arguments.rounds, arguments.threads, arguments.yunet)


def write_video(path: Path, photo: Path, frames: int) -> Path:
    """An MP4 of `frames` frames, WIDTH x HEIGHT: a window that moves over the photograph and back, and comes
    nearer by a quarter.
    """
    import cv2

    try:
        picture = to_bgr(read_picture(photo))
    except ValueError as error:
        raise UserError(f"{photo} {error}") from None
    side = min(picture.shape[:2])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), RATE, (WIDTH, HEIGHT))
    if not writer.isOpened():
        raise UserError("this OpenCV cannot write MP4 files: install opencv-python")
    for turn in np.linspace(0, 2 * np.pi, frames):
        scale = HEIGHT / side * (1.125 - 0.125 * np.cos(turn))
        middle = np.array(picture.shape[1::-1]) / 2 + side / 10 * np.array(
            [np.sin(turn), np.sin(2 * turn) / 2]
        )
        shift = np.array([WIDTH, HEIGHT]) / 2 - scale * middle
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        writer.write(
            cv2.warpAffine(
                picture, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
        )
    writer.release()
    return path


def compare(
    video: Path, name: str, predictor: Predictor, order, rounds: int, threads: int | None, yunet: str | None
) -> None:
    """Time the four ways in turn, round by round, and print medians, parts and ratios."""
    import cv2

    cv2.setNumThreads(-1 if threads is None else threads)
    threads = cv2.getNumThreads()
    parallel = Analyzer(predictor, [HaarDetector(**HAAR) for _ in range(os.cpu_count() or 1)])
    single = Analyzer(predictor, [HaarDetector(**HAAR)])
    asked = {"video": str(video), "threads": threads, **HAAR}
    ways = {
        "a": lambda: whole(video, parallel, threads),
        "b": lambda: one_by_one(video, single),
        "c": lambda: order(asked | {"variant": "tflite", "parts": False}),
        "d": lambda: order(asked | {"variant": "keras", "parts": False}),
    }
    if yunet:
        other = Analyzer(predictor, [open_detector(yunet) for _ in parallel.detectors])
        ways["e"] = lambda: whole(video, other, threads)
    speeds, faces, parts = {way: [] for way in ways}, {}, {"b": [], "c": [], "d": []}
    for number in range(rounds):
        for way, play in ways.items():
            done = play()
            faces[way] = done["faces"]
            if number:
                speeds[way].append(len(done["faces"]) / done["seconds"])
                if way in "cd":  # its parts can only be told apart at a little cost: in a pass of their own
                    done = order(asked | {"variant": {"c": "tflite", "d": "keras"}[way], "parts": True})
                if done["ms"]:
                    parts[way].append(done)
        said = ", ".join(f"({way}) {s[-1]:.1f}" for way, s in speeds.items()) if number else "not counted"
        print(f"round {number}: {said}", file=sys.stderr)
    found = _check(faces)
    own = getattr(predictor.backend, "latency_ms", None)
    parts["b"][-1]["alone_ms"] = own() if own else None
    print(f"{name}, panned: {len(faces['a'])} frames of {WIDTH} x {HEIGHT}; Haar: {HAAR}; {found}")
    print(
        f"{predictor.path.name} ({predictor.stage}, {predictor.spec.input_size} px), {os.cpu_count()} cores, "
        f"{threads} OpenCV threads"
    )
    print(f"median of {rounds - 1} rounds [lowest, highest]; ms a frame")
    print(
        f"{'':<18}{'frames/s':>24}{'ms':>9}"
        + "".join(f"{part:>15}" for part in PARTS)
        + f"{'network alone':>15}"
    )
    for way in ways:
        rate = f"{np.median(speeds[way]):.1f} [{min(speeds[way]):.1f}, {max(speeds[way]):.1f}]"
        print(f"{NAMES[way]:<18}{rate:>24}{1000 / np.median(speeds[way]):>9.1f}{_parts(parts.get(way, []))}")
    print("frames/s of ours over theirs, round by round:")
    for one, other in [(ours, theirs) for theirs in "cd" for ours in "abe" if ours in ways]:
        pairs = np.array(speeds[one]) / np.array(speeds[other])
        print(f"  ({one})/({other}) {np.median(pairs):.3f}  [{pairs.min():.3f}, {pairs.max():.3f}]")
    if own:
        print(f"around the network: {_overhead(predictor):.1%} of its own time, from bytes to probabilities")


class Counts:
    """An output that keeps the number of faces in each frame."""

    draws = False

    def __init__(self):
        self.faces = []

    def write(self, result: Result, drawn: np.ndarray | None) -> None:
        self.faces.append(len(result.faces))

    def close(self) -> None:
        """Nothing is open."""


def whole(video: Path, analyzer: Analyzer, threads: int) -> dict:
    """The pipeline of run.py on a file, without an image or a line of output. threads: OpenCV's for the other
    ways; here it has one.
    """
    import cv2

    cv2.setNumThreads(1)  # as run.py does: each core has a frame of its own
    counts, start = Counts(), time.perf_counter()
    pipeline.run(
        open_sources([str(video)], 10**8), analyzer, [counts], smooth_s=0.5, watched=False,
        statistics=pipeline.Statistics(),
        on_problem=_stop, on_picture=lambda result: None,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    cv2.setNumThreads(threads)
    return {"seconds": seconds, "faces": counts.faces, "ms": {}}


def one_by_one(video: Path, analyzer: Analyzer) -> dict:
    """The same parts in one thread, each timed."""
    (source,) = open_sources([str(video)], 10**8)
    faces, spent, shots = [], dict.fromkeys(PARTS, 0.0), source.shots()

    def timed(part, function, *arguments):
        begin = time.perf_counter()
        result = function(*arguments)
        spent[part] += time.perf_counter() - begin
        return result

    start = time.perf_counter()
    while (shot := timed("read", next, shots, None)) is not None:
        if shot.image is None:
            _stop(shot)
        found = timed("detect", analyzer.detect, shot.image)
        if found:
            analyzer.readings(
                found,
                timed(
                    "classify",
                    analyzer.predictor.predict,
                    timed("cut + prepare", analyzer.inputs, shot.image, found),
                ),
            )
        faces.append(len(found))
    return {
        "seconds": time.perf_counter() - start,
        "faces": faces,
        "ms": {part: 1000 * s / len(faces) for part, s in spent.items()},
    }


def _stop(shot) -> None:
    raise UserError(f"the video could not be read back: {shot.problem}")


def _check(faces: dict[str, list[int]]) -> str:
    """How many faces the ways found. Raises UserError where the two sides had different work to do."""
    found = {way: sum(counts) for way, counts in faces.items()}
    if not found["c"]:
        raise UserError(
            "no face is found in the video: give another --photo, with a face seen from the front"
        )
    if not all(faces[way] == faces["c"] for way in "abd"):
        raise UserError(
            f"run.py and {FER} found other faces ({found}): no fair comparison; do both have one version of "
            "OpenCV?"
        )
    return "faces found: " + ", ".join(f"({way}) {count}" for way, count in found.items())


def _parts(done: list[dict]) -> str:
    """Median ms of each part; fer does not tell cutting and preparing from classifying."""
    if not done:
        return ""
    cells = []
    for part in PARTS:
        times = [entry["ms"][part] for entry in done if part in entry["ms"]]
        cells.append(f"{np.median(times):>15.2f}" if times else f"{'(with classify)':>15}")
    alone = done[-1]["alone_ms"]
    return "".join(cells) + (f"{alone:>15.2f}" if alone else f"{'unknown':>15}")


def _overhead(predictor: Predictor) -> float:
    """What `predict` takes of one face beyond the network's own time, as a part of that: median of turns."""
    from fer_hailo.board.benchmark import call_times

    face = np.random.default_rng(0).integers(0, 256, (1, *[predictor.spec.input_size] * 2, 3), np.uint8)
    ratios = []
    for _ in range(20):
        alone = predictor.backend.latency_ms(100)
        ratios.append(1000 * np.median(call_times(lambda: predictor.predict(face), 0.1)) / alone)
    return float(np.median(ratios)) - 1


def _model(name: str | None, folder: Path) -> Home:
    """The model that is meant; without a name and a run, an untrained network, which is as fast as a trained
    one.
    """
    try:
        return resolve(name)
    except UserError:
        if name:
            raise
    from fer_hailo.common.config import load_config, save_config
    from fer_hailo.training.convert.tflite import to_tflite
    from fer_hailo.training.models.build import build_model

    print("no run here: measuring an untrained network of configs/finetune.yaml", file=sys.stderr)
    config = load_config(ROOT / "configs" / "finetune.yaml", {"weights": "none"})
    save_config(config, folder / "config.yaml")
    (folder / "untrained.tflite").write_bytes(to_tflite(build_model(config, stage=2)))
    return resolve(folder / "untrained.tflite")


def _photo() -> Path:
    photo = (
        Path(os.environ.get("FER_HAILO_SHARED", ROOT.parent / "shared")) / "data" / "photos" / "astronaut.png"
    )
    if photo.is_file():
        return photo
    import matplotlib

    return Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


@contextlib.contextmanager
def _fer(python: str):
    """Give a function that sends an order to bench/fer_package.py and returns its reply."""
    with tempfile.TemporaryFile("w+") as said:
        program = [python, str(Path(__file__).with_name("fer_package.py"))]
        try:
            child = subprocess.Popen(
                program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
            )
        except OSError as error:
            raise UserError(f"{python} cannot be started: {error.strerror}") from None

        def order(values: dict) -> dict:
            with contextlib.suppress(BrokenPipeError):
                print(json.dumps(values), file=child.stdin, flush=True)
            answer = child.stdout.readline()
            if not answer:
                said.seek(0)
                last = (said.read().strip().splitlines() or ["it said nothing"])[-1]
                raise UserError(f"{FER} failed in {python}: {last[:200]}")
            return json.loads(answer)

        try:
            yield order
        finally:
            with contextlib.suppress(BrokenPipeError):
                child.stdin.close()
            child.terminate()
            child.wait()


if __name__ == "__main__":
    sys.exit(run(main))
