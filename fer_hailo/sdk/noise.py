"""Signal-to-noise ratios of the layers, out of what the SDK calls its parameters' statistics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fer_hailo.formats.har import NOISE


def noise_of(statistics: Any, names: Iterable[str]) -> dict[str, float]:
    """dB by layer; empty where none was measured.

    statistics: what get_params_statistics() returned. Its items are flat
    ("net/conv1/layer_noise_analysis/snr"), as those of the HAR's N.stats.npz are; asked for a layer it may
    give a mapping of its own. names: of the HN's layers.
    """
    found = {}
    for name in names:
        value = _of_layer(statistics, name)
        if value is None:
            value = _asked(statistics, f"{name}/{NOISE}")
        if (
            value is not None and np.size(value) and np.isfinite(value).all()
        ):  # a layer without noise has none
            found[name] = float(np.min(value))  # one number, or one for each output
    return found


def _of_layer(statistics: Any, name: str) -> Any:
    inner = _asked(statistics, name)
    return (
        _asked(inner, NOISE) if hasattr(inner, "__getitem__") and not isinstance(inner, np.ndarray) else None
    )


def _asked(mapping: Any, key: str) -> Any:
    try:
        return mapping[key]
    except (KeyError, TypeError, IndexError):  # whatever kind of mapping this version has
        return None
