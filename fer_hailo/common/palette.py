"""One style for all drawings: matplotlib's, and the reports' SVG.

Each colour has a contrast of 3.5 or more to white paper and to a dark page. People who see no red or no green
still tell them apart, as blue, orange, green and purple differ in more than that; on a grey print their
brightness is alike, so that every line also has a dash and a marker of its own.
"""

COLOURS = ("#2376b7", "#d55e00", "#008f68", "#b0609a")
DASHES = ((), (7, 3), (2, 2), (9, 3, 2, 3))  # lengths of a line and of the gap after it
MARKERS = ("o", "s", "^", "D")  # matplotlib's names
LOOKS = len(COLOURS) * len(DASHES)  # of series that can be told apart
GREY = "#767c84"  # of what is compared with: limits, diagonals


def look(number: int) -> tuple[str, tuple[int, ...], str]:
    """Colour, dash and marker of the series 0, 1, ...: no two of the first LOOKS are alike."""
    turned = (number + number // len(COLOURS)) % len(COLOURS)
    return COLOURS[number % len(COLOURS)], DASHES[turned], MARKERS[turned]
