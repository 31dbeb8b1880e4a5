"""The one way a face becomes the network's input, on every machine.

`prepare` (OpenCV) serves calibration, evaluation of converted models and the board. Training resizes inside
the compiled step with the matrices of `cubic_matrix`: the same kernel, equal within one grey level.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from fer_hailo.common.errors import UserError

CUBIC_A = -0.75  # OpenCV's bicubic; Keras and Pillow use -0.5


@dataclass(frozen=True)
class PreprocessSpec:
    """How a face becomes an input. Kept in every config and manifest.

    source_size: side in pixels to which larger faces are reduced first (the resolution of the training data).
    input_size: side in pixels of the network's input.
    color: keep colours; otherwise grey, copied to three channels.
    mean, scale: the network sees (value - mean) / scale for values 0..255.
    """

    source_size: int = 48
    input_size: int = 128
    color: bool = False
    mean: float = 127.5
    scale: float = 127.5

    def __post_init__(self) -> None:
        if self.source_size < 16 or self.input_size < 16:
            raise UserError(
                f"sizes must be at least 16 pixels, got source {self.source_size}, input {self.input_size}"
            )
        if self.scale <= 0:
            raise UserError(f"scale must be above 0, got {self.scale}")

    @property
    def source_shape(self) -> tuple[int, ...]:
        """Shape of a cached image: (S, S), or (S, S, 3) in colour."""
        return (self.source_size,) * 2 + ((3,) if self.color else ())

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)


def prepare(face: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
    """Turn a cropped face into the network's input.

    face: uint8 (H, W) grey or (H, W, 3) RGB, any size. Returns uint8 (input_size, input_size, 3) RGB, values
    0..255, not normalised: `normalise` for Keras and the float TFLite; the HEF takes these bytes. Raises
    ValueError for another dtype or shape.
    """
    import cv2

    small = _reduce(_square(_channels(face, spec)), spec)
    size = (spec.input_size, spec.input_size)
    large = cv2.resize(small, size, interpolation=cv2.INTER_CUBIC) if small.shape[:2] != size else small
    return np.ascontiguousarray(large) if spec.color else cv2.cvtColor(large, cv2.COLOR_GRAY2RGB)


def to_source(face: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
    """The first half of `prepare`, as data sets are cached: uint8 of `spec.source_shape`.

    A cache has one shape, so a face smaller than source_size is enlarged to it here (bicubic); `prepare` on
    the file itself goes to input_size in one step.
    """
    import cv2

    small = _reduce(_square(_channels(face, spec)), spec)
    size = (spec.source_size, spec.source_size)
    return small if small.shape[:2] == size else cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)


def normalise(images: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
    """uint8 0..255 to float32 as the network was trained on: (x - mean) / scale, [-1, 1] by default."""
    return (images.astype(np.float32) - np.float32(spec.mean)) / np.float32(spec.scale)


def cubic(distance: Any, xp: Any = np) -> Any:
    """Keys' cubic convolution kernel (1981) with a = -0.75, for distances in source pixels.

    `xp` is numpy, or keras.ops for tensors: the arithmetic is the same.
    """
    d, a = xp.abs(distance), CUBIC_A
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return xp.where(d < 1, near, xp.where(d < 2, far, xp.zeros_like(d)))


def cubic_matrix(source: int, target: int) -> np.ndarray:
    """float32 (target, source): one axis of OpenCV's bicubic resize, borders replicated. Rows sum to 1."""
    at = (np.arange(target) + 0.5) * source / target - 0.5
    taps = np.arange(-2, source + 2)
    weights = cubic(at[:, None] - taps[None, :])
    return (weights @ border_matrix(source, 2)).astype(np.float32)


def border_matrix(size: int, margin: int) -> np.ndarray:
    """float64 (size + 2 margin, size): adds the weights of pixels beyond the border to the border pixel."""
    return np.eye(size)[np.clip(np.arange(-margin, size + margin), 0, size - 1)]


def _channels(face: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
    import cv2

    if (
        face.dtype != np.uint8
        or face.ndim not in (2, 3)
        or (face.ndim == 3 and face.shape[2] != 3)
        or 0 in face.shape
    ):
        raise ValueError(f"a face must be uint8 (H, W) or (H, W, 3), got {face.dtype} {face.shape}")
    if spec.color:
        return face if face.ndim == 3 else np.repeat(face[..., None], 3, axis=2)
    return face if face.ndim == 2 else cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)


def _square(face: np.ndarray) -> np.ndarray:
    import cv2

    height, width = face.shape[:2]
    if height == width:
        return face
    down, across = max(0, width - height), max(0, height - width)
    # Replicated borders add no edge that the network could take for a feature.
    return cv2.copyMakeBorder(
        face, down // 2, down - down // 2, across // 2, across - across // 2, cv2.BORDER_REPLICATE
    )


def _reduce(face: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
    import cv2

    if face.shape[0] <= spec.source_size:
        return face
    return cv2.resize(face, (spec.source_size, spec.source_size), interpolation=cv2.INTER_AREA)
