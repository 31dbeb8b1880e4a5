"""Faces with their heat maps as one picture: face, map over the face, and what was predicted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fer_hailo.explain.explainer import Explanation

LINE = 20  # height of a line of text, pixels
GAP = 8  # between strips
PAPER, INK = 255, (0, 0, 0)
HEAT = 0.55  # of an overlay; the rest is the face


def overlay(face: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3): the face in grey under a heat map, float (H, W) of 0 to 1: dark blue to yellow."""
    import cv2

    bgr = cv2.applyColorMap(np.round(255 * heat).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)[..., None]
    return np.round(HEAT * bgr[..., ::-1] + (1 - HEAT) * grey).astype(np.uint8)


def strip(explanation: Explanation, caption: str, side: int) -> np.ndarray:
    """One face, uint8 (side + 2 LINE, (1 + maps) * side, 3): the caption above, the maps' names beneath.

    side: of the face and of each map, pixels.
    """
    import cv2

    tiles = [explanation.face, *(overlay(explanation.face, heat) for heat in explanation.maps.values())]
    row = np.hstack([cv2.resize(tile, (side, side), interpolation=cv2.INTER_CUBIC) for tile in tiles])
    drawn = np.pad(row, ((LINE, LINE), (0, 0), (0, 0)), constant_values=PAPER)
    _text(drawn, caption, 0, 0, row.shape[1])
    for number, name in enumerate(explanation.maps, 1):
        _text(drawn, name, number * side, LINE + side, side)
    return drawn


def sheet(rows: Sequence[Sequence[np.ndarray | None]]) -> np.ndarray:
    """Strips of one size in rows, uint8 (H, W, 3); a None leaves its place empty."""
    first = next(each for row in rows for each in row if each is not None)
    empty, columns = np.full_like(first, PAPER), max(map(len, rows))
    edges = ((GAP, GAP), (GAP, GAP), (0, 0))
    lines = []
    for row in rows:
        filled = [empty if each is None else each for each in [*row, *[None] * (columns - len(row))]]
        lines.append(np.hstack([np.pad(each, edges, constant_values=PAPER) for each in filled]))
    return np.vstack(lines)


def _text(image: np.ndarray, words: str, x: int, y: int, width: int) -> None:
    """A line in the room of `width` pixels from x on; smaller letters where it is too long."""
    import cv2

    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.5
    scale *= min(1, (width - 4) / max(1, cv2.getTextSize(words, font, scale, 1)[0][0]))
    cv2.putText(image, words, (x + 2, y + LINE - 6), font, scale, INK, 1, cv2.LINE_AA)
