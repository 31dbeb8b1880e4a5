"""The calibration set: which training images, prepared as the board prepares a face, and a sheet to look at
them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fer_hailo.common.files import written
from fer_hailo.common.preprocess import PreprocessSpec, prepare
from fer_hailo.training.data.dataset import Part
from fer_hailo.training.data.duplicates import exact_groups
from fer_hailo.training.data.rows import Images

COUNT = 1024  # the Dataflow Compiler optimizes fully from 1024 images on
SHEET_SIDE, SHEET_COLUMNS = 48, 32


def choose(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Which images to calibrate on: int (count,), shuffled, each class as often as the others as far as it
    has images.

    labels: int (N,). What a small class lacks is taken from the others; where N < count, all images are
    chosen.
    """
    rng = np.random.default_rng(seed)
    pools = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    # Round after round one image of each class, until there are enough.
    turns = np.concatenate([np.arange(len(pool)) for pool in pools])
    order = np.lexsort((rng.permutation(len(turns)), turns))[:count]
    return rng.permutation(np.concatenate(pools)[order])


def calibration_set(
    train: Part, spec: PreprocessSpec, seed: int, count: int = COUNT
) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 (count, I, I, 3), labels int64 (count,)) from the training side, without augmentation."""
    unique = np.unique(exact_groups(train.images), return_index=True)[1]  # a copy would teach nothing
    chosen = unique[choose(train.labels[unique], count, seed)]
    return prepare_all(train.images[chosen], spec), train.labels[chosen]


def prepare_all(images: Images, spec: PreprocessSpec) -> np.ndarray:
    """`prepare` for each of uint8 (N, S, S[, 3]): uint8 (N, I, I, 3)."""
    return np.stack([prepare(image, spec) for image in images])


def write_sheet(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """All images on one sheet, class after class, 32 a row, each class from a new row."""
    import cv2

    rows = []
    for label in np.unique(labels):
        small = [
            cv2.resize(image, (SHEET_SIDE, SHEET_SIDE), interpolation=cv2.INTER_AREA)
            for image in images[labels == label]
        ]
        small += [np.full_like(small[0], 255)] * (-len(small) % SHEET_COLUMNS)
        rows += [np.hstack(small[i : i + SHEET_COLUMNS]) for i in range(0, len(small), SHEET_COLUMNS)]
    with written(path) as beside:
        cv2.imwrite(str(beside), np.vstack(rows)[..., ::-1])
