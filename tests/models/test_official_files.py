"""Checkpoints as the official scripts save them, scored by the command. That they give the official logits is
tested for each network, beside it.
"""

import json

import cv2
import keras
import numpy as np
import pytest
from conftest import error_line
from official import official_file

from fer_hailo.common.classes import AFFECTNET, RAF_DB
from fer_hailo.common.errors import UserError
from fer_hailo.deploy.home import Use, resolve
from fer_hailo.training.models.opened import open_network
from fer_hailo.training.models.state_dict import _wanted
from fer_hailo.training.networks.blocks import DEVIATION, MEAN
from fer_hailo.training.networks.dan.test_network import shrink


@pytest.fixture
def small_dan(monkeypatch, tmp_path):
    """A small DAN of three classes at 32 px, and its checkpoint."""
    from fer_hailo.training.networks.dan import network

    shrink(monkeypatch)
    keras.utils.set_random_seed(0)
    model = network.dan(32, 3)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(weight + (0 if "variance" in weight.name else rng.normal(0, 0.2, weight.shape)))
    state = {
        key: np.asarray(variable).transpose(np.argsort(axes) if axes else None)
        if axes
        else np.asarray(variable)
        for layer in model.layers
        for key, variable, axes in _wanted(layer)
    }
    official_file(tmp_path / "small.pth", "dan", state)
    return model


ORDER = ("surprise", "happy", "angry")  # no data set's
FLAGS = ("--arch", "dan", "--input-size", "32", "--data", "data", "--source-size", "32", "--color")


def test_it_is_scored_in_the_stated_order(small_dan, inside, tmp_path):
    """By the command, with no validation images by which the order could be doubted."""
    rng, images, labels = np.random.default_rng(1), [], []
    for label in ORDER:
        for side, number in (("train", 6), ("test", 8)):
            folder = tmp_path / "data" / side / label
            folder.mkdir(parents=True)
            for i in range(number):
                image = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
                cv2.imwrite(str(folder / f"{i}.png"), image)
                if side == "test":
                    images.append(image[:, :, ::-1])
                    labels.append(label)
    official = (np.stack(images) - MEAN) / DEVIATION
    # The network's first layer adds something: without it the official input goes straight to the kernels
    answers = np.asarray(small_dan((official - (127.5 - MEAN) / 127.5).astype("f4"), training=False))
    right = [ORDER[answer] == label for answer, label in zip(answers.argmax(axis=1), labels, strict=True)]
    arguments = ("small.pth", *FLAGS, "--classes", ",".join(ORDER), "--json")
    done = inside("evaluate.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"] == pytest.approx(np.mean(right))
    assert "taken as surprise, happy, angry" in done.stderr


def test_what_must_be_said(small_dan, inside, tmp_path):
    def said(*arguments):
        return error_line(inside("evaluate.py", "small.pth", *arguments))

    assert "say with --arch of which network, dan, ddamfn, ada_df, poster, poster_v2" in said()
    assert "weights alone: say with --arch" in said("--arch", "resnet18")
    line = said("--arch", "dan")
    assert f"{','.join(RAF_DB)} (RAF-DB) or {','.join(AFFECTNET[:7])} (AffectNet-7)" in line
    two = resolve(tmp_path / "small.pth", Use.SCORE, {"arch": "dan", "classes": "happy,sad"})
    with pytest.raises(UserError, match="tells 3 classes apart, 2 are named"):
        open_network(two)
    heads = {"arch": "dan", "classes": "happy,sad,fear", "dan_heads": 5, "input_size": 32}
    with pytest.raises(UserError, match="no whole dan: it has nothing for .* such as cat_head4-"):
        open_network(resolve(tmp_path / "small.pth", Use.SCORE, heads))
    line = error_line(inside("run.py", "--model", "small.pth", "x.png"))
    assert "holds weights alone" in line and "--arch NAME --classes NAMES" in line
