"""Faces made worse in training: each kind against its own arithmetic in numpy."""

import numpy as np
import pytest
from scipy.ndimage import uniform_filter1d

from fer_hailo.training.models import degrade
from fer_hailo.training.models.degrade import LINEAR, Degraded

SIDE = 12


def changes(images, kind, strength, channels=1):
    """What one kind adds to (B, S, S), by the layer."""
    layer = Degraded(1.0, SIDE, 0)
    planes = images[:, None].repeat(channels, axis=1).astype(np.float32)
    strengths = np.full((len(images), 1, 1, 1), strength, np.float32)
    return np.asarray(layer._changes(planes, np.full(len(images), kind), strengths))


@pytest.fixture
def images():
    return np.random.default_rng(3).integers(0, 256, (5, SIDE, SIDE)).astype(np.float32)


def test_means_over_rows_and_columns(images):
    """Inside, where no border cuts them, as SciPy's."""
    inside = np.s_[:, 3:-3, 3:-3]
    five = uniform_filter1d(uniform_filter1d(images, 5, axis=1), 5, axis=2)
    assert np.allclose((images + changes(images, 0, 1)[:, 0])[inside], five[inside], atol=1e-3)
    for kind, axis in ((1, 1), (2, 2)):
        seven = uniform_filter1d(images, 7, axis=axis)
        assert np.allclose((images + changes(images, kind, 1)[:, 0])[inside], seven[inside], atol=1e-3)
        assert np.allclose(changes(images, kind, 0.25), changes(images, kind, 1) / 4, atol=1e-3)


def test_blocks(images):
    for kind, size in ((3, 2), (4, 3)):
        blocks = images.reshape(5, SIDE // size, size, SIDE // size, size).mean((2, 4))
        coarse = blocks.repeat(size, axis=1).repeat(size, axis=2)
        assert np.allclose(images + changes(images, kind, 1)[:, 0], coarse, atol=1e-3)


def test_noise_and_gamma(images):
    noise = changes(np.full((400, SIDE, SIDE), 128.0), degrade.NOISE, 0.5, channels=3)
    assert np.abs(noise).max() <= 25 and abs(noise.mean()) < 0.1
    assert noise.std() == pytest.approx(25 / np.sqrt(3), rel=0.02)  # of an even distribution
    for strength, exponent in ((0, 2**-1.5), (0.5, 1), (1, 2**1.5)):
        made = images + changes(images, degrade.GAMMA, strength)[:, 0]
        assert np.allclose(made, 255 * (images / 255) ** exponent, atol=2e-3)


def test_a_part_of_the_images_in_all_ways_at_random(images):
    many = images[:1].repeat(2000, axis=0).astype(np.uint8)
    layer = Degraded(0.3, SIDE, 7)
    first, second = np.asarray(layer(many)), np.asarray(layer(many))
    untouched = (first == many).all((1, 2))
    assert 0.66 < untouched.mean() < 0.74 and first.dtype == np.float32
    assert (first != second).any() and (np.asarray(Degraded(0.3, SIDE, 7)(many)) == first).all()
    assert first.min() >= 0 and first.max() <= 255
    colour = np.asarray(Degraded(1.0, SIDE, 7)(np.repeat(many[:50, ..., None], 3, axis=-1)))
    assert colour.shape == (50, SIDE, SIDE, 3)
    assert len(LINEAR) == 5
