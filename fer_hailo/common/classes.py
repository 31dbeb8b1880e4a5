"""Expressions: their names here and elsewhere, and the orders in which the known data sets number them."""

from __future__ import annotations

from collections.abc import Iterable

FER2013 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # 0 to 6
RAF_DB = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")  # 1 to 7
AFFECTNET = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")  # 0 to 7
EXPRESSIONS = frozenset(AFFECTNET)
ALIASES = {
    "anger": "angry",
    "disgusted": "disgust",
    "disgusting": "disgust",
    "afraid": "fear",
    "fearful": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "suprise": "surprise",
    "suprised": "surprise",
    "surprised": "surprise",
    "contemptuous": "contempt",
}
# Numbers tell their data set where all of them are there; 0 to 7 may be AffectNet's or FER+'s.
NUMBERED = {"FER2013": (0, FER2013), "RAF-DB": (1, RAF_DB)}


def canonical(name: str) -> str:
    """What this project calls a class: `angry` for Anger. Other people's own classes are in lower case."""
    name = name.strip().lower()
    return ALIASES.get(name, name)


def numbering(found: Iterable[str]) -> tuple[str, dict[str, str]]:
    """The data set whose numbers these names are, with {number: class}; empty where they are none."""
    found = set(found)
    for data_set, (first, order) in NUMBERED.items():
        names = {str(number): name for number, name in enumerate(order, first)}
        if found == set(names):
            return data_set, names
    return "", {}


def class_names(found: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """{name in a data set: name here} of all its classes, and what is to be said of it, a line each."""
    found = sorted(set(found))
    data_set, names = numbering(found)
    if data_set:
        told = ", ".join(f"{number} {name}" for number, name in names.items())
        return names, [f"its classes are numbered, and read in {data_set}'s order: {told}"]
    if found == [str(number) for number in range(8)]:
        return dict(zip(found, found, strict=True)), [
            "its classes are 0 to 7, which AffectNet and FER+ count in different orders: rename them"
        ]
    names = {name: canonical(name) for name in found}
    others = {ours: [name for name in found if names[name] == ours] for ours in sorted(set(names.values()))}
    told = "; ".join(f"{ours}: called {' and '.join(own)}" for ours, own in others.items() if own != [ours])
    return names, [told] if told else []


def same_classes(one: Iterable[str], other: Iterable[str]) -> bool:
    """Whether two lists name the same classes, in whatever order and spelling."""
    return sorted(map(canonical, one)) == sorted(map(canonical, other))
