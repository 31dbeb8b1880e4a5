"""Refined labels (Bagherinezhad et al. 2018): models' probabilities of training images, in a file without
any image, which trains a network without these models.

An image is known by the first 8 bytes of the SHA-256 of its decoded uint8 pixels at source size, row by row:
of what the data cache holds, whatever the file was called.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import to_json, written
from fer_hailo.common.reading import MOST_BYTES, check_regular, reading
from fer_hailo.training.data.rows import Images, blocks

VERSION = 1
DIGEST = 8  # bytes
LEAST_SHARED = 0.5  # below this part of the images, or of the file, it is another data set's
UNEVEN = 0.01  # by which float16 probabilities may miss the sum of 1


@dataclass(frozen=True)
class Targets:
    """Refined labels: digests uint64 (N,), ascending; probabilities float16 (N, C) of the C classes, rows of
    sum 1. made: what they were made of: {"models", "data", "split", "source_size", "color", ...}.
    """

    digests: np.ndarray
    probabilities: np.ndarray
    classes: tuple[str, ...]
    made: dict[str, Any]


def image_digests(images: Images) -> np.ndarray:
    """uint64 (N,): what images uint8 (N, S, S[, 3]) are known by. Raises UserError where two differ and share
    it.
    """
    return shortened(
        [hashlib.sha256(image.tobytes()).digest() for block in blocks(images) for image in block]
    )


def shortened(digests: Sequence[bytes]) -> np.ndarray:
    """Digests by their first 8 bytes, big-endian: uint64 (N,). Raises UserError where these collide."""
    short = np.array([int.from_bytes(digest[:DIGEST], "big") for digest in digests], np.uint64)
    if len(set(digests)) != len(np.unique(short)):
        raise UserError(f"two images share the first {DIGEST} bytes of their SHA-256: leave one of them out")
    return short


def write_targets(path: Path, targets: Targets) -> None:
    """Write a file for `--targets`, atomically."""
    with written(path) as beside:
        np.savez_compressed(
            beside,
            version=VERSION,
            digests=targets.digests,
            probabilities=targets.probabilities,
            classes=np.array(targets.classes),
            made=to_json(targets.made),
        )


def read_targets(path: Path | str) -> Targets:
    """Read such a file. Raises UserError where it is none, or damaged."""
    with reading(path, "holds no refined labels, or is damaged", "make it again"):
        check_regular(path)
        with np.load(path, allow_pickle=False) as file:
            if sum(part.file_size for part in file.zip.infolist()) > MOST_BYTES:
                raise ValueError("unpacked, it is too large")
            if int(file["version"]) != VERSION:
                raise ValueError(f"its version is {int(file['version'])}, not {VERSION}")
            classes = tuple(str(name) for name in file["classes"])
            found = Targets(file["digests"], file["probabilities"], classes, json.loads(str(file["made"])))
        _check(found)
    return found


def _check(found: Targets) -> None:
    """Raise one of DAMAGED for what `write_targets` would not have written."""
    digests, likely, made = found.digests, found.probabilities, found.made
    if digests.dtype != np.uint64 or likely.dtype != np.float16:
        raise ValueError(f"digests and probabilities are {digests.dtype} and {likely.dtype}")
    if not len(digests) or digests.ndim != 1 or likely.shape != (len(digests), len(set(found.classes))):
        raise ValueError(
            f"{len(found.classes)} classes, {digests.shape} digests, {likely.shape} probabilities"
        )
    if (digests[1:] <= digests[:-1]).any():
        raise ValueError("its digests do not ascend")
    sums = likely.astype(np.float32).sum(axis=1)
    if not (likely >= 0).all() or not (np.abs(sums - 1) <= UNEVEN).all():
        raise ValueError("its probabilities do not sum to 1")
    for name in ("source_size", "color", "models"):
        made[name]
    made["data"]["key"], dict(made["split"])


def refined(images: Images, targets: np.ndarray, config: Config) -> tuple[np.ndarray, int]:
    """(1 - targets_weight) x targets + targets_weight x the file's probabilities; how many images it knows.

    images: uint8 (N, S, S[, 3]); targets: float32 (N, C) over classes and extra classes; so is what is
    returned. An image that the file lacks keeps its target. Raises UserError when the file cannot be read or
    does not belong to these images and classes.
    """
    path, weight = config.loss.targets, config.loss.targets_weight
    file = read_targets(path)
    _check_fits(file, path, config)
    digests = image_digests(images)
    place = np.minimum(np.searchsorted(file.digests, digests), len(file.digests) - 1)
    known = file.digests[place] == digests
    if known.sum() < LEAST_SHARED * min(len(digests), len(file.digests)):  # it has no extra classes
        raise UserError(
            f"{path} knows {known.sum():,} of {len(digests):,} training images: it is another data set's"
        )
    likely = np.zeros((int(known.sum()), targets.shape[1]), np.float32)
    likely[:, : len(file.classes)] = file.probabilities[place[known]]
    likely /= likely.sum(axis=1, keepdims=True)  # float16 misses it by a little
    targets = targets.copy()
    targets[known] = (1 - weight) * targets[known] + weight * likely
    return targets, int(known.sum())


def _check_fits(file: Targets, path: str, config: Config) -> None:
    if file.classes != config.data.classes:
        raise UserError(
            f"{path} tells {', '.join(file.classes)} apart, this training {', '.join(config.data.classes)}: "
            "make it with models of the same classes"
        )
    for name in ("source_size", "color"):
        if file.made[name] != config.value(name):
            raise UserError(
                f"{path} was made for {name} {file.made[name]}, not {config.value(name)}: make it anew"
            )
