"""POSTER is the official network."""

import pytest
from official import check

from fer_hailo.training.networks import face_backbones
from fer_hailo.training.networks.poster import network

AFTER = {
    "input of face_landback": "half", "input of ir_back.input_layer": "half",
    "ir_back.input_layer": "ir_back.input_layer.2",
    "input of pyramid_fuse.blocks.0[0]": "tokens", "input of pyramid_fuse[0]": "ir_layer",
    "input of pyramid_fuse[1]": "landmark_tokens",
    **{f"pyramid_fuse.{kind}": f"pyramid_fuse.{kind}.turn_back" for kind in ("downsample_m", "downsample_s")},
    **{f"pyramid_fuse.blocks.0.{kind}": f"pyramid_fuse.blocks.0.{kind}.turn_back"
        for kind in ("upsample_m", "upsample_s")},
    **{f"input of pyramid_fuse.blocks.0[{i}]": f"pyramid_fuse.downsample_{key}.turn_back"
        for i, key in ((1, "m"), (2, "s"))},
    **{f"pyramid_fuse.blocks.0.block_{key}": f"pyramid_fuse.blocks.0.block_{key}.conv.turn_back"
        for key in "lms"},
    **{f"pyramid_fuse.blocks.{i}[{k}]": f"pyramid_fuse.blocks.{i}.{key}"
        for i in range(8) for k, key in enumerate("lm")},
    **{f"pyramid_fuse.blocks.{i}[2]": f"pyramid_fuse.blocks.{i}.block_s.conv.turn_back" for i in range(8)},
    "input of pyramid_fuse.blocks.0.block_l.conv": "pyramid_fuse.blocks.0.block_l.both",
    "pyramid_fuse.blocks.0.block_l.conv": "pyramid_fuse.blocks.0.block_l.conv.turn_back",
    **{f"pyramid_fuse.blocks.0.block_l.attn_{key}": f"pyramid_fuse.blocks.0.block_l.attn_{key}.proj"
        for key in ("img", "lm")},
    **{f"pyramid_fuse.blocks.0.block_l.mlp{i}": f"pyramid_fuse.blocks.0.block_l.mlp{i}.fc2" for i in (1, 2)},
    "head": "head.linear", "feature": "se_block", "logits": "head.linear",
}  # fmt: skip
LANDMARKS = {
    **{
        f"face_landback.{name}": f"face_landback.{name}.prelu" for name in ("conv1", "conv2_dw", "conv_6_sep")
    },
    **{
        f"face_landback.{name}": f"face_landback.{name}.project.bn"
        for name in ("conv_23", "conv_34", "conv_45")
    },
    **{f"face_landback.conv_{k}": f"face_landback.conv_{k}.model.{i}" for k, i in ((3, 3), (4, 5), (5, 1))},
}
THROWN_AWAY = 512 * 49 + 512 * 136  # the 136 numbers of landmarks, which the official code computes


def shrink_backbones(patch):
    patch.setattr(face_backbones, "UNITS", (1, 1, 1))
    patch.setattr(face_backbones, "BLOCKS", (0, 0, 0))


def shrink(patch):
    shrink_backbones(patch)
    patch.setattr(network, "UNITS", (1, 1, 1))
    patch.setattr(network, "DEPTH", 1)


@pytest.mark.slow  # poster_v2's shares the most of it
def test_it_is_the_official_network():
    check("poster", network.poster, AFTER | LANDMARKS, THROWN_AWAY)
