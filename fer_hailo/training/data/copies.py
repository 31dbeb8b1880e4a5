"""The rule `registered`: images are copies where one, moved, turned, mirrored or cropped a bit, fits the
other.

fer_hailo.training.data.candidates names pairs. They are laid over each other at a low resolution, those that
fit at a higher one, and so on.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from fer_hailo.common.progress import track
from fer_hailo.training.data.candidates import VIEWS, find_candidates
from fer_hailo.training.data.registration import correlation, register, sample, standardised

SIDE = 48  # larger images are reduced to it: FER2013's own resolution
# Side in pixels, steps of registration, least correlation. On FER2013 crops and turns end at .994 and more.
# Of the 136 pairs from .98 to .985, two show one person with another look; from .96 to .98 such pairs and
# other people's faces are one in eight and more.
LEVELS = ((16, 2, 0.91), (24, 2, 0.94), (SIDE, 2, 0.98))
BLUR = 0.7 / 48  # of the side, over what JPEG and resizing change
OVERLAP = 0.6  # least part of the second image that the first must cover
FLAT = 1.0  # grey levels of standard deviation, up to which there is nothing to compare
PART = 256  # images
PIXELS = 2**17  # of the pairs that a thread works at: they stay in its core's cache


def registered_pairs(images: np.ndarray, exact: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of copies that are not identical: int64 (P, 2), i < j, and float32 (P,), their correlation.

    images: uint8 (N, S, S) or (N, S, S, 3). exact: int64 (N,), equal for identical images, of which only the
    first is compared. Blank images have no pairs.
    """
    chosen, grey = _compared(images, np.unique(exact, return_index=True)[1])
    pairs, views = find_candidates(grey)
    maps, scores = np.stack([_map(*view) for view in VIEWS])[views], np.ones(len(pairs), np.float32)
    for side, steps, least in LEVELS:
        if len(pairs):
            maps, scores = _laid_over(grey, pairs, maps, side, steps)
        good = scores >= least
        pairs, maps, scores = pairs[good], maps[good], scores[good]
    return np.sort(chosen[pairs], axis=1), scores


def _compared(images: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of the images `index` are not blank, int64 (M,), and they, grey: uint8 (M, S, S), S at most
    SIDE.
    """
    import cv2

    kept = [np.empty((0, *images.shape[1:3]), np.uint8)] if not len(index) else []
    full = [np.zeros(0, bool)]
    for start in range(0, len(index), PART):
        grey = images[index[start : start + PART]]
        grey = grey.mean(axis=3).astype(np.uint8) if grey.ndim == 4 else grey
        if grey.shape[1] > SIDE:
            grey = np.stack([cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in grey])
        kept.append(grey)
        full.append(grey.std(axis=(1, 2), dtype=np.float32) > FLAT)
    chosen = np.concatenate(full)
    return index[chosen], np.concatenate(kept)[chosen]


def _laid_over(
    images: np.ndarray, pairs: np.ndarray, maps: np.ndarray, side: int, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Better maps, float32 (P, 2, 3), and their correlations, float32 (P,), of images reduced to `side`."""

    def one(start: int) -> tuple[np.ndarray, np.ndarray]:
        part = slice(start, start + size)
        moving, fixed = (_reduced(images[index], side) for index in pairs[part].T)
        better = register(moving, fixed, maps[part], steps)
        seen, inside = sample(moving, better)
        scores = correlation(seen, fixed.reshape(len(fixed), -1), inside.astype(np.float32))
        return better, np.where(inside.mean(axis=1) >= OVERLAP, scores, 0)

    from threadpoolctl import threadpool_limits

    size = PIXELS // side**2
    starts = range(0, len(pairs), size)
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        done = list(
            track(
                pool.map(one, starts),
                len(pairs),
                f"laying {len(pairs):,} pairs over each other at {side} px",
                each=size,
            )
        )
    better, scores = (np.concatenate(values) for values in zip(*done, strict=True))
    return better, scores


def _reduced(images: np.ndarray, side: int) -> np.ndarray:
    """float32 (P, side, side), of mean 0 and variance 1, slightly blurred."""
    import cv2

    small = (
        cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) for image in images
    )
    return standardised(np.stack([cv2.GaussianBlur(image, (0, 0), BLUR * side) for image in small]))


def _map(left: float, top: float, side: float, mirrored: bool) -> np.ndarray:
    """float32 (2, 3): from positions in a view to positions in the image, both from -1 to 1."""
    rows = [[-side if mirrored else side, 0, 2 * left + side - 1], [0, side, 2 * top + side - 1]]
    return np.array(rows, np.float32)
