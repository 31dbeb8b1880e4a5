"""What bench/peers.py compares: TFLite files of ours, and networks of other packages, each asked by a program
of its own.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from bench.environments import environment
from bench.peer import TIMED
from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import prepare
from fer_hailo.deploy.bundle import FLOAT, MANIFEST
from fer_hailo.deploy.home import resolve
from fer_hailo.formats.tflite import read_tflite
from fer_hailo.predict.litert import LiteRT
from fer_hailo.predict.outside import ask as ask_program
from fer_hailo.predict.predictor import load

INT8_STAGE = "tflite-int8"


class Answers(NamedTuple):
    """probabilities: float (N, C). milliseconds: of one face, one thread, from its bytes to probabilities;
    median.
    """

    probabilities: np.ndarray
    milliseconds: float
    parameters: int


class Contender(Protocol):
    """name, stage, input_size (pixels), size_bytes: as in results.csv."""

    @property
    def name(self) -> str: ...
    @property
    def stage(self) -> str: ...
    @property
    def input_size(self) -> int: ...
    @property
    def size_bytes(self) -> int | str: ...

    def ask(self, faces: np.ndarray, labels: tuple[str, ...]) -> Answers:
        """uint8 (N, 48, 48) to probabilities of `labels`; started anew at each call."""


@dataclass(frozen=True)
class Own:
    """A TFLite file of ours, INT8 throughout, see `own`."""

    path: Path
    name: str
    input_size: int
    size_bytes: int
    parameters: int
    stage = INT8_STAGE

    def ask(self, faces: np.ndarray, labels: tuple[str, ...]) -> Answers:
        import cv2

        cv2.setNumThreads(1)
        with load(resolve(self.path)) as predictor:

            def classify(face):
                return predictor.predict(prepare(face, predictor.spec)[None])[0]

            probabilities, times = [classify(face) for face in faces], []
            for face in faces[:TIMED]:
                start = time.perf_counter()
                classify(face)
                times.append(1000 * (time.perf_counter() - start))
        return Answers(np.stack(probabilities), float(np.median(times)), self.parameters)


def own(path: Path, labels: tuple[str, ...]) -> Own:
    """A model file in a released or deploy folder.

    Raises UserError where it lies alone, knows other classes, or computes anything in float.
    """
    home = resolve(path)
    if home.labels != labels:
        raise UserError(f"{path} knows other classes than {', '.join(labels)}")
    if not (path.parent / MANIFEST).is_file() or not (path.parent / FLOAT).is_file():
        raise UserError(
            f"{path} does not lie with its {MANIFEST} and {FLOAT}: give one of a released or a deploy folder"
        )
    if path.suffix != ".tflite" or LiteRT(path).stage != INT8_STAGE:
        raise UserError(f"{path} is not INT8 throughout: only such are compared with peers")
    name = json.loads((path.parent / MANIFEST).read_text(encoding="utf-8"))["name"]
    parameters = read_tflite(path.parent / FLOAT).parameters
    return Own(path, name, home.spec.input_size, path.stat().st_size, parameters)


@dataclass(frozen=True)
class Peer:
    """A package. name: with its version, and the precision that it computes in. kind: what bench/peer.py
    calls it. environment: see bench/environments.py.
    """

    name: str
    kind: str
    environment: str
    input_size: int
    stage = "peer"
    size_bytes = ""

    def ask(self, faces: np.ndarray, labels: tuple[str, ...]) -> Answers:
        """Its seven classes cut down to ours. Makes its environment where there is none."""
        print(f"asking {self.name}", file=sys.stderr)
        command = [environment(self.environment), str(Path(__file__).with_name("peer.py")), self.kind]
        answers = ask_program(command, self.name, faces, labels)
        parameters, times = (answers.rest[name] for name in ("parameters", "times_ms"))
        return Answers(answers.probabilities, float(np.median(times)), int(parameters))


REFERENCE = Peer("fer 25.10.3, TFLite (float32, most weights int8)", "fer-tflite", "fer", 64)
PEERS = (
    REFERENCE,
    Peer("fer 25.10.3, Keras (float32)", "fer-keras", "fer", 64),
    Peer(
        "facial_emotion_recognition 0.3.4 (float32)",
        "facial_emotion_recognition",
        "facial_emotion_recognition",
        48,
    ),
    Peer("facex 1.1.0 (float32, most weights uint8)", "facex", "facex", 200),
    Peer("@vladmandic/face-api 1.7.15 on tfjs WASM (float32)", "face-api", "face-api", 112),
)
