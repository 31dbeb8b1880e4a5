"""ResNet-18 has torchvision's count of parameters."""

import numpy as np

from fer_hailo.training.networks.resnet18 import network


def shrink(patch):
    patch.setattr(network, "STAGES", ((8, 1), (16, 2)))


def test_published_count():
    """11,689,512, less the 513,000 of its classifier."""
    model = network.resnet18(64, None)
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert trainable == 11_689_512 - 513_000 and model.output_shape == (None, 2, 2, 512)
