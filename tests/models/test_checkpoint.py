"""PyTorch's files, read without it."""

import io
import pickle
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from official import specification

from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.formats.checkpoint import read_tensors
from fer_hailo.training.models.build import build_model
from fer_hailo.training.models.state_dict import load_state_dict, rename
from fer_hailo.training.networks.blocks import DEVIATION, MEAN
from fer_hailo.training.networks.registry import ARCHITECTURES
from fer_hailo.training.networks.resnet18 import network as resnet

FILES = Path(__file__).parent / "checkpoints"
"""All hold torch.nn.Sequential(Conv2d(2, 3, 3), BatchNorm2d(3)) after torch.manual_seed(0), whose forward
pass of torch.arange(50).reshape(1, 2, 5, 5) / 50 in evaluation is in answer.npy.
state.pth: its state_dict. training.pth: {"epoch": 3, "best": numpy.float64(.5), "state_dict": the same with
"module." before each name, "optimizer": that of SGD}. legacy.pth: the state_dict in the format before 1.6.
module.pth: the module itself. half.pth: the state_dict in bfloat16, transposed
twice so that its strides are not those of its shape."""


@pytest.mark.parametrize("name", ["state", "training", "legacy", "module"])
def test_what_pytorch_writes(name):
    tensors = read_tensors(FILES / f"{name}.pth")
    wanted = {"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"}
    assert {key.removeprefix("module.") for key in tensors} == wanted
    image = keras.Input((5, 5, 2))
    x = keras.layers.Conv2D(3, 3, name="0")(image)
    model = keras.Model(image, keras.layers.BatchNormalization(epsilon=1e-5, name="1")(x))
    assert load_state_dict(model, tensors, {}) == ([], [])
    picture = (np.arange(50, dtype="f4") / 50).reshape(1, 2, 5, 5).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(
        np.asarray(model(picture)).transpose(0, 3, 1, 2), np.load(FILES / "answer.npy"), rtol=1e-5, atol=1e-6
    )


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


def test_a_pickle_cannot_change_the_reader(tmp_path):
    """It names what makes tensors, and then sets an attribute of that, as for an object with slots."""
    with zipfile.ZipFile(tmp_path / "bad.pth", "w") as archive:
        change = b"N}X\x05\x00\x00\x00arrayX\x03\x00\x00\x00bads\x86b."
        archive.writestr("archive/data.pkl", b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + change)
    with pytest.raises(UserError, match="holds no weights"):
        read_tensors(tmp_path / "bad.pth")
    assert read_tensors(FILES / "state.pth")["0.weight"].shape == (3, 2, 3, 3)


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


def test_an_npz_with_something_else_in_it(tmp_path):
    np.savez(tmp_path / "w.npz", weight=np.ones(3))
    with zipfile.ZipFile(tmp_path / "w.npz", "a") as archive:
        archive.writestr("readme.txt", "no array")
    assert list(read_tensors(tmp_path / "w.npz")) == ["weight"]


@pytest.fixture
def small_resnet(monkeypatch):
    monkeypatch.setattr(resnet, "STAGES", ((8, 1), (16, 2)))


SETTINGS = {"weights": "none", "input_size": 32, "head_units": (), "head_dropout": (0.0,)}


def names_of_pytorch(model: keras.Model) -> dict[str, np.ndarray]:
    """The way back, of a network of convolutions and batch norms."""
    keys = {
        "kernel": "weight",
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    return {
        f"{layer.name.replace('-', '.')}.{keys[v.name]}": np.asarray(v).transpose(3, 2,
        0,
        1) if v.name == "kernel" else np.asarray(v)
        for layer in model.layers if not layer.name.startswith(("head", "logits"))
        for v in layer.weights
    }  # fmt: skip


def test_a_backbone_sees_what_it_was_trained_on(small_resnet, tmp_path, capsys):
    """A ResNet's checkpoint in a network that takes [-1, 1] gives the features of the image normalised as
    torchvision does.
    """
    official = build_model(Config.of(arch="resnet18", **SETTINGS))
    rng = np.random.default_rng(0)
    for weight in official.weights:
        weight.assign(weight + (0.5 if "variance" in weight.name else rng.normal(0, 0.1, weight.shape)))
    np.savez(tmp_path / "w.npz", **names_of_pytorch(official))
    ours = build_model(Config.of(arch="resnet18", **SETTINGS | {"weights": str(tmp_path / "w.npz")}))
    pictures = rng.integers(0, 256, (2, 32, 32, 3)).astype("f4")
    inner = keras.Model(official.get_layer("shift").output, official.get_layer("head_pool").input)
    wanted = np.asarray(inner((pictures - MEAN) / DEVIATION, training=False))
    given = np.asarray(
        keras.Model(ours.input, ours.get_layer("head_pool").input)(pictures / 127.5 - 1, training=False)
    )
    np.testing.assert_allclose(given, wanted, atol=1e-5 * np.abs(wanted).max())
    said = capsys.readouterr().err
    assert "all tensors fit" in said and "layers start from scratch: head_norm, logits" in said


def test_a_backbone_within_a_system(small_resnet, tmp_path):
    """Ada-DF's branches both start from one ResNet-18."""
    official = build_model(Config.of(arch="resnet18", **SETTINGS))
    np.savez(tmp_path / "w.npz", **names_of_pytorch(official))
    kept = Config.of(arch="ada_df", **SETTINGS | {"weights": str(tmp_path / "w.npz")})
    pair = build_model(kept, training=True)
    for branch in (1, 2):
        given = pair.get_layer(f"branch_{branch}_feature-0-1-conv2").get_weights()[0]
        np.testing.assert_array_equal(given, official.get_layer("layer2-1-conv2").get_weights()[0])
    assert pair.get_layer("feature-4-0-conv1").get_weights()[0].shape == (3, 3, 8, 8)


def test_what_does_not_fit(small_resnet, tmp_path):
    tensors = names_of_pytorch(build_model(Config.of(arch="resnet18", **SETTINGS)))

    def attempt(**change):
        np.savez(
            tmp_path / "w.npz",
            **{name: value for name, value in (tensors | change).items() if value is not None},
        )
        return build_model(Config.of(arch="resnet18", **SETTINGS | {"weights": str(tmp_path / "w.npz")}))

    with pytest.raises(UserError, match=r"w\.npz has layer1\.0\.conv1\.weight of the shape"):
        attempt(**{"layer1.0.conv1.weight": np.zeros((4, 8, 3, 3), "f4")})
    with pytest.raises(
        UserError, match=r"w\.npz has layer1\.0\.conv1\.weight of the shape"
    ):  # Keras' own layout
        attempt(**{"layer1.0.conv1.weight": tensors["layer1.0.conv1.weight"].transpose(2, 3, 1, 0)})
    with pytest.raises(UserError, match=r"w\.npz has .* but no bn1\.running_var"):
        attempt(**{"bn1.running_var": None})
    np.savez(tmp_path / "other.npz", encoder=np.zeros(3, "f4"))
    with pytest.raises(
        UserError, match=r"no tensor of .*other\.npz has the name of a layer: it holds encoder"
    ):
        build_model(Config.of(arch="resnet18", **SETTINGS | {"weights": str(tmp_path / "other.npz")}))
    np.savez(tmp_path / "whole.npz", number=np.arange(3))
    with pytest.raises(UserError, match="holds no weights"):
        read_tensors(tmp_path / "whole.npz")
    with pytest.raises(UserError, match="no weights at"):
        read_tensors(tmp_path / "missing.pth")
    with pytest.raises(
        UserError,
        match=r"weights of dan must be none, a .keras file, or .npz and .pth files with commas, got w.h5",
    ):
        build_model(Config.of(arch="dan", **SETTINGS | {"weights": "w.h5"}))
    with pytest.raises(UserError, match="no ImageNet weights of dan"):
        build_model(Config.of(arch="dan", **SETTINGS | {"weights": "imagenet"}))
    with pytest.raises(UserError, match="an input_size that 32 divides, not 48"):
        build_model(Config.of(arch="poster", **SETTINGS | {"input_size": 48}))


def test_two_files_and_the_last_layer(small_resnet, tmp_path, capsys):
    """A whole checkpoint in two files, of a network of five classes too: its classes may have another
    order.
    """
    settings = {name: value for name, value in SETTINGS.items() if name != "weights"}
    official = build_model(Config.of(arch="dan", **SETTINGS))
    keys = {
        "kernel": "weight",
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    turned = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
    values = {
        f"{layer.name.replace('-', '.')}.{keys.get(v.name, v.name)}": np.asarray(v).transpose(
            turned[len(v.shape)]
        )
        for layer in official.layers
        for v in layer.weights
    }
    features = {name: value for name, value in values.items() if name.startswith("features.")}
    np.savez(tmp_path / "a.npz", **features)
    np.savez(tmp_path / "b.npz", **{name: value for name, value in values.items() if name not in features})
    ours = build_model(
        Config.of(arch="dan", weights=f"{tmp_path / 'a.npz'}, {tmp_path / 'b.npz'}", **settings)
    )
    assert "2 layers start from scratch: bn, fc" in capsys.readouterr().err
    for layer, other in zip(ours.layers, official.layers, strict=True):
        scale = (127.5 / DEVIATION)[:, None] if layer.name == "features-0" else 1
        same = [
            np.allclose(one, two * scale)
            for one, two in zip(layer.get_weights(), other.get_weights(), strict=True)
        ]
        assert all(same) == (layer.name != "fc"), layer.name
    with pytest.raises(UserError, match="no model at a.pth,b.keras"):
        build_model(Config.of(arch="dan", weights="a.pth,b.keras", **settings))


@pytest.mark.parametrize("name", ["dan", "ddamfn", "poster", "poster_v2"])
def test_backbones_by_themselves(name):
    """The names that a backbone's own checkpoint has are found below those of the whole network."""
    known = {key: None for key, _, _ in specification(name)["keys"]}
    below = {
        "dan": "features.",
        "ddamfn": "features.",
        "poster": ("ir_back.", "face_landback."),
        "poster_v2": ("ir_back.", "face_landback."),
    }
    inside = [key for key in known if key.startswith(below[name]) and "output_layer" not in key]
    if name == "dan":
        stages = {"0": "conv1", "1": "bn1", **{str(k + 3): f"layer{k}" for k in range(1, 5)}}
        own = [f"{stages[key.split('.')[1]]}.{key.split('.', 2)[2]}" for key in inside]
    elif name == "ddamfn":
        stages = (
            "conv1",
            "conv2_dw",
            "conv_23",
            "conv_3",
            "conv_34",
            "conv_4",
            "conv_45",
            "conv_5",
            "conv_6_sep",
        )
        own = [f"{stages[int(key.split('.')[1])]}.{key.split('.', 2)[2]}" for key in inside]
    else:
        own = [key.split(".", 1)[1] for key in inside]
    found = rename(dict.fromkeys(own), ARCHITECTURES[name].renamed)
    assert list(found) == inside
    # Of a whole checkpoint nothing moves
    assert rename(known, ARCHITECTURES[name].renamed).keys() == known.keys()
    if name == "poster_v2":  # IR-50's own checkpoint counts its units through
        counted = {
            "body.2.res_layer.1.weight": "body1.2",
            "body.3.res_layer.1.weight": "body2.0",
            "body.20.res_layer.1.weight": "body3.13",
        }
        assert list(rename(counted, ARCHITECTURES[name].renamed)) == [
            f"ir_back.{end}.res_layer.1.weight" for end in counted.values()
        ]


def test_a_system_goes_on_from_its_own_model(small_resnet, tmp_path):
    """Ada-DF saves one branch; a run that starts from it gives it to both."""
    saved = build_model(Config.of(arch="ada_df", **SETTINGS))
    saved.save(tmp_path / "m.keras")
    # Of which the branches do not start alike
    new = build_model(Config.of(arch="ada_df", **SETTINGS), training=True)
    assert not np.array_equal(
        *(new.get_layer(f"branch_{i}_feature-0-1-conv2").get_weights()[0] for i in (1, 2))
    )
    pair = build_model(
        Config.of(arch="ada_df", **SETTINGS | {"weights": str(tmp_path / "m.keras")}), training=True
    )
    for name in ("1_feature-0-1-conv2", "2_feature-0-1-conv2", "1_classifier", "2_classifier"):
        kept = saved.get_layer(f"branch_2{name[1:]}").get_weights()
        np.testing.assert_array_equal(pair.get_layer(f"branch_{name}").get_weights()[0], kept[0])
    config = Config.of(
        arch="ada_df", **SETTINGS | {"weights": str(tmp_path / "m.keras")}, classes=("happy", "angry")
    )
    other = build_model(config, training=True)
    assert other.output_shape[0] == (None, 2)


def test_layers_that_never_train(small_resnet):
    model = build_model(Config.of(arch="ada_df", **SETTINGS, freeze=("feature-",)), stage=2)
    frozen = {layer.name for layer in model.layers if layer.weights and not layer.trainable}
    assert frozen and all(name.startswith("feature-") for name in frozen)
    with pytest.raises(UserError, match="freeze names face"):
        build_model(Config.of(arch="ada_df", **SETTINGS, freeze=("face",)), training=True)
    # Which only the network that trains has
    build_model(Config.of(arch="ada_df", **SETTINGS, freeze=("alpha_",)))


def test_an_empty_archive(tmp_path):
    data = io.BytesIO()
    zipfile.ZipFile(data, "w").close()
    (tmp_path / "w.pth").write_bytes(data.getvalue())
    with pytest.raises(UserError, match="without data.pkl"):
        read_tensors(tmp_path / "w.pth")
