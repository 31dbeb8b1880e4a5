"""Heat maps for a model's predictions, by the best means that its file allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer_hailo.common.preprocess import normalise
from fer_hailo.explain.occlusion import occlusion
from fer_hailo.predict.keras_model import KerasModel
from fer_hailo.predict.predictor import Predictor

GRAD_CAM, OCCLUSION, HEAD = "Grad-CAM", "occlusion", "head"


@dataclass(frozen=True)
class Explanation:
    """face: uint8 (I, I, 3), as the network takes it. maps: {name: float (I, I), 0 to 1}, at least one."""

    face: np.ndarray
    maps: dict[str, np.ndarray]


class Explainer:
    """Of a .keras file Grad-CAM, and the heads' maps where it has some; else, and where a network has no last
    feature map, occlusion. One thread at a time, the predictor's.
    """

    def __init__(self, predictor: Predictor):
        self._predictor, self._cam, self._heads = predictor, None, None
        if isinstance(predictor.backend, KerasModel):
            from fer_hailo.explain.gradcam import HeadMaps, grad_cam

            model = predictor.backend.model
            self._heads = HeadMaps(model)
            self._cam = grad_cam(model)

    def explain(self, images: np.ndarray, classes: Sequence[int] | np.ndarray) -> list[Explanation]:
        """Why each of the prepared faces, uint8 (N, I, I, 3), N >= 1, is or may be of the class named for
        it.
        """
        inputs = normalise(images, self._predictor.spec)
        found = {}
        if self._cam:
            found[GRAD_CAM] = [_from_zero(heat) for heat in self._cam.maps(inputs, classes)]
        else:
            pairs = zip(images, classes, strict=True)
            found[OCCLUSION] = [_from_zero(self._occluded(image, number)) for image, number in pairs]
        for number, maps in enumerate(self._heads.maps(inputs) if self._heads else [], 1):
            found[f"{HEAD} {number}"] = [_from_least(heat) for heat in maps]
        return [
            Explanation(image, {name: maps[place] for name, maps in found.items()})
            for place, image in enumerate(images)
        ]

    def _occluded(self, image: np.ndarray, number: int) -> np.ndarray:
        return occlusion(image, lambda images: self._predictor.predict(images)[:, number])


def _from_zero(heat: np.ndarray) -> np.ndarray:
    """What speaks for the class, in parts of the most; all zeros where nothing does."""
    heat = np.maximum(heat, 0)
    return heat / heat.max() if heat.max() > 0 else heat


def _from_least(heat: np.ndarray) -> np.ndarray:
    """From the least to the most: a head's values have no zero of their own. Zeros where all are equal."""
    return _from_zero(heat - heat.min())
