"""DAN is the official network."""

from official import check

from fer_hailo.training.networks.dan import network
from fer_hailo.training.networks.resnet18.test_network import shrink as shrink_resnet

AFTER = {
    "features.1": "features.1", "features.3": "features.1_pool", "features.4": "features.4.1",
    "features.5": "features.5.1",
    "features.6": "features.6.1", "features.7": "features.7.1",
    "features.5.0.downsample": "features.5.0.downsample.1",
    "input of fc": "fused", "feature_map": "feature_map", "heads": "heads", "logits": "bn",
    **{f"cat_head0.sa.{conv}": f"cat_head0.sa.{conv}.1" for conv in ("conv1x1", "conv_3x3", "conv_1x3",
    "conv_3x1")},
    "cat_head0.ca.attention": "cat_head0.ca.attention.3",
}  # fmt: skip


def shrink(patch):
    shrink_resnet(patch)
    patch.setattr(network, "WIDTH", 4)


def test_it_is_the_official_network():
    check("dan", network.dan, AFTER)
