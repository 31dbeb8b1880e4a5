"""Who is asked for its predictions: models of ours, and programs for others' networks."""

from __future__ import annotations

import contextlib
import hashlib
import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.common.metrics import softmax
from fer_hailo.common.preprocess import PreprocessSpec, prepare, to_source
from fer_hailo.deploy.bundle import file_sha256
from fer_hailo.deploy.home import Format, Home
from fer_hailo.predict.outside import ask
from fer_hailo.predict.predictor import load

# Faces uint8 (N, S, S[, 3]), block by block, to probabilities float64 (all of N, C)
Answer = Callable[[Iterable[np.ndarray]], np.ndarray]


class Session(NamedTuple):
    """A model that is ready to answer. stage: as in results.csv."""

    stage: str
    answer: Answer


@dataclass(frozen=True)
class Contender:
    """name: for people. digest: of what decides its predictions. open: a session, for `with`.

    home: of a model of ours. starts_slowly: asked as seldom as memory allows.
    """

    name: str
    digest: str
    open: Callable[[], AbstractContextManager[Session]]
    home: Home | None = None
    starts_slowly: bool = False


def contender(home: Home) -> Contender:
    """A model of ours."""
    kind = home.model.stem if home.format is Format.TFLITE else home.format.name.lower()
    return Contender(f"{home.name}, {kind}", file_sha256(home.model), lambda: _opened(home), home)


def peer(text: str, names: tuple[str, ...]) -> Contender:
    """Another's network, from `NAME=COMMAND`; see fer_hailo.predict.outside. names: of the classes."""
    name, _, command = text.partition("=")
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UserError(f"--peer {text}: {error}") from None
    if not name.strip() or not words:
        raise UserError(f"--peer takes NAME=COMMAND, got {text}")

    @contextlib.contextmanager
    def opened() -> Iterator[Session]:
        grey = PreprocessSpec(color=False)

        def answer(blocks: Iterable[np.ndarray]) -> np.ndarray:
            faces = np.concatenate(list(blocks))
            if faces.ndim == 4:
                faces = np.stack([to_source(face, grey) for face in faces])
            return ask(words, name, faces, names).probabilities

        yield Session("peer", answer)

    return Contender(name.strip(), hashlib.sha256(text.encode()).hexdigest(), opened, starts_slowly=True)


@contextlib.contextmanager
def _opened(home: Home) -> Iterator[Session]:
    if not home.format.converted:
        yield _session("keras", _keras(home))
        return
    with load(home) as predictor:

        def logits(faces: np.ndarray) -> np.ndarray:
            return predictor.logits(np.stack([prepare(face, predictor.spec) for face in faces]))

        yield _session(predictor.stage, logits)


def _session(stage: str, logits: Callable[[np.ndarray], np.ndarray]) -> Session:
    def answer(blocks: Iterable[np.ndarray]) -> np.ndarray:
        return softmax(np.concatenate([logits(block) for block in blocks]))

    return Session(stage, answer)


def _keras(home: Home) -> Callable[[np.ndarray], np.ndarray]:
    """As `evaluate` scores it: enlarged inside of the compiled model."""
    from fer_hailo.training.evaluate.score import scorer_of
    from fer_hailo.training.models.opened import open_network, seen_by

    network = open_network(home)
    return scorer_of(network, home.config.data.classes, seen_by(home, network)).logits
