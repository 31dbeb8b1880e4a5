"""Which images are used: not blank, not under two labels, and no training image that also stands in test."""

from __future__ import annotations

import numpy as np

from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.training.data.cache import Pictures
from fer_hailo.training.data.duplicates import merge_groups
from fer_hailo.training.data.rows import Images, blocks


def duplicate_groups(pictures: Pictures) -> np.ndarray:
    """int64 (N,): equal for exact and near duplicates."""
    return merge_groups(pictures.exact, pictures.near)


def blank(images: Images) -> np.ndarray:
    """bool (N,): all pixels of an image are equal."""
    flat = (block.reshape(len(block), -1) for block in blocks(images))
    return np.concatenate([np.zeros(0, bool), *(block.max(axis=1) == block.min(axis=1) for block in flat)])


def conflicting(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """bool (N,): the image's group holds more than one label."""
    pairs = np.unique(np.stack([groups, np.unique(labels, return_inverse=True)[1]]), axis=1)
    counts = np.bincount(pairs[0], minlength=int(groups.max()) + 1 if len(groups) else 0)
    return counts[groups] > 1


def clean(pictures: Pictures, config: Config) -> tuple[np.ndarray, dict[str, int]]:
    """Apply the configuration's cleaning, over all classes, before any selection.

    Returns (keep, dropped): bool (N,) and how many images each rule took, in the order of the rules. Test
    images stay, blank ones and all: a test set that is cleaned gives a better score than others get on it.
    Where validation is a folder of its own, the other rules hold for it too, and what it has leaves training.
    Raises UserError when images are corrupt and `drop_corrupt` is off.
    """
    if len(pictures.bad) and not config.data.drop_corrupt:
        raise UserError(
            f"{pictures.bad[0][0]} {pictures.bad[0][1]} ({len(pictures.bad)} corrupt in all): mend them or "
            "use --drop-corrupt"
        )
    groups = duplicate_groups(pictures)
    test, val = (pictures.splits == side for side in ("test", "val"))
    if not config.data.validation_fraction:  # all of it is learnt
        val = np.zeros_like(val)
    rules = {
        "blank": (config.data.drop_blank, blank(pictures.images) & ~test),
        "under several labels": (config.data.drop_conflicts, conflicting(pictures.labels, groups) & ~test),
        "also in test": (config.data.drop_test_copies, np.isin(groups, groups[test]) & ~test),
    }
    if val.any():
        copies = np.isin(groups, groups[val]) & ~val & ~test
        rules["also in validation"] = (config.data.drop_test_copies, copies)
    keep, dropped = np.ones(len(pictures.ids), bool), {"corrupt": len(pictures.bad)}
    for name, (wanted, hit) in rules.items():
        if wanted:
            dropped[name] = int((hit & keep).sum())
            keep &= ~hit
    return keep, dropped
