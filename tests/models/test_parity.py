"""The research networks compute what their authors' code computes: logits and tensors on the way, under the same weights."""

import keras
import numpy as np
import pytest
from official import pictures, specification, tensors

from fer_hailo.training.models.state_dict import load_state_dict
from fer_hailo.training.models.table import multiply_adds
from fer_hailo.training.networks.ada_df import network as ada_df
from fer_hailo.training.networks.blocks import MEAN
from fer_hailo.training.networks.dan import network as dan
from fer_hailo.training.networks.ddamfn import network as ddamfn
from fer_hailo.training.networks.poster import network as poster
from fer_hailo.training.networks.poster_v2 import network as poster_v2
from fer_hailo.training.networks.registry import ARCHITECTURES

# Where a module's output stands in ours, if not in the layer of its name; both with dots, which in layers' names are -.
AFTER = {
    "DAN": {
        "features.1": "features.1", "features.3": "features.1_pool", "features.4": "features.4.1", "features.5": "features.5.1",
        "features.6": "features.6.1", "features.7": "features.7.1", "features.5.0.downsample": "features.5.0.downsample.1",
        "input of fc": "fused", "feature_map": "feature_map", "heads": "heads", "logits": "bn",
        **{f"cat_head0.sa.{conv}": f"cat_head0.sa.{conv}.1" for conv in ("conv1x1", "conv_3x3", "conv_1x3", "conv_3x1")},
        "cat_head0.ca.attention": "cat_head0.ca.attention.3",
    },
    "DDAMFN": {
        **{f"features.{i}": f"features.{i}.prelu" for i in (0, 1, 8)},
        **{f"features.{i}": f"features.{i}.project.bn" for i in (2, 4, 6)},
        "features.3": "features.3.model.8", "features.5": "features.5.model.15", "features.7": "features.7.model.5",
        "features.2.conv": "features.2.conv.prelu", "Linear": "Linear.bn", "input of Linear": "attended", "feature_map": "features.8.prelu",
        **{f"cat_head{i}.CoordAtt.Linear_{axis}": f"cat_head{i}.CoordAtt.Linear_{axis}.bn" for i in (0, 1) for axis in "hw"},
        **{f"head_maps[{i}]": f"cat_head{i}" for i in (0, 1)}, "logits": "fc",
    },
    "Ada-DF": {
        "feature.3": "feature.1_pool", "feature.4": "feature.4.1",
        **{f"branch_{b}_feature.{i}": f"branch_{b}_feature.{i}.1" for b in (1, 2) for i in range(3)},
        **{f"branch_{b}_feature.0.0.downsample": f"branch_{b}_feature.0.0.downsample.1" for b in (1, 2)},
        "out_1": "answer_1", "out_2": "answer_2",
    },
    "POSTER": {
        "input of face_landback": "half", "input of ir_back.input_layer": "half", "ir_back.input_layer": "ir_back.input_layer.2",
        "input of pyramid_fuse.blocks.0[0]": "tokens", "input of pyramid_fuse[0]": "ir_layer",
        "input of pyramid_fuse[1]": "landmark_tokens",
        **{f"pyramid_fuse.{kind}": f"pyramid_fuse.{kind}.turn_back" for kind in ("downsample_m", "downsample_s")},
        **{f"pyramid_fuse.blocks.0.{kind}": f"pyramid_fuse.blocks.0.{kind}.turn_back" for kind in ("upsample_m", "upsample_s")},
        **{f"input of pyramid_fuse.blocks.0[{i}]": f"pyramid_fuse.downsample_{key}.turn_back" for i, key in ((1, "m"), (2, "s"))},
        **{f"pyramid_fuse.blocks.0.block_{key}": f"pyramid_fuse.blocks.0.block_{key}.conv.turn_back" for key in "lms"},
        **{f"pyramid_fuse.blocks.{i}[{k}]": f"pyramid_fuse.blocks.{i}.{key}" for i in range(8) for k, key in enumerate("lm")},
        **{f"pyramid_fuse.blocks.{i}[2]": f"pyramid_fuse.blocks.{i}.block_s.conv.turn_back" for i in range(8)},
        "input of pyramid_fuse.blocks.0.block_l.conv": "pyramid_fuse.blocks.0.block_l.both",
        "pyramid_fuse.blocks.0.block_l.conv": "pyramid_fuse.blocks.0.block_l.conv.turn_back",
        **{f"pyramid_fuse.blocks.0.block_l.attn_{key}": f"pyramid_fuse.blocks.0.block_l.attn_{key}.proj" for key in ("img", "lm")},
        **{f"pyramid_fuse.blocks.0.block_l.mlp{i}": f"pyramid_fuse.blocks.0.block_l.mlp{i}.fc2" for i in (1, 2)},
        "head": "head.linear", "feature": "se_block", "logits": "head.linear",
    },
    "POSTER_V2": {
        "input of face_landback": "half", "input of ir_back.input_layer": "half", "ir_back.input_layer": "ir_back.input_layer.2",
        "ir_back.body1": "ir_back.body1.2", "ir_back.body2": "ir_back.body2.3", "ir_back.body3": "ir_back.body3.13",
        **{f"window{i}[0]": f"window{i}" for i in (1, 2, 3)}, **{f"window{i}[1]": f"window{i}.norm" for i in (1, 2, 3)},
        **{f"input of attn{i}[0]": f"window{i}" for i in (1, 2, 3)}, **{f"attn{i}": f"attn{i}.proj" for i in (1, 2, 3)},
        **{f"ffn{i}": f"ffn{i}.gamma2.add" for i in (1, 2, 3)}, "ffn1.mlp": "ffn1.mlp.fc2",
        "embed_q": "embed_q.1", "embed_k": "embed_k.0", "embed_v": "tokens3",
        "input of VIT": "scales", "input of VIT.blocks": "VIT.positions", "VIT.blocks.0.attn": "VIT.blocks.0.attn.proj",
        "VIT.blocks.0.mlp": "VIT.blocks.0.mlp.fc2", "input of VIT.se_block": "VIT.first", "VIT.head": "VIT.head.linear",
        "logits": "VIT.head.linear",
    },
}  # fmt: skip
LANDMARKS = {
    **{f"face_landback.{name}": f"face_landback.{name}.prelu" for name in ("conv1", "conv2_dw", "conv_6_sep")},
    **{f"face_landback.{name}": f"face_landback.{name}.project.bn" for name in ("conv_23", "conv_34", "conv_45")},
    **{f"face_landback.conv_{k}": f"face_landback.conv_{k}.model.{i}" for k, i in ((3, 3), (4, 5), (5, 1))},
}
# No layer of ours puts these out: the picture before it is halved, queries cut into heads. The shares of attention have a test below.
UNSEEN = ("input of ir_back", "attn_drop", "softmax", "input of attn1[1]", "input of attn2[1]", "input of attn3[1]")
SHIFT = ((127.5 - MEAN) / 127.5).astype("f4")  # what the first layer of each adds
BUILDS = {"DAN": dan.dan, "DDAMFN": ddamfn.ddamfn, "Ada-DF": ada_df.ada_df_pair, "POSTER": poster.poster, "POSTER_V2": poster_v2.poster_v2}


@pytest.mark.parametrize("name", BUILDS)
def test_it_is_the_official_network(name):
    spec = specification(name)
    given = tensors(spec)
    for without, counts in spec["aliases"]:
        assert given[without].shape == given.pop(without).shape and counts in given
    model = BUILDS[name](spec["input_shape"][2], 7)
    left, unused = load_state_dict(model, given, {})
    assert left == []  # every layer has its tensors, and every tensor that counts its layer
    statistics = {key for key in unused if ".running_" in key}
    assert set(unused) - statistics == set(spec["unused"])
    assert {key.rpartition(".")[0] + ".weight" for key in statistics} <= set(spec["unused"])
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == spec["parameters"] - spec["unused_parameters"]
    thrown_away = 512 * 49 + 512 * 136 if "POSTER" in name else 0  # the 136 numbers of landmarks, which the official code computes
    assert multiply_adds(model) == spec["macs"]["total"] - thrown_away
    _compare(model, spec, AFTER[name] | LANDMARKS)
    _compare_shares(model, spec)


def _compare(model: keras.Model, spec: dict, after: dict[str, str]) -> None:
    noted = spec["taps"] | spec["outputs"]
    places = {tap: after.get(tap, tap).replace(".", "-") for tap in noted if not tap.endswith(UNSEEN)}
    names = sorted(set(places.values()))
    outputs = keras.Model(model.input, [model.get_layer(layer).output for layer in names])(pictures(spec) - SHIFT, training=False)
    found = {layer: _channels_first(np.asarray(value)) for layer, value in zip(names, outputs, strict=True)}
    for tap, place in places.items():
        wanted = noted[tap]
        value = found[place]
        if value.ndim != len(wanted["shape"]):  # the official code keeps axes of length 1, or lies flat
            value = value.reshape(wanted["shape"])
        elif value.ndim == 4 and list(value.shape) != wanted["shape"]:
            value = value.transpose(0, 2, 3, 1)  # the official code has the channels last here too
        assert list(value.shape) == wanted["shape"], tap
        _close(value.ravel()[:8], wanted["first8"], tap)
        _close(value.ravel()[-8:], wanted["last8"], tap)
        _close([value.mean(), value.std()], [wanted["mean"], wanted["std"]], tap)
        if "values" in wanted:
            _close(value.ravel(), np.ravel(wanted["values"]), tap)
        if "mean_over_hw" in wanted:
            _close(value.mean(axis=(2, 3)).ravel(), np.ravel(wanted["mean_over_hw"]), tap)


def _compare_shares(model: keras.Model, spec: dict) -> None:
    """What attention gives to each token, by which alone a wrong bias or position would show."""
    taps = {tap: tap.rpartition(".")[0].replace(".", "-") + "-heads" for tap in spec["taps"] if tap.endswith(("attn_drop", "softmax"))}
    for tap, layer in ((tap, model.get_layer(name)) for tap, name in taps.items()):
        queries, pairs = keras.Model(model.input, layer.input)(pictures(spec) - SHIFT, training=False)
        value, wanted = np.asarray(layer.shares(queries, pairs[..., : queries.shape[-1]])), spec["taps"][tap]
        assert list(value.shape) == wanted["shape"], tap
        _close([*value.ravel()[:8], *value.ravel()[-8:], value.std()], [*wanted["first8"], *wanted["last8"], wanted["std"]], tap)


def _close(given, wanted, tap: str) -> None:
    error = np.abs(np.asarray(given, np.float64) - wanted).max() / (np.abs(wanted).max() or 1)
    assert error < 1e-4, f"{tap}: {error:.1e}"


def _channels_first(value: np.ndarray) -> np.ndarray:
    return value.transpose(0, 3, 1, 2) if value.ndim == 4 else value


def test_the_second_branch_alone_is_what_is_kept():
    """Ada-DF's saved network gives the second branch's logits before the gate, which cannot change the answer."""
    pair, kept = ada_df.ada_df_pair(64, 5), ada_df.ada_df(64, 5)
    layers = {layer.name: layer for layer in pair.layers}
    for layer in kept.layers[1:]:
        layer.set_weights(layers[layer.name].get_weights())
    image = np.random.default_rng(0).normal(size=(3, 64, 64, 3)).astype("f4")
    second = np.asarray(pair(image)[0])
    gates = np.asarray(keras.Model(pair.input, pair.get_layer("alpha_2").output)(image))
    np.testing.assert_allclose(np.asarray(kept(image)) * gates, second, rtol=1e-4, atol=1e-6)


def test_inference_of_ada_df_is_a_resnet18():
    kept = ARCHITECTURES["ada_df"].build(224, 7)
    assert sum(int(np.prod(w.shape)) for w in kept.trainable_weights) == 11_176_512 + 512 * 7 + 7  # torchvision's, with 7 classes
