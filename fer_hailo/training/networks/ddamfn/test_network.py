"""DDAMFN is the official network; and what it is before anything has been learnt."""

import keras
import numpy as np
import pytest
from keras import ops
from official import check

from fer_hailo.training.networks.ddamfn import network
from fer_hailo.training.networks.ddamfn.loss import alike

AFTER = {
    **{f"features.{i}": f"features.{i}.prelu" for i in (0, 1, 8)},
    **{f"features.{i}": f"features.{i}.project.bn" for i in (2, 4, 6)},
    "features.3": "features.3.model.8", "features.5": "features.5.model.15",
    "features.7": "features.7.model.5",
    "features.2.conv": "features.2.conv.prelu", "Linear": "Linear.bn", "input of Linear": "attended",
    "feature_map": "features.8.prelu",
    **{f"cat_head{i}.CoordAtt.Linear_{axis}": f"cat_head{i}.CoordAtt.Linear_{axis}.bn" for i in (0,
    1) for axis in "hw"},
    **{f"head_maps[{i}]": f"cat_head{i}" for i in (0, 1)}, "logits": "fc",
}  # fmt: skip


def shrink(patch):
    patch.setattr(network, "STAGES", ((8, 2, 8, (4, 4), 0), (8, 1, 8, (6, 2), 1)))
    patch.setattr(network, "TOP", 16)


def test_it_is_the_official_network():
    check("ddamfn", network.ddamfn, AFTER)


@pytest.fixture(scope="module")
def seen():
    """{layer: its output} of a network of two residual blocks in training, on 32 images of noise."""
    keras.utils.set_random_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "STAGES", ((64, 2, 128, (64, 32, 32), 0), (64, 1, 128, (96, 32), 2)))
        model = network.ddamfn(32, 5)
    names = [layer.name for layer in model.layers]
    pictures = np.random.default_rng(0).uniform(-1, 1, (32, 32, 32, 3)).astype("f4")
    outputs = keras.Model(model.input, [layer.output for layer in model.layers])(pictures, training=True)
    return dict(zip(names, map(ops.convert_to_numpy, outputs), strict=True))


def test_residual_blocks_begin_as_the_identity(seen):
    before = seen["features-2-project-bn"]
    assert before.std() > 0.5
    for i in range(2):
        np.testing.assert_array_equal(seen[f"features-3-model-{i}"], before)


def test_gates_begin_near_one_half_but_those_of_the_heads(seen):
    blocks = np.concatenate([value.ravel() for name, value in seen.items() if "-CA-gate" in name])
    heads = np.concatenate([value.ravel() for name, value in seen.items() if "-CoordAtt-gate" in name])
    assert np.abs(blocks - 0.5).mean() < 0.08 < 0.12 < np.abs(heads - 0.5).mean()


def test_the_loss_of_the_heads_begins_within_a_few_times_that_of_the_labels(seen):
    """One over their mean squared difference: about 3, with gates like those of the blocks about 15; that of
    five labels is 1.6.
    """
    maps = [seen[name] for name in network.MAPS]
    assert 0.1 * float(alike(maps)) < 6
