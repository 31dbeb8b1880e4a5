"""POSTER V2 is the official network."""

from official import check

from fer_hailo.training.networks.poster.test_network import LANDMARKS, THROWN_AWAY, shrink_backbones
from fer_hailo.training.networks.poster_v2 import network

AFTER = {
    "input of face_landback": "half", "input of ir_back.input_layer": "half",
    "ir_back.input_layer": "ir_back.input_layer.2",
    "ir_back.body1": "ir_back.body1.2", "ir_back.body2": "ir_back.body2.3",
    "ir_back.body3": "ir_back.body3.13",
    **{f"window{i}[0]": f"window{i}" for i in (1, 2, 3)},
    **{f"window{i}[1]": f"window{i}.norm" for i in (1, 2, 3)},
    **{f"input of attn{i}[0]": f"window{i}" for i in (1, 2, 3)},
    **{f"attn{i}": f"attn{i}.proj" for i in (1, 2, 3)},
    **{f"ffn{i}": f"ffn{i}.gamma2.add" for i in (1, 2, 3)}, "ffn1.mlp": "ffn1.mlp.fc2",
    "embed_q": "embed_q.1", "embed_k": "embed_k.0", "embed_v": "tokens3",
    "input of VIT": "scales", "input of VIT.blocks": "VIT.positions",
    "VIT.blocks.0.attn": "VIT.blocks.0.attn.proj",
    "VIT.blocks.0.mlp": "VIT.blocks.0.mlp.fc2", "input of VIT.se_block": "VIT.first",
    "VIT.head": "VIT.head.linear",
    "logits": "VIT.head.linear",
}  # fmt: skip


def shrink(patch):
    shrink_backbones(patch)
    patch.setattr(network, "UNITS", (1, 1, 1))
    patch.setattr(network, "DEPTH", 1)
    patch.setattr(network, "WIDTH", 32)


def test_it_is_the_official_network():
    check("poster_v2", network.poster_v2, AFTER | LANDMARKS, THROWN_AWAY)
