"""Each corruption against what it should give, worked out by hand or by another library."""

import io
import math

import numpy as np
import pytest

from fer_hailo.robustness import table
from fer_hailo.robustness.corruptions import apply, corrupt, corrupt_all, motion_kernel, sheet
from fer_hailo.robustness.table import TABLE
from fer_hailo.training.data.sample import draw_face

NAMES = [row.name for row in TABLE]


class Drawn:
    """Stands for a generator: gives what a test wants to be drawn."""

    def __init__(self, value):
        self.value = value

    def uniform(self, low, high):
        assert low <= self.value <= high
        return self.value

    def choice(self, among):
        assert self.value in among
        return self.value


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    """Forty drawn faces, uint8 (40, 48, 48)."""
    labels = ("angry", "happy", "neutral", "surprise")
    return np.stack([draw_face(label, np.random.default_rng(i)) for i in range(10) for label in labels])


def test_table_is_the_one_that_the_scores_are_of():
    """Another table is another measurement: then docs/robustness.md and the models' cards have to go too."""
    assert [(row.name, row.amounts) for row in TABLE] == [
        ("darkness", (0.6, 0.4, 0.2)),
        ("brightness", (35, 70, 105)),
        ("contrast", (0.6, 0.4, 0.2)),
        ("noise", (8, 16, 24)),
        ("blur", (0.8, 1.2, 1.6)),
        ("motion", (3, 5, 7)),
        ("jpeg", (40, 20, 10)),
        ("low_resolution", (32, 24, 16)),
        ("shift", (2, 4, 6)),
        ("rotation", (10, 20, 30)),
        ("mask", (38, 32, 26)),
        ("sunglasses", (0.5, 0.75, 1.0)),
    ]
    assert table.SEED == 0


@pytest.mark.parametrize("row", TABLE, ids=NAMES)
def test_shape_strength_and_chance(row, faces):
    before = faces.copy()
    changes = [np.abs(corrupt_all(faces, row, k).astype(float) - faces).mean() for k in (1, 2, 3)]
    assert changes[0] < changes[1] < changes[2] and changes[0] > 1
    assert (faces == before).all()
    one = corrupt(faces[7], row, 2)
    assert one.dtype == np.uint8 and one.shape == (48, 48) and one.flags.c_contiguous
    # By seed and image: neither its place nor what came before it matters
    assert (one == corrupt_all(faces[5:], row, 2)[2]).all() and (one == corrupt(faces[7], row, 2)).all()
    seeds = [corrupt(faces[7], row, 2, seed) for seed in (0, 1, 2, 3)]
    by_chance = row.name in ("noise", "motion", "shift", "rotation", "mask")
    assert by_chance == any((seeds[0] != other).any() for other in seeds[1:])


@pytest.mark.parametrize("row", TABLE, ids=NAMES)
def test_other_sides_and_colours(row, faces):
    """A grey face in colour stays what it is in grey; a larger one is changed as much."""
    grey, large = faces[3], np.kron(faces[3], np.ones((2, 2), np.uint8))
    rng = lambda: np.random.default_rng(5)  # noqa: E731
    wide = apply(row.name, large, row.amounts[1], rng())
    assert wide.shape == (96, 96)
    colour = apply(row.name, np.repeat(grey[..., None], 3, axis=2), row.amounts[1], rng())
    assert colour.shape == (48, 48, 3) and colour.dtype == np.uint8
    if row.name == "noise":
        return
    single = apply(row.name, grey, row.amounts[1], rng())
    assert np.abs(colour.astype(int) - single[..., None]).max() <= (2 if row.name == "jpeg" else 0)
    if row.name not in ("jpeg", "motion", "shift", "low_resolution"):  # these go by whole pixels
        halved = wide.reshape(48, 2, 48, 2).mean(axis=(1, 3))
        assert np.abs(halved - single).mean() < 3


def test_light_by_hand():
    face = np.array([[0, 10, 100], [200, 255, 31], [64, 128, 5]], np.uint8)
    none = np.random.default_rng(0)
    assert apply("darkness", face, 0.2, none).tolist() == [[0, 2, 20], [40, 51, 6], [13, 26, 1]]
    assert apply("brightness", face, 70, none).tolist() == [[70, 80, 170], [255, 255, 101], [134, 198, 75]]
    # The mean is 793 / 9 = 88.11; half the distance from it
    assert apply("contrast", face, 0.5, none).tolist() == [[44, 49, 94], [144, 172, 60], [76, 108, 47]]


@pytest.mark.parametrize(
    ("name", "amount"),
    [
        ("darkness", 1),
        ("brightness", 0),
        ("contrast", 1),
        ("noise", 0),
        ("motion", 1),
        ("low_resolution", 48),
        ("shift", 0),
        ("rotation", 0),
        ("sunglasses", 0),
    ],
)
def test_amount_that_does_nothing(name, amount, faces):
    assert (apply(name, faces[0], amount, np.random.default_rng(0)) == faces[0]).all()


def test_noise_has_its_deviation():
    grey = np.full((400, 400), 128, np.uint8)
    noise = apply("noise", grey, 16, np.random.default_rng(0)).astype(float) - 128
    assert abs(noise.mean()) < 0.2 and abs(noise.std() - math.hypot(16, 12**-0.5)) < 0.2  # and of rounding


def test_blur_is_pillows():
    """Pillow's is three box filters, so near is enough; a point by the formula besides."""
    from PIL import Image, ImageFilter

    face = draw_face("happy", np.random.default_rng(1))
    ours = apply("blur", face, 1.6, np.random.default_rng(0)).astype(float)
    theirs = np.asarray(Image.fromarray(face).filter(ImageFilter.GaussianBlur(1.6)), float)
    assert np.abs(ours - theirs)[5:-5, 5:-5].max() < 6
    point = np.zeros((49, 49), np.uint8)
    point[24, 24] = 255
    weights = np.exp(-(np.arange(-8, 9) ** 2) / (2 * (1.2 * 49 / 48) ** 2))
    row = 255 * weights * weights.max() / weights.sum() ** 2
    assert np.abs(apply("blur", point, 1.2, np.random.default_rng(0))[24, 16:33] - row).max() <= 1


def test_motion_by_hand():
    third = 1 / 3
    flat = np.zeros((5, 5))
    flat[2, 1:4] = third
    assert np.allclose(motion_kernel(3, 0), flat) and np.allclose(motion_kernel(3, np.pi / 2), flat.T)
    # Down to the right by 45 degrees: a pixel apart is 0.7071 in x and y, shared 0.2929 to 0.7071
    near, far = 1 - math.sqrt(0.5), math.sqrt(0.5)
    part = np.outer((near, far), (near, far)) / 3
    wanted = np.zeros((5, 5))
    wanted[2, 2] = third
    wanted[2:4, 2:4] += part
    wanted[1:3, 1:3] += part[::-1, ::-1]
    assert np.allclose(motion_kernel(3, np.pi / 4), wanted, atol=1e-6)
    point = np.zeros((48, 48), np.uint8)
    point[20, 20] = 255
    streak = apply("motion", point, 5, Drawn(0))
    assert streak[20, 17:24].tolist() == [0, 51, 51, 51, 51, 51, 0] and streak.sum() == 255


@pytest.mark.parametrize("quality", [10, 40])
def test_jpeg_is_pillows(quality, faces):
    """Both write by libjpeg with the same tables; their decoders may differ by a grey level."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(faces[2]).save(file, "JPEG", quality=quality)
    theirs = np.asarray(Image.open(file)).astype(int)
    assert np.abs(apply("jpeg", faces[2], quality, np.random.default_rng(0)) - theirs).max() <= 1


def test_jpeg_keeps_red_red():
    red = np.zeros((48, 48, 3), np.uint8)
    red[..., 0] = 200
    assert np.abs(apply("jpeg", red, 40, np.random.default_rng(0)) - red.astype(int)).max() < 12


def test_low_resolution_by_hand():
    """48 to 24 pixels takes the mean of each 2 x 2; then the project's own bicubic enlarges."""
    from fer_hailo.common.preprocess import cubic_matrix

    face = draw_face("surprise", np.random.default_rng(4))
    means = np.rint(face.reshape(24, 2, 24, 2).mean(axis=(1, 3)))
    matrix = cubic_matrix(24, 48)
    wanted = np.clip(np.rint(matrix @ means @ matrix.T), 0, 255)
    assert np.abs(apply("low_resolution", face, 24, np.random.default_rng(0)) - wanted).max() <= 2


def test_shift_by_hand(faces):
    right = apply("shift", faces[1], 4, Drawn(0))
    assert (right == np.pad(faces[1], ((0, 0), (4, 0)), "edge")[:, :48]).all()
    # 3.6 pixels up to the left by 45 degrees are 2.55 each: three whole ones
    up = apply("shift", faces[1], 3.6, Drawn(5 / 4 * np.pi))
    assert (up == np.pad(faces[1], ((0, 3), (0, 3)), "edge")[3:, 3:]).all()


def test_rotation_by_hand(faces):
    for side, turns in ((1, 1), (-1, 3)):
        assert (apply("rotation", faces[1], 90, Drawn(side)) == np.rot90(faces[1], turns)).all()


def test_mask_covers_from_where_it_begins():
    face = np.zeros((48, 48), np.uint8)
    masked = apply("mask", face, 32, Drawn(200))
    assert masked[:29].max() == 0 and (masked[34:46, 17:32] == 200).all()  # its middle rises by two pixels
    assert masked[31, 24] == 200 and masked[31, 8] == 0 and masked[35, 3] == 0
    assert abs(int(masked[:, :24].sum()) - int(masked[:, 25:].sum())) < 0.06 * masked.sum()


def test_sunglasses_cover_the_eyes():
    face = np.full((48, 48), 215, np.uint8)
    half, whole = (apply("sunglasses", face, opacity, Drawn(0)) for opacity in (0.5, 1))
    for x, y in ((15, 18), (33, 18), (24, 17)):  # both eyes, and the bridge between
        assert half[y, x] == 115 and whole[y, x] == 15
    assert (whole[:12] == 215).all() and (whole[25:] == 215).all()
    # Two ellipses of half axes 6.5 and 5 and a bridge of some 3 x 2 pixels outside of them
    covered = (215 - whole.astype(float)).sum() / 200
    assert 2 * math.pi * 6.5 * 5 < covered < 2 * math.pi * 7 * 5.5 + 16


def test_sheet(faces):
    images, titles = sheet(faces[0], TABLE[6:8])
    assert images.shape == (8, 48, 48)
    assert titles == ["jpeg", "40", "20", "10", "low resolution", "32", "24", "16"]
    assert (images[[0, 4]] == faces[0]).all() and (images[6] == corrupt(faces[0], TABLE[7], 2)).all()
