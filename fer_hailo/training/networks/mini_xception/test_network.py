"""mini-XCEPTION has the published count of parameters."""

from fer_hailo.training.networks.mini_xception import network


def shrink(patch):
    patch.setattr(network, "FILTERS", (4, 8))


def test_published_count():
    """58,423 with its 3x3 convolution to seven classes, from grey images."""
    assert network.mini_xception(64, None).count_params() == 58_423 - (128 * 9 * 7 + 7) + 2 * 9 * 8
