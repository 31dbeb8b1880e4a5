"""From video frame to labels: run.py against the package `fer`, on the same video and machine, in turns.

    python bench/pipeline.py [--model FILE] [--photo FILE] [--fer-python PYTHON]

(a) run.py as it comes: YuNet, faces followed      (b) run.py --every 1: YuNet in each whole frame
(c) run.py --detector haar --every 1, with fer's parameters: the same boxes as fer
(d) fer as it comes: OpenCV's Haar cascade in each frame, a quantized TFLite network
(e) fer with its Keras network

The video is made here (bench/film.py): a photograph three times, panned, zoomed and tilted, so that it is
known where its faces are. `fer` gets an environment of its own, see bench/environments.py. The photograph is
data/photos/astronaut.png in ../shared or $FER_HAILO_SHARED where that is, else the portrait among
Matplotlib's sample data.
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
from bench.film import HEIGHT, WIDTH, on_faces, write_film
from fer_hailo.board import pipeline
from fer_hailo.board.analysis import Analyzer
from fer_hailo.board.faces import HaarDetector, open_detector
from fer_hailo.board.frames import Result
from fer_hailo.board.sources import open_sources
from fer_hailo.common.cli import Parser, run
from fer_hailo.common.errors import UserError
from fer_hailo.deploy.home import resolve
from fer_hailo.predict.predictor import Predictor, load

ROOT = Path(__file__).parents[1]
FER = "fer"
HAAR = {"scale_factor": 1.1, "min_neighbors": 5, "min_size": 50}  # fer's defaults
PARTS = ("read", "detect", "classify")
NAMES = {
    "a": "(a) run.py",
    "b": "(b) run.py --every 1",
    "c": "(c) run.py, Haar",
    "d": "(d) fer",
    "e": "(e) fer, Keras",
}


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model",
        help="model file or folder [the newest run's, else the released one]",
    )
    parser.add_argument("--photo", type=Path, help="photograph with a face seen from the front [see above]")
    parser.add_argument(
        "--fer-python", metavar="PYTHON", help=f"Python that has {FER} [made by bench/environments.py]"
    )
    parser.add_argument("--frames", type=int, default=150, help="frames of the video [150]")
    parser.add_argument("--rounds", type=int, default=4, help="rounds; the first is not counted [4]")
    parser.add_argument("--threads", type=int, help="OpenCV's threads, on both sides [as OpenCV chooses]")
    arguments = parser.parse_args(argv)
    if arguments.frames < 2 or arguments.rounds < 2:
        raise UserError("--frames and --rounds must be 2 or more")
    photo = arguments.photo or _photo()
    python = arguments.fer_python or environment(FER)
    with tempfile.TemporaryDirectory() as folder, load(resolve(arguments.model)) as predictor:
        video = Path(folder) / "film.mp4"
        faces = write_film(video, photo, arguments.frames)
        with _fer(python) as order:
            compare(video, faces, predictor, order, arguments.rounds, arguments.threads)


def compare(
    video: Path, faces: list[np.ndarray], predictor: Predictor, order, rounds: int, threads: int | None
) -> None:
    """Time the ways in turn, round by round, and print medians, parts, ratios and what they found.

    faces: of each frame, see write_film. order: see _fer.
    """
    import cv2

    cv2.setNumThreads(-1 if threads is None else threads)
    threads, cores = cv2.getNumThreads(), os.cpu_count() or 1
    asked = {"video": str(video), "threads": threads}
    ways = {
        "a": lambda: whole(video, Analyzer(predictor, [open_detector()]), None, threads),
        "b": lambda: whole(video, Analyzer(predictor, [open_detector() for _ in range(cores)]), 1, 1),
        "c": lambda: whole(video, Analyzer(predictor, [HaarDetector(**HAAR) for _ in range(cores)]), 1, 1),
        "d": lambda: order(asked | {"variant": "tflite", "parts": False}),
        "e": lambda: order(asked | {"variant": "keras", "parts": False}),
    }
    speeds, boxes, parts = {way: [] for way in ways}, {}, {way: [] for way in ways}
    for number in range(rounds):
        for way, play in ways.items():
            done = play()
            boxes[way] = done["boxes"]
            if number:
                speeds[way].append(len(faces) / done["seconds"])
                if way in "de":  # its parts can only be told apart at a little cost: in a pass of their own
                    done = order(asked | {"variant": {"d": "tflite", "e": "keras"}[way], "parts": True})
                parts[way].append(done["ms"])
        said = ", ".join(f"({way}) {s[-1]:.1f}" for way, s in speeds.items()) if number else "not counted"
        print(f"round {number}: {said}", file=sys.stderr)
    cv2.setNumThreads(threads)
    _print(predictor, faces, boxes, speeds, parts, threads)


def _print(
    predictor: Predictor, faces: list[np.ndarray], boxes: dict, speeds: dict, parts: dict, threads: int
):
    """The table and the ratios."""
    found = check(faces, boxes)
    print(
        f"{len(faces)} frames of {WIDTH} x {HEIGHT}, {sum(map(len, faces))} faces; {predictor.path.name} "
        f"({predictor.stage}, {predictor.spec.input_size} px); {os.cpu_count()} cores, {threads} threads"
    )
    print(
        f"frames/s: median of {len(speeds['a'])} rounds [lowest, highest]; ms that each part works a frame,"
    )
    print("in run.py all at once; faces that got a box, in all frames, and boxes that are on none")
    columns = "".join(f"{part:>10}" for part in PARTS) + f"{'faces':>8}{'others':>8}"
    print(f"{'':<22}{'frames/s':>24}{columns}")
    for way, rates in speeds.items():
        rate = f"{np.median(rates):.1f} [{min(rates):.1f}, {max(rates):.1f}]"
        cells = "".join(f"{np.median([ms[part] for ms in parts[way]]):>10.2f}" for part in PARTS)
        others = sum(map(len, boxes[way])) - sum(found[way])
        print(f"{NAMES[way]:<22}{rate:>24}{cells}{sum(found[way]):>8}{others:>8}")
    for ours, theirs in [(ours, theirs) for theirs in "de" for ours in "abc"]:
        pairs, more = np.array(speeds[ours]) / speeds[theirs], np.array(found[ours]) - found[theirs]
        print(
            f"({ours})/({theirs}): {np.median(pairs):.2f} times the frames/s [{pairs.min():.2f}, "
            f"{pairs.max():.2f}]; more faces in {(more > 0).sum()} frames, fewer in {(more < 0).sum()}"
        )
    if getattr(predictor.backend, "latency_ms", None):
        print(f"around the network: {_overhead(predictor):.1%} of its own time, from bytes to probabilities")


class Boxes:
    """An output that keeps the boxes of each frame."""

    draws = False

    def __init__(self):
        self.boxes = []

    def write(self, result: Result, drawn: np.ndarray | None) -> None:
        self.boxes.append([face.box for face in result.faces])

    def close(self) -> None:
        """Nothing is open."""


def whole(video: Path, analyzer: Analyzer, every: int | None, threads: int) -> dict:
    """The pipeline of run.py on a file, without an image or a line of output. threads: OpenCV's, in each of
    the pipeline's own.
    """
    import cv2

    cv2.setNumThreads(threads)
    kept, statistics, start = Boxes(), pipeline.Statistics(), time.perf_counter()
    pipeline.run(
        open_sources([str(video)], 10**8), analyzer, [kept], smooth_s=0.5, watched=False,
        statistics=statistics, on_problem=_stop, on_picture=lambda result: None, every=every,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    ms = {part: 1000 * statistics.seconds[part] / len(kept.boxes) for part in PARTS}
    return {"seconds": seconds, "boxes": kept.boxes, "ms": ms}


def _stop(shot) -> None:
    raise UserError(f"the video could not be read back: {shot.problem}")


def check(faces: list[np.ndarray], boxes: dict[str, list]) -> dict[str, list[int]]:
    """How many of each frame's faces the ways found.

    Raises UserError where fer found none, or run.py found other boxes with fer's detector and parameters.
    """
    found = {
        way: [on_faces(seen, there) for seen, there in zip(told, faces, strict=True)]
        for way, told in boxes.items()
    }
    if not sum(found["d"]):
        raise UserError(f"{FER} finds no face in the video: give another --photo")
    if list(map(len, boxes["c"])) != list(map(len, boxes["d"])):
        raise UserError(
            f"run.py and {FER} found other faces with the same cascade: no fair comparison; do both have one "
            "version of OpenCV?"
        )
    return found


def _overhead(predictor: Predictor) -> float:
    """What `predict` takes of one face beyond the network's own time, as a part of that: median of turns."""
    from fer_hailo.board.benchmark import call_times

    face = np.random.default_rng(0).integers(0, 256, (1, *[predictor.spec.input_size] * 2, 3), np.uint8)
    ratios = []
    for _ in range(20):
        alone = predictor.backend.latency_ms(100)
        ratios.append(1000 * np.median(call_times(lambda: predictor.predict(face), 0.1)) / alone)
    return float(np.median(ratios)) - 1


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
