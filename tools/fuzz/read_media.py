"""Readers of images and videos, as run and train call them."""

from __future__ import annotations

import itertools
from pathlib import Path
from unittest import mock

from tools.fuzz.reading import either, said

FRAMES = 40  # of a video that are looked at
MOST_PIXELS = 100_000_000  # as run's --max-pixels


def shots(path: Path) -> str:
    """As `run FILE`: its frames, or the problem that stands in their place."""
    from fer_hailo.board.sources import open_sources

    problems = []
    for source in open_sources([str(path)], MOST_PIXELS):
        found = source.shots()
        for shot in itertools.islice(found, FRAMES):
            assert (shot.image is None) == bool(shot.problem), "neither an image nor a problem"
            problems.append(shot.problem)
        source.stop()
        found.close()
    return said(problems) if "" in problems else either(problems[0] if problems else "has no frames", path)


def decoded(path: Path) -> str:
    """As train decodes an image."""
    from fer_hailo.common.decode import decode

    try:
        return said(decode(path.read_bytes()))
    except ValueError as error:
        return either(str(error), path)


def by_opencv(path: Path) -> str:
    """The same on a board without Pillow."""
    with mock.patch("fer_hailo.common.decode._has_pillow", lambda size: False):
        return decoded(path)
