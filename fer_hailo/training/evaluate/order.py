"""Whether the outputs of a model from elsewhere stand in the order of the classes that is taken for theirs.

A wrong order scores like chance and raises no error, so the orders in which people train are tried.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fer_hailo.common.classes import AFFECTNET, FER2013, RAF_DB, canonical
from fer_hailo.common.errors import UserError
from fer_hailo.training.data.ferplus import FERPLUS

CLEARLY = 0.05  # of the images, by which another order must be better,
SURELY = 3  # and standard deviations of what chance does to the difference


def usual_orders(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """{whose: the names in that order} of the data sets that know all of them, and of the alphabet."""
    ours = {canonical(name): name for name in names}
    known = {"FER2013": FER2013, "RAF-DB": RAF_DB, "AffectNet": AFFECTNET, "FER+": FERPLUS}
    known["the alphabet"] = tuple(sorted(ours))
    found = {whose: tuple(ours[name] for name in order if name in ours) for whose, order in known.items()}
    return {whose: order for whose, order in found.items() if len(order) == len(names)}


def accuracy_in(matrix: np.ndarray, names: Sequence[str], order: Sequence[str]) -> float:
    """The part of the images that is right where output k means order[k].

    matrix: int (C, C), images by true class, in the order of names, and by output.
    """
    return float(_hits(matrix, names, order).sum() / matrix.sum())


def better_order(matrix: np.ndarray, names: Sequence[str]) -> str | None:
    """Whose order is clearly better than that of names, of the usual ones; None where none is."""
    own = _hits(matrix, names, names)
    best = max(usual_orders(names).items(), key=lambda item: _hits(matrix, names, item[1]).sum())
    other = _hits(matrix, names, best[1])
    moved = np.array([one != two for one, two in zip(names, best[1], strict=True)])
    gain = int(other[moved].sum()) - int(own[moved].sum())
    chance = np.sqrt(other[moved].sum() + own[moved].sum())
    return best[0] if gain > max(CLEARLY * matrix.sum(), SURELY * chance) else None


def check_order(matrix: np.ndarray, names: Sequence[str]) -> None:
    """Raise UserError where another usual order is clearly better. matrix: as for `accuracy_in`."""
    whose = better_order(matrix, names)
    if whose is None:
        return
    order = usual_orders(names)[whose]
    shown = [f"{accuracy_in(matrix, names, tried):.1%}" for tried in (names, order)]
    raise UserError(
        f"with its classes in the order {', '.join(names)} this model is right on {shown[0]} of the "
        f"validation images, in that of {whose} on {shown[1]}: nothing states its order, so add --classes "
        f"{','.join(order)} or put these names, one a line, into a labels.txt beside it"
    )


def _hits(matrix: np.ndarray, names: Sequence[str], order: Sequence[str]) -> np.ndarray:
    """int (C,): images that are right, by output."""
    places = {name: place for place, name in enumerate(names)}
    return np.asarray(matrix)[[places[name] for name in order], np.arange(len(names))]
