"""Laying one image over another: the affine map and the change of light that fit best, found for many pairs
at once.

Gauss-Newton on the squared difference, where the map of the second image's grid is composed with small ones
(the inverse compositional method of Baker and Matthews, 2004); gain and offset of the light are solved for in
the same least squares. Positions run from -1 to 1 over the side, so that a map holds at every resolution.
"""

from __future__ import annotations

import numpy as np

TINY = 1e-6


def register(moving: np.ndarray, fixed: np.ndarray, maps: np.ndarray, steps: int) -> np.ndarray:
    """Improve maps so that `moving`, read at the mapped positions, looks like `fixed`: float32 (P, 2, 3).

    moving, fixed: float32 (P, S, S) of mean 0 and variance 1. maps: float32 (P, 2, 3), from positions in
    `fixed` to such in `moving`.
    """
    design = _design(fixed)
    for _ in range(steps):
        seen, inside = sample(moving, maps)
        weighed = design * inside[:, None]
        normal = weighed @ design.transpose(0, 2, 1)
        normal += TINY * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(8, dtype=np.float32)
        solved = np.linalg.solve(normal, weighed @ seen[..., None])[..., 0]
        gain = np.where(np.abs(solved[:, :1]) > 0.2, solved[:, :1], 1)
        small = np.clip(solved[:, 2:] / gain, -0.2, 0.2).reshape(-1, 2, 3)
        maps = _composed(maps, small)
    return maps


def sample(images: np.ndarray, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read images at mapped positions, linearly: float32 (P, S * S), and bool (P, S * S), inside the
    image.
    """
    count, size, _ = images.shape
    x, y = maps[:, :, :2] @ _grid(size) + maps[:, :, 2:], None
    x, y = (x[:, 0] + 1) * (size / 2) - 0.5, (x[:, 1] + 1) * (size / 2) - 0.5
    inside = (x >= 0) & (x <= size - 1) & (y >= 0) & (y <= size - 1)
    x, y = np.clip(x, 0, size - 1.001), np.clip(y, 0, size - 1.001)
    left, top = x.astype(np.int32), y.astype(np.int32)
    x -= left
    y -= top
    at = top * size + left + np.arange(count, dtype=np.int32)[:, None] * (size * size)
    flat = images.reshape(-1)
    upper = flat[at] * (1 - x) + flat[at + 1] * x
    lower = flat[at + size] * (1 - x) + flat[at + size + 1] * x
    return upper * (1 - y) + lower * y, inside


def correlation(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float32 (P,): Pearson's correlation of a and b, (P, K), both weighted; 0 where one of them is flat."""
    total = np.maximum(weights.sum(axis=1, keepdims=True), 1)
    a = (a - (a * weights).sum(axis=1, keepdims=True) / total) * weights
    b = (b - (b * weights).sum(axis=1, keepdims=True) / total) * weights
    norms = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return np.where(norms > TINY, (a * b).sum(axis=1) / np.maximum(norms, TINY), 0)


def standardised(images: np.ndarray) -> np.ndarray:
    """float32 (P, S, S): each image with mean 0 and variance 1."""
    images = images.astype(np.float32)
    images -= images.mean(axis=(1, 2), keepdims=True)
    return images / np.maximum(images.std(axis=(1, 2), keepdims=True), TINY)


def _grid(size: int) -> np.ndarray:
    """float32 (2, S * S): x and y of the pixels' middles."""
    line = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    return np.stack([np.tile(line, size), np.repeat(line, size)])


def _design(images: np.ndarray) -> np.ndarray:
    """float32 (P, 8, S * S): the image, 1, and how it changes with each number of a small map."""
    count, size, _ = images.shape
    down, across = np.gradient(images, 2 / size, axis=(1, 2))
    x, y = _grid(size)
    across, down = across.reshape(count, -1), down.reshape(count, -1)
    columns = [
        images.reshape(count, -1),
        np.ones_like(across),
        across * x,
        across * y,
        across,
        down * x,
        down * y,
        down,
    ]
    return np.stack(columns, axis=1)


def _composed(maps: np.ndarray, small: np.ndarray) -> np.ndarray:
    """Each map after the inverse of (identity + small)."""
    linear = maps[:, :, :2] @ np.linalg.inv(np.eye(2, dtype=np.float32) + small[:, :, :2])
    return np.concatenate([linear, maps[:, :, 2:] - linear @ small[:, :, 2:]], axis=2)
