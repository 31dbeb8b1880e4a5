"""How much of a tensor is noise: a rounded network against the exact one, image by image."""

from __future__ import annotations

import numpy as np


class Noise:
    """Collects, tensor by tensor, the power of what varies in it and of the error.

    The signal is what varies: a constant offset of a tensor carries no information, and counting it would
    hide the noise (a deviation from the common definition, which takes the signal's power).
    """

    def __init__(self):
        self._sums: dict[str, np.ndarray] = {}

    def add(self, name: str, exact: np.ndarray, rounded: np.ndarray) -> None:
        """Real values of one tensor, arrays of one shape."""
        values, error = exact.astype(np.float64), exact.astype(np.float64) - rounded
        sums = np.array([values.size, values.sum(), (values**2).sum(), (error**2).sum()])
        self._sums[name] = self._sums.get(name, 0) + sums

    def ratios(self) -> dict[str, float]:
        """Signal-to-noise ratios in dB, the worst first; a tensor that never varies, or has no error, has
        none.
        """
        found = {}
        for name, (count, plain, squares, noise) in self._sums.items():
            signal = squares / count - (plain / count) ** 2
            if signal > 0 and noise > 0:
                found[name] = float(10 * np.log10(signal * count / noise))
        return dict(sorted(found.items(), key=lambda entry: entry[1]))
