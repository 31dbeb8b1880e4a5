"""What is done to a face, and how strongly. Fixed before any model was scored by it; a change is a new table,
whose scores stand beside none of the old.

The idea, common corruptions at rising strengths with one mean, is of Hendrycks and Dietterich, "Benchmarking
neural network robustness to common corruptions and perturbations" (ICLR 2019). These are made for faces of 48
pixels: what an exposure, a lens, a sensor, a codec, a detector, a mask or glasses do to them.
"""

from __future__ import annotations

from typing import NamedTuple

SIDE = 48  # of the face that lengths are given for, pixels; for another side they grow with it
SEED = 0  # of what is drawn by chance for an image: noise, directions, the shade of a mask


class Corruption(NamedTuple):
    """One row. amounts: of strength 1, 2 and 3. unit: what they count."""

    name: str
    amounts: tuple[float, float, float]
    unit: str


TABLE = (
    Corruption("darkness", (0.6, 0.4, 0.2), "of the light, each value multiplied"),
    Corruption("brightness", (35, 70, 105), "grey levels added, white clipped"),
    Corruption("contrast", (0.6, 0.4, 0.2), "of each value's distance from the face's mean"),
    Corruption("noise", (8, 16, 24), "grey levels, standard deviation of Gaussian noise"),
    Corruption("blur", (0.8, 1.2, 1.6), "pixels, standard deviation of a Gaussian"),
    Corruption("motion", (3, 5, 7), "pixels, a straight path in any direction"),
    Corruption("jpeg", (40, 20, 10), "quality of libjpeg"),
    Corruption("low_resolution", (32, 24, 16), "pixels, the side to which the face is reduced"),
    Corruption("shift", (2, 4, 6), "pixels in any direction, the border repeated"),
    Corruption("rotation", (10, 20, 30), "degrees to either side, the border repeated"),
    Corruption("mask", (38, 32, 26), "pixels from above, where it begins: lower lip, lips, nose"),
    Corruption("sunglasses", (0.5, 0.75, 1.0), "opacity of the lenses"),
)

# On the mean face of FER2013's training side the eyes lie at (15.5, 17.5) and (33, 17.5), the tip of the nose
# at (24, 29), the mouth at (24, 38): x, y in pixels of SIDE.
MASK = ((6, 1.5), (15, 0), (24, -2), (33, 0), (42, 1.5), (39, 44), (31, 48), (17, 48), (9, 44))
MASK_EDGE = 5  # of these the first lie relative to where it begins
MASK_SHADES = (40, 230)  # grey levels, one for an image
LENSES = ((15.5, 18.0), (32.5, 18.0))  # centres
LENS = (6.5, 5.0)  # half axes
BRIDGE = ((20, 17), (28, 17))  # a line of two pixels, as opaque as the lenses
LENS_SHADE = 15  # grey levels
