"""The images of a data set under this project's class names, on the sides that a configuration asks for."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache as remembered
from pathlib import Path

import numpy as np

from fer_hailo.common.classes import class_names
from fer_hailo.common.config import Config
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
    return replace(pictures, labels=np.array([names[label] for label in known.tolist()])[index])


@remembered
def say_once(line: str) -> None:
    """Tell on standard error how a data set is read: a command may read it several times."""
    print(line, file=sys.stderr)
