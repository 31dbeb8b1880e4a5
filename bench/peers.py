"""The released models and other packages that ship their weights, on the same images of FER2013's test side,
in one run.

    python bench/peers.py [--data PATH] [--results FILE] [--model FILE ...]

Each peer runs in an environment of its own, made at the first call in .venv-peers/. All get the 48x48 faces
and prepare them in their own way; those of seven classes answer with the likeliest of ours. Milliseconds: one
face, one thread, from its bytes to probabilities, median. Rows go to the results file; docs/results.csv is
the one from which the tables of README and docs/results.md are made.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.environments import environment
from fer_hailo.common.cli import Parser, run
from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.common.metrics import compute_metrics
from fer_hailo.common.preprocess import prepare
from fer_hailo.common.progress import track
from fer_hailo.common.results import Row, add_rows, row_of
from fer_hailo.common.runs import RUNS
from fer_hailo.deploy.bundle import FLOAT, MANIFEST
from fer_hailo.deploy.home import resolve
from fer_hailo.formats.tflite import read_tflite
from fer_hailo.predict.outside import ask as ask_program
from fer_hailo.predict.predictor import load
from fer_hailo.training.data.dataset import Part, load_dataset

FACES = 450  # timed, the first fifty to warm up
OURS = [
    RUNS / folder / name
    for folder in ("released", "released_minimalistic")
    for name in ("model_float32.tflite", "model_int8.tflite")
]


@dataclass(frozen=True)
class Peer:
    """A package: name and version, what bench/peer.py calls it, whose environment it needs, and the side of
    its input, pixels.
    """

    package: str
    kind: str
    environment: str
    input_size: int

    @property
    def command(self) -> list[str]:
        """What asks it, see fer_hailo.predict.outside. Makes its environment where there is none."""
        return [environment(self.environment), str(Path(__file__).with_name("peer.py")), self.kind]


PEERS = (
    Peer("fer 25.10.3, TFLite", "fer-tflite", "fer", 64),
    Peer("fer 25.10.3, Keras", "fer-keras", "fer", 64),
    Peer("facial_emotion_recognition 0.3.4", "facial_emotion_recognition", "facial_emotion_recognition", 48),
)


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fer2013", help="FER2013: folder, zip or CSV [fer2013]")
    parser.add_argument(
        "--results",
        type=Path,
        default=RUNS / "results.csv",
        metavar="FILE",
        help=f"where rows go [{RUNS}/results.csv]",
    )
    parser.add_argument(
        "--model",
        nargs="+",
        type=Path,
        default=OURS,
        help="ours: TFLite files beside their manifest.json [the released]",
    )
    arguments = parser.parse_args(argv)
    dataset = load_dataset(Config.of(data=arguments.data), RUNS / "cache")
    test = dataset.part("test")
    names = {path: _name(path, dataset.names) for path in arguments.model}
    rows = [
        _row(*own(path, test), test, dataset, run=name, size_bytes=path.stat().st_size)
        for path, name in names.items()
    ]
    failed = 0
    for peer in PEERS:
        try:
            answers = ask(peer, np.asarray(test.images), dataset.names)
            rows.append(_row(*answers, test, dataset, run=peer.package))
        except UserError as error:
            failed += 1
            print(f"error: {error}", file=sys.stderr)
    now = time.strftime("%Y-%m-%dT%H:%M:%S")  # one for all: it tells which rows are of one run
    add_rows(arguments.results, [replace(row, date=now) for row in rows])
    print(
        f"{dataset.name}, test: {len(test):,} images; one thread, one face at a time, {os.cpu_count()} cores"
    )
    print(f"{'':<58}{'input':>6}{'parameters':>12}{'accuracy':>10}{'macro recall':>14}{'ms':>8}")
    for row in rows:
        name = row.run if row.stage == "peer" else f"{row.run}, {row.stage}"
        scores = f"{float(row.accuracy):>10.2%}{float(row.macro_recall):>14.2%}{float(row.latency_ms):>8.2f}"
        print(f"{name:<58}{row.input_size:>6}{row.parameters:>12,}{scores}")
    print(f"rows in {arguments.results}")
    return 1 if failed else 0


def own(path: Path, test: Part) -> tuple[np.ndarray, int, float, int, str]:
    """Probabilities (N, C), parameters, milliseconds, input side and stage of a TFLite file of ours."""
    import cv2

    cv2.setNumThreads(1)
    with load(resolve(path)) as predictor:
        spec = predictor.spec
        answers = [
            predictor.predict(prepare(face, spec)[None])[0]
            for face in track(test.images, len(test), f"scoring {path.name}")
        ]
        times = []
        for face in test.images[:FACES]:
            start = time.perf_counter()
            predictor.predict(prepare(face, spec)[None])
            times.append(1000 * (time.perf_counter() - start))
        parameters = read_tflite(path.parent / FLOAT).parameters
        return np.stack(answers), parameters, float(np.median(times[50:])), spec.input_size, predictor.stage


def ask(peer: Peer, faces: np.ndarray, names: tuple[str, ...]) -> tuple[np.ndarray, int, float, int, str]:
    """The same of a peer; its seven classes cut down to ours."""
    print(f"asking {peer.package}", file=sys.stderr)
    answers = ask_program(peer.command, peer.package, faces, names)
    parameters, times = (answers.rest[name] for name in ("parameters", "times_ms"))
    return answers.probabilities, int(parameters), float(np.median(times)), peer.input_size, "peer"


def _row(
    probabilities, parameters, milliseconds, side, stage, test: Part, dataset, *, run: str, size_bytes=""
) -> Row:
    metrics = compute_metrics(
        probabilities, test.labels, dataset.names, data=dataset.name, split="test", sha256=test.sha256()
    )
    extra = {
        "latency_ms": milliseconds,
        "parameters": parameters,
        "input_size": side,
        "size_bytes": size_bytes,
    }
    return row_of(metrics, run=run, stage=stage, **extra)


def _name(path: Path, labels: tuple[str, ...]) -> str:
    """The run that a model came from. Raises UserError where it lies alone or knows other classes."""
    if resolve(path).labels != labels:
        raise UserError(f"{path} knows other classes than {', '.join(labels)}")
    if not (path.parent / MANIFEST).is_file() or not (path.parent / FLOAT).is_file():
        raise UserError(
            f"{path} does not lie with its {MANIFEST} and {FLOAT}: give one of a released or a deploy folder"
        )
    return json.loads((path.parent / MANIFEST).read_text(encoding="utf-8"))["name"]


if __name__ == "__main__":
    sys.exit(run(main))
