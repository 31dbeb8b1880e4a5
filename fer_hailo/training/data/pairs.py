"""The pairs of the rule `registered`, kept beside the data cache, which holds those of the rule
`thumbnail`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.common.files import written
from fer_hailo.common.reading import DAMAGED
from fer_hailo.training.data.copies import registered_pairs

VERSION = 1  # of the rule and its file: another one makes the file again


def kept_pairs(images: np.ndarray, exact: np.ndarray, key: str, cache: Path | None) -> np.ndarray:
    """int64 (P, 2): the pairs of the rule `registered`, from KEY.registered.npz, or worked out and kept
    there.

    images, exact: as for registered_pairs. key: of the data. cache: the path of the data cache KEY.npz; None
    where nothing is kept.
    """
    path = cache and cache.with_suffix(".registered.npz")
    if path and path.is_file():
        try:
            return _read(path, key, len(exact))
        except UserError:  # a damaged file costs time, not the run
            path.unlink(missing_ok=True)
    pairs, scores = registered_pairs(images, exact)
    if path:
        try:
            with written(path) as beside:
                np.savez_compressed(beside, version_of_rule=VERSION, key=key, pairs=pairs, scores=scores)
        except OSError as error:  # a cache on a medium that cannot be written
            print(
                f"note: the pairs of copies could not be kept in {path} ({error.strerror}): the next run "
                "looks again",
                file=sys.stderr,
            )
    return pairs


def _read(path: Path, key: str, count: int) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as file:
            version, own, pairs = int(file["version_of_rule"]), str(file["key"]), file["pairs"]
    except DAMAGED as error:
        raise UserError(f"{path} does not hold pairs of copies ({error})") from None
    sound = (
        pairs.dtype == np.int64 and pairs.shape[1:] == (2,) and bool(((pairs >= 0) & (pairs < count)).all())
    )
    if version != VERSION or own != key or not sound:
        raise UserError(f"{path} does not belong to {key[:16]}.npz")
    return pairs
