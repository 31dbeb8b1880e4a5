"""NumPy's files, mapped into memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fer_hailo.common.reading import check_regular


def map_array(path: Path | str) -> np.ndarray:
    """The array in a .npy file, mapped for reading.

    Raises UserError for what is no regular file, and one of reading.DAMAGED for what is no array, or one
    whose elements have no size: with those NumPy ends the process.
    """
    check_regular(path)
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        first = version == (1, 0)
        header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        _, _, dtype = header(file)
    if not dtype.itemsize:
        raise ValueError("its elements have no size")
    return np.lib.format.open_memmap(path, mode="r")
