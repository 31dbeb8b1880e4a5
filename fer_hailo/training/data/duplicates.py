"""Which images are copies of each other: pixel for pixel, or, by the rule `thumbnail`, in another encoding,
contrast or light.
"""

from __future__ import annotations

import hashlib

import numpy as np

from fer_hailo.training.data.rows import Images, blocks

THUMBNAIL = 16
NEAR = 0.98  # correlation; on FER2013 every pair looked at from .97 up was one photograph
BLOCK = 2048


def exact_groups(images: Images) -> np.ndarray:
    """int64 (N,): images with the same number are pixel-identical. Numbered in order of first occurrence."""
    seen: dict[bytes, int] = {}
    digests = (hashlib.sha1(image.tobytes()).digest() for block in blocks(images) for image in block)
    return np.array([seen.setdefault(digest, len(seen)) for digest in digests], dtype=np.int64)


def near_pairs(images: Images) -> np.ndarray:
    """int64 (P, 2): pairs i < j, not identical, whose thumbnails correlate at NEAR or more. Blank images have
    no pairs.

    images: uint8 (N, S, S) or (N, S, S, 3). Thumbnails are 16x16 grey means with mean and contrast removed.
    """
    thumbs = np.concatenate([_thumbnails(block) for block in blocks(images)])
    same = exact_groups(images)
    parts = [np.empty((0, 2), np.int64)]
    for start in range(0, len(thumbs), BLOCK):
        for other in range(start, len(thumbs), BLOCK):
            likeness = thumbs[start : start + BLOCK] @ thumbs[other : other + BLOCK].T
            rows, columns = np.nonzero(likeness >= NEAR)
            parts.append(np.stack([rows + start, columns + other], axis=1))
    pairs = np.concatenate(parts)
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    return pairs[same[pairs[:, 0]] != same[pairs[:, 1]]]


def merge_groups(groups: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Join the groups that pairs connect: int64 (N,), numbered in order of first occurrence."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    size = int(groups.max()) + 1 if len(groups) else 0
    ends = groups[pairs]
    links = coo_matrix((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(size, size))
    joined = connected_components(links, directed=False)[1][groups]
    _, first, inverse = np.unique(joined, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _thumbnails(images: np.ndarray) -> np.ndarray:
    grey = images.mean(axis=3).astype(np.uint8) if images.ndim == 4 else images
    side = grey.shape[1]
    edges = np.arange(THUMBNAIL) * side // THUMBNAIL
    widths = np.diff(np.append(edges, side)).astype(np.float32)
    sums = np.add.reduceat(np.add.reduceat(grey, edges, axis=1, dtype=np.float32), edges, axis=2)
    flat = (sums / widths[:, None] / widths).reshape(len(grey), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.where(norms > 1, flat / np.maximum(norms, 1), 0).astype(np.float32)
