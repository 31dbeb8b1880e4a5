"""From an image to the predictions for the faces in it: detect, cut, prepare, classify."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fer_hailo.board.faces import LONGEST_SIDE, Detector, Face, cut, find_any_way
from fer_hailo.board.frames import Reading
from fer_hailo.common.preprocess import prepare
from fer_hailo.explain.explainer import Explainer
from fer_hailo.predict.predictor import Predictor


class Analyzer:
    """Detectors and a predictor, in two steps so that a pipeline can overlap them.

    detectors: alike; as many images can be searched at once, from as many threads; to classify belongs to one
    thread. margin: by how much a face's box is enlarged in all, as a part of its longer side; None: as the
    training data are framed. turn: whether images may lie on their sides, see find_any_way. explain: heat
    maps for single images.
    """

    def __init__(
        self,
        predictor: Predictor,
        detectors: Sequence[Detector],
        margin: float | None = None,
        turn: bool = True,
        explain: bool = False,
    ):
        self.predictor, self.detectors, self.margin, self.turn = predictor, detectors, margin, turn
        self._explainer = Explainer(predictor) if explain else None
        self.sides = detectors[0].sides
        self._free: queue.SimpleQueue[Detector] = queue.SimpleQueue()
        for detector in detectors:
            self._free.put(detector)

    def detect(self, image: np.ndarray, side: int = LONGEST_SIDE) -> list[Face]:
        """Faces of a uint8 (H, W, 3) RGB image, the largest first. side: see Detector."""
        detector = self._free.get()
        try:
            return detector.find(image, side)
        finally:
            self._free.put(detector)

    def search(self, image: np.ndarray) -> list[Face]:
        """As `detect`, for a single image, which may lie on its side or stand on its head."""
        detector = self._free.get()
        try:
            return find_any_way(detector, image) if self.turn else detector.find(image)
        finally:
            self._free.put(detector)

    def inputs(self, image: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
        """uint8 (F, I, I, 3): each face as the network takes it."""
        side = self.predictor.spec.input_size
        made = np.empty((len(faces), side, side, 3), np.uint8)
        for number, face in enumerate(faces):
            made[number] = prepare(cut(image, face, self.margin), self.predictor.spec)
        return made

    def classify(self, image: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
        """Probabilities float64 (F, C), all faces in one batch."""
        return self.predictor.predict(self.inputs(image, faces))

    def readings(self, faces: Sequence[Face], probabilities: np.ndarray) -> tuple[Reading, ...]:
        """Faces with their predictions."""
        labels, least = self.predictor.labels, self.predictor.confidence.unsure_below
        pairs = zip(faces, probabilities, strict=True)
        return tuple(
            Reading(face.box, face.score, labels, row, None, least, face.detected) for face, row in pairs
        )

    def explained(
        self, image: np.ndarray, faces: Sequence[Face], readings: tuple[Reading, ...]
    ) -> tuple[Reading, ...]:
        """The readings of a single image's faces with their explanations, where those are wanted."""
        if not self._explainer:
            return readings
        classes = [int(reading.probabilities.argmax()) for reading in readings]
        found = self._explainer.explain(self.inputs(image, faces), classes)
        pairs = zip(readings, found, strict=True)
        return tuple(replace(reading, explanation=explanation) for reading, explanation in pairs)
