"""dlib's face ResNet out of a file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from fer_hailo.errors import UserError


def read_weights(path: str) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)
