"""Which pairs of images may be copies: a cheap look at all pairs, so that a closer one is needed at few.

An image is described by a few numbers, along the directions in which different images differ most and an
image from its own crops and turns least: Fisher's linear discriminant, fitted to the images at hand. Each
image is described as it is, mirrored, and cropped at its four corners; a pair whose descriptions lie near
each other is a candidate.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from fer_hailo.common.progress import track

CELLS = 16
KEPT = 22  # directions
SAMPLE = 3000  # changed images that the directions are fitted to
REACHED = 0.98  # part of the images cropped by CROP, anywhere, that must be candidates
CROP, INSET = 5 / 48, 1 / 48  # a corner's crop leaves out CROP of the side and begins INSET from the border
# Each view: left, top and side of what it shows, in parts of the image's side, and whether that is mirrored.
STARTS = (INSET, CROP - INSET)
VIEWS = ((0, 0, 1, False), (0, 0, 1, True), *((x, y, 1 - CROP, False) for x in STARTS for y in STARTS))
SYMMETRIC = 2  # of the first views: if a is like b's, then b is like a's
PART = 2048
ROWS, COLUMNS = 512, 512  # a block of distances stays in a core's cache


def find_candidates(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that may be copies: int64 (P, 2), and int64 (P,), which of VIEWS of the first image is most like
    the second.

    images: uint8 (N, S, S), grey, not blank. A pair comes once, in the order in which its images are more
    alike.
    """
    from threadpoolctl import threadpool_limits

    if len(images) < 2:
        return np.empty((0, 2), np.int64), np.empty(0, np.int64)
    directions, reach = _fitted(images)
    # A thread a block is faster than threads in a product
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        starts = range(0, len(images), PART)
        parts = list(
            track(
                pool.map(lambda s: _descriptions(images[s : s + PART], directions), starts),
                len(images),
                "describing",
                each=PART,
            )
        )
        described = np.concatenate(parts, axis=1)
        right = _with_halves(described[0])
        right = np.ascontiguousarray(np.concatenate([right[:, :KEPT], right[:, :-3:-1]], axis=1).T)
        starts = range(0, len(images), ROWS)
        blocks = list(
            track(
                pool.map(partial(_near, described, right, reach), starts),
                len(images),
                "comparing all images",
                each=ROWS,
            )
        )
    found = np.concatenate(blocks, axis=1)
    found = found[:, np.argsort(found[3], kind="stable")]
    pairs = found[:2].T.astype(np.int64)
    _, first = np.unique(np.sort(pairs, axis=1), axis=0, return_index=True)
    return pairs[first], found[2, first].astype(np.int64)


def thumbnails(images: np.ndarray, view: tuple[float, float, float, bool] = VIEWS[0]) -> np.ndarray:
    """float32 (N, CELLS**2): means over a view's cells, with mean 0 and norm 1. images: (N, S, S)."""
    x, y, side, mirrored = view
    across = _cells(images.shape[2], x, side)
    means = (
        _cells(images.shape[1], y, side)
        @ images.astype(np.float32)
        @ (across[::-1] if mirrored else across).T
    )
    flat = means.reshape(len(images), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1)


def _cells(size: int, start: float, side: float) -> np.ndarray:
    """float32 (CELLS, size): the part that each of `size` pixels has in each cell's mean."""
    edges = (start + np.linspace(0, side, CELLS + 1)) * size
    pixels = np.arange(size)
    shared = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.maximum(shared, 0) / (edges[1] - edges[0])).astype(np.float32)


def _fitted(images: np.ndarray) -> tuple[np.ndarray, float]:
    """The directions, and the squared distance up to which a pair is a candidate.

    Directions: float32 (CELLS**2, KEPT); along each, images and their crops and turns have variance 1 about
    each other.
    """
    from scipy.linalg import eigh

    rng = np.random.default_rng(0)
    chosen = images[np.sort(rng.choice(len(images), min(SAMPLE, len(images)), replace=False))]
    chosen = np.resize(chosen, (SAMPLE, *chosen.shape[1:]))  # few images are changed several times
    plain = thumbnails(chosen)
    # Smaller crops than CROP: for the larger ones there are the views.
    changed = [
        _turned(image, rng) if rng.random() < 0.35 else _cropped(image, rng.uniform(0.02, 0.065), rng)
        for image in chosen
    ]
    change = thumbnails(np.stack(changed)) - plain
    within = change.T @ change / len(change)
    within += np.eye(len(within)) * 1e-3 * np.trace(within) / len(within)
    directions = eigh(np.cov(plain.T), within)[1][:, -KEPT:].astype(np.float32)  # the largest come last
    tried = slice(None, None, 3)
    cropped = thumbnails(np.stack([_cropped(image, CROP, rng) for image in chosen[tried]])) @ directions
    distances = ((_descriptions(chosen[tried], directions) - cropped) ** 2).sum(axis=2).min(axis=0)
    return directions, float(np.quantile(distances, REACHED))


def _cropped(image: np.ndarray, part: float, rng: np.random.Generator) -> np.ndarray:
    """Somewhere, by a part of the side, and enlarged again."""
    size = len(image)
    x, y = rng.uniform(0, part * size, 2)
    return _warped(image, np.array([[1 - part, 0, x - part / 2], [0, 1 - part, y - part / 2]], np.float32))


def _turned(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """By up to 5 degrees."""
    import cv2

    middle = (len(image) - 1) / 2
    return _warped(image, cv2.getRotationMatrix2D((middle, middle), rng.uniform(-5, 5), 1))


def _warped(image: np.ndarray, back: np.ndarray) -> np.ndarray:
    """back: float (2, 3), from a pixel's place to where it is read."""
    import cv2

    how = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, back, image.shape[::-1], flags=how, borderMode=cv2.BORDER_REPLICATE)


def _descriptions(images: np.ndarray, directions: np.ndarray) -> np.ndarray:
    return np.stack([thumbnails(images, view) @ directions for view in VIEWS])


def _near(described: np.ndarray, right: np.ndarray, reach: float, start: int) -> np.ndarray:
    """float64 (4, P): image, other image, view and half their squared distance, for the images from `start`
    on.

    described: float32 (views, N, KEPT). right: float32 (KEPT + 2, N), the images themselves with their
    halves.
    """
    found = [np.empty((4, 0))]
    products = np.empty((ROWS, COLUMNS), np.float32)
    for view, rows in enumerate(described[:, start : start + ROWS]):
        left = _with_halves(rows)
        for other in range(start if view < SYMMETRIC else 0, right.shape[1], COLUMNS):
            block = right[:, other : other + COLUMNS]
            near = np.matmul(left, block, out=products[: len(left), : block.shape[1]])
            hit = np.flatnonzero(near.max(axis=1) >= -reach / 2)
            if len(hit):
                i, j = np.nonzero(near[hit] >= -reach / 2)
                found.append(np.stack([hit[i] + start, j + other, np.full(len(i), view), -near[hit[i], j]]))
    pairs = np.concatenate(found, axis=1)
    return pairs[:, pairs[0] != pairs[1]]


def _with_halves(rows: np.ndarray) -> np.ndarray:
    """|a - b|^2 <= reach where a.b - |a|^2 / 2 - |b|^2 / 2 >= -reach / 2: both halves are two more
    directions.
    """
    return np.concatenate(
        [rows, -(rows**2).sum(axis=1, keepdims=True) / 2, np.ones((len(rows), 1), np.float32)], axis=1
    )
