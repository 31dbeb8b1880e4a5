"""Occlusion (Zeiler and Fergus 2014, Figure 7): what covering a part of the face costs a prediction.

It asks the network for predictions only, so it serves .tflite and .hef files, and needs numpy alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

PART = 4  # a patch's side is this part of the face's: about an eye with its brow, or half a mouth
STEPS = 10  # patches along each side; they overlap, so the map has no hard edges


def occlusion(image: np.ndarray, score: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """How much the score falls where a patch covers the face.

    image: uint8 (I, I, 3). score: of uint8 (N, I, I, 3) the scores (N,), such as a class's probability;
    called with up to STEPS x STEPS images at once. Returns float64 (I, I): of each pixel the mean fall over
    the patches that cover it, negative where the score rises. A patch has the face's mean colour.
    """
    side = len(image)
    patch = max(1, round(side / PART))
    starts = np.unique(np.linspace(0, side - patch, STEPS).round().astype(int))
    places = [np.s_[y : y + patch, x : x + patch] for y in starts for x in starts]
    covered = np.repeat(image[None], len(places), axis=0)
    colour = image.mean(axis=(0, 1)).round().astype(np.uint8)
    for copy, place in zip(covered, places, strict=True):
        copy[place] = colour
    falls = score(image[None])[0] - score(covered)
    total, count = np.zeros((side, side)), np.zeros((side, side))
    for fall, place in zip(falls, places, strict=True):
        total[place] += fall
        count[place] += 1
    return total / count
