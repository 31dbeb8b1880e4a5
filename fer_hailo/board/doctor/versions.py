"""Versions: which belong together, and what a package's demand says of one."""

from __future__ import annotations

import re

# HailoRT and its compiler
PAIRS = {"4.19": "3.29", "4.20": "3.30", "4.21": "3.31", "4.22": "3.32", "4.23": "3.33"}


def release(version: str) -> str:
    """ "4.23.0" to "4.23"."""
    return ".".join(version.split(".")[:2])


def meets(version: str, demand: str) -> bool:
    """Whether a version fulfils every clause of a demand such as "numpy>=1.23,<2"."""
    return all(holds(version, *clause) for clause in re.findall(r"([<>=!~]=?)([\d.]+)", demand))


def holds(version: str, sign: str, bound: str) -> bool:
    size = max(3, bound.count(".") + 1)
    ours, theirs = ([*_numbers(text), *[0] * size][:size] for text in (version, bound))
    if sign == "~=":
        return ours >= theirs and ours[: bound.count(".")] == theirs[: bound.count(".")]
    return {
        "==": ours == theirs,
        "!=": ours != theirs,
        "<": ours < theirs,
        "<=": ours <= theirs,
        ">": ours > theirs,
        ">=": ours >= theirs,
    }[sign]


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.split(r"[^\d.]", version, maxsplit=1)[0].split(".") if part]
