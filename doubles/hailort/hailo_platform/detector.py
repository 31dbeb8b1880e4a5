"""A made-up face detector with the outputs of SCRFD: it takes what is red in an image for one face."""

from __future__ import annotations

import numpy as np

from hailo_platform.hef import HEF, Stream

# Eyes, nose and corners of the mouth in a face, in parts of its box
PLACES = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))
SURE, UNSURE = 0.9, 0.6  # scores: where the face's middle is, and one place to the right of it
SIZES = {8: 64, 16: 128, 32: 640}  # pixels of the largest face that is found at each stride


class RedFaces:
    """Two anchors at each place; the second one stays empty."""

    def __init__(self, hef: HEF):
        self._outputs, self._high = hef.outputs, hef.input.shape[0]

    def run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Stored bytes uint8 (H, W, 3) RGB to stored bytes uint8 (h, w, 2, 8 or 20) of each output."""
        values = {stream.name: np.zeros(stream.shape) for stream in self._outputs}
        red = (image[..., 0] > 200) & (image[..., 1:] < 60).all(axis=2)
        if red.any():
            across, down = (np.flatnonzero(red.any(axis=axis))[[0, -1]] for axis in (0, 1))
            self._see(values, across, down)
        return {stream.name: stream.to_stored(values[stream.name]) for stream in self._outputs}

    def _see(self, values: dict[str, np.ndarray], across: np.ndarray, down: np.ndarray) -> None:
        box = np.array([across[0], down[0], across[1] + 1, down[1] + 1], float)
        size = box[2:] - box[:2]
        stride = next(stride for stride, largest in SIZES.items() if size.max() <= largest)
        column, row = ((box[:2] + box[2:]) / 2 // stride).astype(int)
        for place, score in ((column, SURE), (column + 1, UNSURE)):
            at = np.array([place, row]) * stride
            found = {
                2: [score],
                8: [*(at - box[:2]) / stride, *(box[2:] - at) / stride],
                20: ((box[:2] + PLACES * size - at) / stride).ravel(),
            }
            for stream in self._of(stride):
                numbers = found[stream.shape[2]]
                values[stream.name][row, place, : len(numbers)] = numbers

    def _of(self, stride: int) -> list[Stream]:
        return [stream for stream in self._outputs if stream.shape[0] * stride == self._high]
