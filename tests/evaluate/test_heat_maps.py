"""Heat maps against maps worked out by hand, and which map of a network they are made of."""

import keras
import numpy as np
import pytest

from fer_hailo.explain.contact import choose
from fer_hailo.explain.explainer import Explanation
from fer_hailo.explain.gradcam import HeadMaps, grad_cam, last_map
from fer_hailo.explain.occlusion import occlusion
from fer_hailo.explain.sheet import GAP, LINE, overlay, sheet, strip

SIDE = 64


def test_occlusion_of_a_network_that_sees_one_pixel():
    """Side 8, patches of 2 x 2 at every place: of the 4 patches that cover pixel (3, 5) all, of those that
    cover its neighbour 2, of those that cover the one beyond the corner 1 cost what the pixel gives.
    """
    image = np.full((8, 8, 3), 10, np.uint8)
    image[3, 5] = 138  # the mean is 10 + 128 / 64 = 12
    heat = occlusion(image, lambda images: images[:, 3, 5, 0] * 0.5)
    fall = (138 - 12) / 2
    wanted = np.zeros((8, 8))
    wanted[2:5, 4:7] = fall * np.array([[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])
    np.testing.assert_allclose(heat, wanted)


def test_occlusion_of_a_linear_network():
    """What a patch costs is the sum of weight x (pixel - mean) beneath it."""
    rng = np.random.default_rng(1)
    image, weights = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8), rng.normal(size=(8, 8, 3))
    heat = occlusion(image, lambda images: (images * weights).sum(axis=(1, 2, 3)))
    colour = image.mean(axis=(0, 1)).round()
    parts = (weights * (image - colour)).sum(axis=2)
    # The corner lies under one patch alone, of two rows and two columns
    assert heat[0, 0] == pytest.approx(parts[:2, :2].sum())
    assert heat[7, 7] == pytest.approx(parts[6:, 6:].sum())


@pytest.fixture(scope="module")
def by_hand():
    """(network, (places, channels, classes) kernel of its last layer): a convolution that takes the first
    pixel of each 2 x 2, red and green of it, and a dense layer on the 3 x 3 x 2 values.
    """
    image = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(2, 2, strides=2, use_bias=False, name="pick")(image)
    network = keras.Model(image, keras.layers.Dense(2, name="logits")(keras.layers.Flatten()(x)))
    pick = np.zeros((2, 2, 3, 2))
    pick[0, 0, 0, 0] = pick[0, 0, 1, 1] = 1
    network.get_layer("pick").set_weights([pick])
    kernel = np.random.default_rng(2).normal(size=(9, 2, 2))
    network.get_layer("logits").set_weights([kernel.reshape(18, 2), np.zeros(2)])
    return network, kernel


def test_grad_cam_by_hand(by_hand):
    """The gradient is the dense layer's kernel, so a channel's weight is its mean over the places."""
    import cv2

    network, kernel = by_hand
    images = np.random.default_rng(3).uniform(-1, 1, (2, 6, 6, 3)).astype(np.float32)
    maps = grad_cam(network).maps(images, [1, 0])
    for heat, image, label in zip(maps, images, (1, 0), strict=True):
        red, green = kernel.mean(axis=0)[:, label]
        small = np.maximum(red * image[::2, ::2, 0] + green * image[::2, ::2, 1], 0)
        wanted = cv2.resize(small, (6, 6), interpolation=cv2.INTER_LINEAR)
        assert wanted.max() > 0
        np.testing.assert_allclose(heat, wanted, atol=1e-5)


def test_the_last_map_is_that_through_which_all_passes():
    """Not a branch's, however late; not the image, nor what only pads it; not one of too few places."""
    layers = keras.layers
    image = keras.Input((16, 16, 3))
    shared = layers.Conv2D(4, 3, strides=4, padding="same", name="shared")(layers.ZeroPadding2D(2)(image))
    left, right = (layers.Conv2D(4, 3, padding="same")(shared) for _ in range(2))
    joined = layers.Add(name="joined")([layers.ReLU()(left), right])
    heads = [layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1)(joined)) for _ in range(2)]
    both = layers.Concatenate()(heads)
    network = keras.Model(image, layers.Dense(3)(both))
    assert last_map(network) is network.get_layer("joined").output
    assert last_map(keras.Model(image, layers.Dense(3)(layers.Flatten()(image)))) is None
    around = keras.Input((16, 16, 3))
    assert last_map(keras.Model(around, network(around))) is None
    small = layers.Conv2D(4, 3, strides=2)(joined)
    network = keras.Model(image, layers.Dense(3)(layers.Flatten()(small)))
    assert small.shape[1] == 2 and last_map(network) is network.get_layer("joined").output


@pytest.fixture(scope="module")
def dan():
    from fer_hailo.training.networks.dan import network

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network.resnet, "STAGES", ((8, 1), (16, 2)))
        patch.setattr(network, "WIDTH", 4)
        keras.utils.set_random_seed(1)
        return network.dan(SIDE, 3)


def test_heads_of_dan(dan):
    """A head gives the features times its map, so their quotient is the map."""
    import cv2

    assert last_map(dan) is dan.get_layer("feature_map").output
    images = np.random.default_rng(4).uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32)
    heads = HeadMaps(dan)
    maps = heads.maps(images)
    assert heads.count == 4 and maps.shape == (4, 1, SIDE, SIDE)
    names = ["feature_map", *(f"cat_head{number}-sa" for number in range(4))]
    features, *seen = keras.Model(dan.input, [dan.get_layer(name).output for name in names])(images)
    features = np.array(features)
    channel = np.abs(features).min(axis=(0, 1, 2)).argmax()  # the farthest from a division by zero
    for found, head in zip(maps, seen, strict=True):
        wanted = np.array(head)[0, :, :, channel] / features[0, :, :, channel]
        large = cv2.resize(wanted, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        assert wanted.max() > wanted.min()
        np.testing.assert_allclose(found[0], large, rtol=1e-3, atol=1e-3 * wanted.max())


def test_ddamfn_has_two_heads_and_others_none(by_hand):
    from fer_hailo.training.networks.ddamfn.network import MAPS

    image = keras.Input((8, 8, 3))
    gates = [keras.layers.Conv2D(2, 1, activation="sigmoid", name=name)(image) for name in MAPS]
    network = keras.Model(image, keras.layers.Maximum()(gates))
    images = np.random.default_rng(5).uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32)
    maps = HeadMaps(network).maps(images)
    for found, gate in zip(maps, gates, strict=True):
        wanted = np.array(keras.Model(image, gate)(images)).mean(axis=-1)
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert HeadMaps(by_hand[0]).maps(images).shape == (0, 1, 8, 8)


def test_choice_of_images():
    labels = np.array([0, 0, 0, 0, 0, 0, 1])
    first = np.array([0.6, 0.9, 0.2, 0.7, 0.4, 0.8, 0.1])
    probabilities = np.stack([first, 1 - first], axis=1)
    assert choose(labels, probabilities, 0) == ([1, 5, 3], [2, 4])
    assert choose(labels, probabilities, 1) == ([6], [])


def test_a_sheet():
    """Heat 0 and 1 are viridis' ends, (68, 1, 84) and (253, 231, 37), at 55 % over the grey face."""
    face, heat = np.full((40, 40, 3), 100, np.uint8), np.zeros((40, 40))
    heat[:, 20:] = 1
    drawn = overlay(face, heat)
    assert drawn[0, 0].tolist() == [82, 46, 91] and drawn[0, 39].tolist() == [184, 172, 65]
    one = strip(Explanation(face, {"a": heat, "b": heat}), "happy 90%", 80)
    assert one.shape == (80 + 2 * LINE, 3 * 80, 3)
    assert (one[LINE + 40, 40] == 100).all() and one[LINE + 40, 90].tolist() == [82, 46, 91]
    assert one[:LINE].min() < 100 and one[-LINE:, :80].min() == 255 and one[-LINE:, 80:160].min() < 100
    whole = sheet([[one, None], [one]])
    height, width = one.shape[0] + 2 * GAP, one.shape[1] + 2 * GAP
    assert whole.shape == (2 * height, 2 * width, 3) and whole[:height, width:].min() == 255
