"""The images of a data set under this project's class names, on the sides that a configuration asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fer_hailo.common.classes import class_names
from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.common.progress import say_once
from fer_hailo.training.data.cache import Pictures, load_pictures


def read_pictures(config: Config, cache: Path | str | None) -> Pictures:
    """As `load_pictures`, which keeps what the data set itself says; how it was read is told on standard
    error, once.
    """
    pictures = load_pictures(config.data.source, config.preprocess, cache, config.data.copies)
    known, index = np.unique(pictures.labels, return_inverse=True)
    names, told = class_names(known.tolist())
    for line in told:
        say_once(f"{config.data.source}: {line}")
    labels = np.array([names[label] for label in known.tolist()])[index]
    return replace(pictures, labels=labels, splits=_sides(pictures, config))


def _sides(pictures: Pictures, config: Config) -> np.ndarray:
    """str (N,): train, val or test as the folders have it; empty where they are to be split anew, or are no
    sides.

    Raises UserError where `public_test` asks for a part that is not there.
    """
    where, sides = config.data.source, pictures.splits
    if config.data.resplit:
        return np.full(len(sides), "", sides.dtype)
    if config.data.public_test == "val":
        public = np.array([_is_public_test(id) for id in pictures.ids.tolist()], bool)
        if not public.any():
            raise UserError(f"{where} has no PublicTest: public_test val is for FER2013 and FERPlus")
        if public[sides == "test"].all():
            raise UserError(f"{where} has no test images but PublicTest: leave out --public-test val")
        say_once(f"{where}: its PublicTest, {public.sum():,} images, is the validation side")
        sides = np.where(public, "val", sides)
    if "val" in sides and "test" not in sides:
        say_once(f"{where}: without a test folder its validation folder is held out as test")
        return np.where(sides == "val", "test", sides)
    if "val" in sides and config.data.validation_fraction:
        say_once(f"{where}: its validation folder is the validation side; validation_fraction is not used")
    return sides


def _is_public_test(id: str) -> bool:
    """Of FER2013's file names and of FERPlus' folders."""
    *folders, name = id.split("/")
    return folders[:1] == ["test"] and (name.startswith("PublicTest_") or "FER2013Valid" in folders)
