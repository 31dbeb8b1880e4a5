"""PyTorch's files, read without it."""

import io
import pickle
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from fer_hailo.config import Config
from fer_hailo.errors import UserError
from fer_hailo.models import resnet
from fer_hailo.models.blocks import DEVIATION, MEAN
from fer_hailo.models.build import build_model
from fer_hailo.models.checkpoint import read_tensors
from fer_hailo.models.state_dict import load_state_dict

FILES = Path(__file__).parent / "checkpoints"
"""All hold torch.nn.Sequential(Conv2d(2, 3, 3), BatchNorm2d(3)) after torch.manual_seed(0), whose forward pass of
torch.arange(50).reshape(1, 2, 5, 5) / 50 in evaluation is in answer.npy.
state.pth: its state_dict. training.pth: {"epoch": 3, "best": numpy.float64(.5), "state_dict": the same with "module." before each name,
"optimizer": that of SGD}. legacy.pth: the state_dict in the format before 1.6. module.pth: the module itself. half.pth: the state_dict in
bfloat16, transposed twice so that its strides are not those of its shape."""


@pytest.mark.parametrize("name", ["state", "training", "legacy", "module"])
def test_what_pytorch_writes(name):
    tensors = read_tensors(FILES / f"{name}.pth")
    wanted = {"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"}
    assert {key.removeprefix("module.") for key in tensors} == wanted
    image = keras.Input((5, 5, 2))
    x = keras.layers.Conv2D(3, 3, name="0")(image)
    model = keras.Model(image, keras.layers.BatchNormalization(epsilon=1e-5, name="1")(x))
    assert load_state_dict(model, tensors) == ([], [])
    picture = (np.arange(50, dtype="f4") / 50).reshape(1, 2, 5, 5).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(np.asarray(model(picture)).transpose(0, 3, 1, 2), np.load(FILES / "answer.npy"), rtol=1e-5, atol=1e-6)


def test_half_precision_and_strides():
    whole, half = read_tensors(FILES / "state.pth"), read_tensors(FILES / "half.pth")
    assert half["0.weight"].shape == (3, 2, 3, 3) and half["0.weight"].dtype == np.float32
    np.testing.assert_allclose(half["0.weight"], whole["0.weight"], rtol=2**-8)


class Malice:
    def __reduce__(self):
        return exec, ("raise SystemExit('the pickle was run')",)


def test_no_code_of_a_file_is_run(tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": Malice()}))
    with pytest.raises(UserError, match="holds no weights"):
        read_tensors(tmp_path / "bad.pth")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cannot be read as a checkpoint"),
        (b"not a checkpoint at all", "cannot be read as a checkpoint"),
        ((FILES / "legacy.pth").read_bytes()[:-40], "its end is missing"),
        ((FILES / "state.pth").read_bytes()[:-40], "cannot be read as a checkpoint"),
        (pickle.dumps(5), "torch.save did not write it"),
    ],
)
def test_damaged_files(tmp_path, data, reason):
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(UserError, match=reason):
        read_tensors(tmp_path / "w.pth")


def test_a_tensor_beyond_its_storage(tmp_path):
    source = zipfile.ZipFile(FILES / "state.pth")
    with zipfile.ZipFile(tmp_path / "short.pth", "w") as archive:
        for name in source.namelist():
            archive.writestr(name, source.read(name)[:8] if "/data/" in name else source.read(name))
    with pytest.raises(UserError, match="beyond its storage"):
        read_tensors(tmp_path / "short.pth")


@pytest.fixture
def small_resnet(monkeypatch):
    monkeypatch.setattr(resnet, "STAGES", ((8, 1), (16, 2)))


SETTINGS = {"weights": "none", "input_size": 32, "head_units": (), "head_dropout": (0.0,)}


def names_of_pytorch(model: keras.Model) -> dict[str, np.ndarray]:
    """The way back, of a network of convolutions and batch norms."""
    keys = {"kernel": "weight", "gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    return {
        f"{layer.name}.{keys[v.name]}": np.asarray(v).transpose(3, 2, 0, 1) if v.name == "kernel" else np.asarray(v)
        for layer in model.layers if not layer.name.startswith(("head", "logits"))
        for v in layer.weights
    }  # fmt: skip


def test_a_backbone_sees_what_it_was_trained_on(small_resnet, tmp_path, capsys):
    """A ResNet's checkpoint in a network that takes [-1, 1] gives the features of the picture normalised as torchvision does."""
    official = build_model(Config(arch="resnet18", **SETTINGS))
    rng = np.random.default_rng(0)
    for weight in official.weights:
        weight.assign(weight + (0.5 if "variance" in weight.name else rng.normal(0, 0.1, weight.shape)))
    np.savez(tmp_path / "w.npz", **names_of_pytorch(official))
    ours = build_model(Config(arch="resnet18", **SETTINGS | {"weights": str(tmp_path / "w.npz")}))
    pictures = rng.integers(0, 256, (2, 32, 32, 3)).astype("f4")
    inner = keras.Model(official.get_layer("shift").output, official.get_layer("head_pool").input)
    wanted = np.asarray(inner((pictures - MEAN) / DEVIATION, training=False))
    given = np.asarray(keras.Model(ours.input, ours.get_layer("head_pool").input)(pictures / 127.5 - 1, training=False))
    np.testing.assert_allclose(given, wanted, atol=1e-5 * np.abs(wanted).max())
    said = capsys.readouterr().err
    assert "all tensors fit" in said and "layers start from nothing: head_norm, logits" in said


def test_a_backbone_within_a_system(small_resnet, tmp_path):
    """Ada-DF's branches both start from one ResNet-18, and another number of classes costs the classifiers only."""
    official = build_model(Config(arch="resnet18", **SETTINGS))
    np.savez(tmp_path / "w.npz", **names_of_pytorch(official))
    kept = Config(arch="ada_df", **SETTINGS | {"weights": str(tmp_path / "w.npz")})
    pair = build_model(kept, training=True)
    for branch in (1, 2):
        given = pair.get_layer(f"branch_{branch}_feature.0.1.conv2").get_weights()[0]
        np.testing.assert_array_equal(given, official.get_layer("layer2.1.conv2").get_weights()[0])
    assert pair.get_layer("feature.4.0.conv1").get_weights()[0].shape == (3, 3, 8, 8)


def test_what_does_not_fit(small_resnet, tmp_path):
    tensors = names_of_pytorch(build_model(Config(arch="resnet18", **SETTINGS)))

    def attempt(**change):
        np.savez(tmp_path / "w.npz", **{name: value for name, value in (tensors | change).items() if value is not None})
        return build_model(Config(arch="resnet18", **SETTINGS | {"weights": str(tmp_path / "w.npz")}))

    with pytest.raises(UserError, match="layer1.0.conv1.weight has the shape"):
        attempt(**{"layer1.0.conv1.weight": np.zeros((4, 8, 3, 3), "f4")})
    with pytest.raises(UserError, match="but no bn1.running_var"):
        attempt(**{"bn1.running_var": None})
    np.savez(tmp_path / "other.npz", encoder=np.zeros(3, "f4"))
    with pytest.raises(UserError, match="no tensor of the checkpoint has the name of a layer: it holds encoder"):
        build_model(Config(arch="resnet18", **SETTINGS | {"weights": str(tmp_path / "other.npz")}))
    np.savez(tmp_path / "whole.npz", number=np.arange(3))
    with pytest.raises(UserError, match="holds no weights"):
        read_tensors(tmp_path / "whole.npz")
    with pytest.raises(UserError, match="no weights at"):
        read_tensors(tmp_path / "missing.pth")
    with pytest.raises(UserError, match=r"weights of dan must be none, a .keras, .npz or .pth file, got w.h5"):
        build_model(Config(arch="dan", **SETTINGS | {"weights": "w.h5"}))
    with pytest.raises(UserError, match="no ImageNet weights of dan"):
        build_model(Config(arch="dan", **SETTINGS | {"weights": "imagenet"}))
    with pytest.raises(UserError, match="an input_size that 32 divides, not 48"):
        build_model(Config(arch="poster", **SETTINGS | {"input_size": 48}))


def test_layers_that_never_train(small_resnet):
    model = build_model(Config(arch="ada_df", **SETTINGS, freeze=("feature.",), unfreeze_layers=-1), stage=2)
    frozen = {layer.name for layer in model.layers if layer.weights and not layer.trainable}
    assert frozen and all(name.startswith("feature.") for name in frozen)
    with pytest.raises(UserError, match="freeze names face"):
        build_model(Config(arch="ada_df", **SETTINGS, freeze=("face",)))


def test_an_empty_archive(tmp_path):
    data = io.BytesIO()
    zipfile.ZipFile(data, "w").close()
    (tmp_path / "w.pth").write_bytes(data.getvalue())
    with pytest.raises(UserError, match="without data.pkl"):
        read_tensors(tmp_path / "w.pth")
