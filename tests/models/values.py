"""Tensors of any backend as numbers."""

import numpy as np
from keras import ops


def number(value) -> float:
    return float(ops.convert_to_numpy(value))


def array(value) -> np.ndarray:
    return ops.convert_to_numpy(ops.convert_to_tensor(value))
