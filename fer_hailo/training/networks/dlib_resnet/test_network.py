"""dlib's face ResNet: what it computes, its file format, and statistics for its batch norms."""

import hashlib
import os
import struct
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import error_line

from fer_hailo.common.config import load_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import normalise, prepare
from fer_hailo.common.resources import recipes
from fer_hailo.common.runs import MODEL
from fer_hailo.training.fit import callbacks, loop
from fer_hailo.training.models.build import build_model
from fer_hailo.training.models.listing import list_networks
from fer_hailo.training.models.restate import restate
from fer_hailo.training.networks.dlib_resnet import network as dlib_resnet
from fer_hailo.training.networks.registry import ARCHITECTURES
from fer_hailo.training.start import resume

SIDE = 32
SETTINGS = {"arch": "dlib_resnet", "input_size": SIDE}
# A convolution each: height and width, input, output, whether it halves. One plain block and one that halves.
CONVOLUTIONS = [(7, 3, 3, True), (3, 3, 3, False), (3, 3, 3, False), (3, 3, 5, True), (3, 5, 5, False)]
DENSE = (5, 4)


def shrink(patch):
    patch.setattr(dlib_resnet, "STEM", 8)
    patch.setattr(dlib_resnet, "STAGES", ((8, 1, False), (16, 1, True)))


def numbers(rng) -> dict[str, np.ndarray]:
    """Drawn weights of such a network, as the .npz names them."""
    found = {}
    for i, (size, before, after, _) in enumerate(CONVOLUTIONS):
        found[f"conv{i}/kernel"] = rng.normal(0, (size * size * before) ** -0.5, (size, size, before, after))
        found |= {f"conv{i}/bias": rng.normal(0, 0.3, after), f"conv{i}/gamma": rng.uniform(0.5, 2, after)}
        found[f"conv{i}/beta"] = rng.normal(0, 0.3, after)
    found["fc/kernel"] = rng.normal(size=DENSE)
    return {name: value.astype("<f4") for name, value in found.items()}


# A writer of dlib's format, by its own rules and not by the reader's.
def integer(value: int) -> bytes:
    digits = abs(value).to_bytes(max(1, (abs(value).bit_length() + 7) // 8), "little")
    return bytes([len(digits) | (0x80 if value < 0 else 0)]) + digits


def real(value: float) -> bytes:
    mantissa, exponent = np.frexp(np.float32(value))
    mantissa, exponent = int(mantissa * 2**24), int(exponent) - 24
    while mantissa and mantissa % 256 == 0:
        mantissa, exponent = mantissa // 256, exponent + 8
    return integer(mantissa) + integer(exponent if mantissa else 0)


def text(value: str) -> bytes:
    return integer(len(value)) + value.encode()


def sizes(*shape: int) -> bytes:
    return b"".join(map(integer, shape))


def tensor(*arrays: np.ndarray) -> bytes:
    flat = np.concatenate([array.ravel() for array in arrays])
    return integer(2) + sizes(len(flat), 1, 1, 1) + struct.pack(f"<{len(flat)}f", *flat)


NOTHING = integer(2) + sizes(0, 0, 0, 0)


def con(weights: dict, i: int) -> bytes:
    size, before, after, halves = CONVOLUTIONS[i]
    kernel, bias = weights[f"conv{i}/kernel"].transpose(3, 2, 0, 1), weights[f"conv{i}/bias"]
    stride, pad = (2, 0) if halves else (1, 1)
    data = text("con_4") + tensor(kernel, bias) + sizes(after, size, size, stride, stride, pad, pad)
    data += integer(1) + sizes(after, before, size, size) + integer(1) + sizes(1, after, 1, 1)
    return data + real(1) + real(1) + real(1) + real(0)


def affine(weights: dict, i: int) -> bytes:
    values = [weights[f"conv{i}/{name}"] for name in ("gamma", "beta")]
    shape = integer(1) + sizes(1, CONVOLUTIONS[i][2], 1, 1)
    return text("affine_") + tensor(*values) + shape + shape + integer(0)


def pool(name: str, size: int, stride: int) -> bytes:
    return text(name) + sizes(size, size, stride, stride, 0, 0)


def written(weights: dict, loss: str = "loss_metric_2") -> bytes:
    """The network's file. None stands for tags, which have no more than a version."""
    relu, add = text("relu_"), text("add_prev_")
    layers = [con(weights, 0), affine(weights, 0), relu, pool("max_pool_2", 3, 2)]
    layers += [None, con(weights, 1), affine(weights, 1), relu, con(weights, 2), affine(weights, 2)]
    layers += [
        add,
        relu,
        None,
        con(weights, 3),
        affine(weights, 3),
        relu,
        con(weights, 4),
        affine(weights, 4),
    ]
    layers += [None, None, pool("avg_pool_2", 2, 2), add, relu, pool("avg_pool_2", 0, 1)]
    kernel = weights["fc/kernel"]
    dense = text("fc_2") + sizes(DENSE[1], DENSE[0]) + tensor(kernel)
    dense += integer(1) + sizes(*DENSE, 1, 1) + integer(1) + sizes(0, 0, 0, 0) + integer(1)
    layers.append(dense + real(1) + real(1) + real(1) + real(0))
    data = integer(1) + text(loss) + real(0.04) + real(0.6)
    data += b"".join(integer(1 if layer is None else 2) for layer in layers[:0:-1]) + integer(3)
    data += text("input_rgb_image_sized") + real(122.782) + real(117.001) + real(104.298) + sizes(150, 150)
    for i, layer in enumerate(layers):
        if layer is not None:  # the third flag: a ReLU follows, which overwrites what this one gives
            data += layer + (b"111" if relu in layers[i + 1 : i + 2] else b"110") + 3 * NOTHING
        if i == 0:
            data += integer(1)
    return data


@pytest.fixture
def small(monkeypatch) -> dict[str, np.ndarray]:
    """Weights of a small network, which stands for the published one."""
    weights = numbers(np.random.default_rng(0))
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(f"{name} {weights[name].shape}\n".encode() + weights[name].tobytes())
    monkeypatch.setattr(dlib_resnet, "STEM", 3)
    monkeypatch.setattr(dlib_resnet, "STAGES", ((3, 1, False), (5, 1, True)))
    monkeypatch.setattr(dlib_resnet, "NUMBERS", DENSE[1])
    monkeypatch.setattr(dlib_resnet, "PUBLISHED", digest.hexdigest())
    return weights


@pytest.fixture
def dat(small, tmp_path) -> Path:
    path = tmp_path / "small.dat"
    path.write_bytes(written(small))
    return path


def configuration(**options):
    return load_config(None, SETTINGS | options, recipes())


def features(model: keras.Model) -> keras.Model:
    return keras.Model(model.input, model.get_layer("head_pool").input)


# dlib's arithmetic in numpy, float64, on (H, W, C) of values from 0 to 255.
def windows(image: np.ndarray, size: int, stride: int) -> np.ndarray:
    """(H', W', C, size, size)"""
    return np.lib.stride_tricks.sliding_window_view(image, (size, size), (0, 1))[::stride, ::stride]


def convolved(image: np.ndarray, weights: dict, i: int) -> np.ndarray:
    size, _, _, halves = CONVOLUTIONS[i]
    image = image if halves else np.pad(image, ((1, 1), (1, 1), (0, 0)))
    products = np.einsum("hwcij,ijcd->hwd", windows(image, size, 1 + halves), weights[f"conv{i}/kernel"])
    return products + weights[f"conv{i}/bias"]


def scaled(image: np.ndarray, weights: dict, i: int) -> np.ndarray:
    return convolved(image, weights, i) * weights[f"conv{i}/gamma"] + weights[f"conv{i}/beta"]


def reference(image: np.ndarray, weights: dict) -> np.ndarray:
    x = (image - [122.782, 117.001, 104.298]) / 256
    x = windows(np.maximum(scaled(x, weights, 0), 0), 3, 2).max((3, 4))
    for i in (1, 3):
        short = x if i == 1 else windows(x, 2, 2).mean((3, 4))
        x = scaled(np.maximum(scaled(x, weights, i), 0), weights, i + 1)
        added = np.zeros(np.maximum(x.shape, short.shape))
        for part in (x, short):
            added[: part.shape[0], : part.shape[1], : part.shape[2]] += part
        x = np.maximum(added, 0)
    return x


@pytest.mark.parametrize("side", [32, 37])  # 6 and 7 places after the pooling: to pad or not
def test_it_computes_what_dlib_does(side, small, dat):
    images = np.random.default_rng(1).uniform(0, 255, (2, side, side, 3))
    network = ARCHITECTURES["dlib_resnet"].build(side, str(dat))
    wanted = np.stack([reference(image, small) for image in images])
    given = network((images / 127.5 - 1).astype("f4"))
    np.testing.assert_allclose(given, wanted, atol=1e-5 * wanted.max())
    assert wanted.shape == (2, 3, 3, 5) and wanted.max() > 0.1


@pytest.fixture(scope="module")
def published(shared) -> Path:
    path = shared / "data" / "weights" / "dlib_face_resnet.npz"
    if not path.is_file():
        pytest.skip(f"no weights of dlib's face ResNet at {path}")
    return path


# What dlib itself gives for such an image.
PROOF = [-0.06009811, 0.09958795, 0.04793381, 0.00506400, -0.06677739, -0.04064080, -0.00474756, -0.01689927]


def test_the_published_weights_give_dlibs_numbers(published):
    r, k = np.mgrid[:150, :150]
    image = np.stack([(3 * r + k) % 256, (r + 5 * k) % 256, (r * k) % 256], axis=-1)
    network = ARCHITECTURES["dlib_resnet"].build(150, str(published))
    seen = np.asarray(network((image[None] / 127.5 - 1).astype("f4")))
    with np.load(published) as arrays:
        given = seen.mean((1, 2))[0] @ arrays["fc/kernel"]
    np.testing.assert_allclose(given[:8], PROOF, atol=1e-6)


@pytest.mark.slow
def test_the_published_file_holds_the_arrays(published):
    path = os.environ.get("FER_HAILO_DLIB_DAT")
    if not path:
        pytest.skip("$FER_HAILO_DLIB_DAT does not name dlib_face_recognition_resnet_model_v1.dat")
    found = dlib_resnet._read(path)
    with np.load(published) as arrays:
        assert set(found) == set(arrays)
        assert all((found[name] == arrays[name]).all() for name in found)


def test_counts():
    network = ARCHITECTURES["dlib_resnet"].build(112, None)
    kernels = 6 * 32**2 + 32 * 64 + 7 * 64**2 + 64 * 128 + 5 * 128**2 + 128 * 256 + 7 * 256**2
    kernels = 7 * 7 * 3 * 32 + 9 * kernels
    norms = 7 * 32 + 8 * 64 + 6 * 128 + 8 * 256  # values, one for each channel of a convolution
    assert network.count_params() == kernels + 4 * norms and kernels + 2 * norms == 5_578_272
    assert sum(isinstance(layer, keras.layers.Conv2D) for layer in network.layers) == 29
    assert network.output_shape == (None, 1, 1, 256)
    assert ARCHITECTURES["dlib_resnet"].build(150, None).output_shape == (None, 2, 2, 256)
    kernel = network.get_layer("conv20").get_weights()[0]
    assert kernel.std() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)  # He's, from scratch


def test_the_table_names_the_licence():
    (row,) = (line for line in list_networks().splitlines() if line.startswith("dlib_resnet "))
    assert row.split()[:8] == ["dlib_resnet", "112", "px", "5,587,685", "151", "M", "CC0", "(faces)"]


def test_both_files_hold_the_same(small, dat, tmp_path):
    np.savez(tmp_path / "small.npz", **small)
    for path in (dat, tmp_path / "small.npz"):
        found = dlib_resnet._read(str(path))
        assert {name: value.dtype for name, value in found.items()} == dict.fromkeys(small, np.dtype("f4"))
        assert all((found[name] == small[name]).all() for name in small)


def test_damaged_files_are_refused_or_hold_the_same(small, dat):
    whole = dat.read_bytes()
    for stop in range(0, len(whole), 31):
        dat.write_bytes(whole[:stop])
        with pytest.raises(UserError, match="damaged"):
            dlib_resnet._read(str(dat))
    dat.write_bytes(whole + b"\0")
    with pytest.raises(UserError, match="goes on after its last layer"):
        dlib_resnet._read(str(dat))
    rng, same = np.random.default_rng(0), 0
    for place in range(0, len(whole), 11):
        dat.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << rng.integers(8)]) + whole[place + 1 :])
        try:
            found = dlib_resnet._read(str(dat))
        except UserError as error:
            assert str(dat) in str(error) and "\n" not in str(error)
        else:
            same += 1  # the exponent of a 0
            assert all((found[name] == small[name]).all() for name in small)
    assert same < 6


def test_a_changed_number_in_the_arrays(small, tmp_path):
    small["conv2/beta"][1] *= 1.0001
    np.savez(tmp_path / "w.npz", **small)
    (tmp_path / "w.dat").write_bytes(written(small))
    for name in ("w.npz", "w.dat"):
        with pytest.raises(UserError, match="not dlib's face ResNet as published"):
            dlib_resnet._read(str(tmp_path / name))


HUGE = b"\x08" + b"\xff" * 7 + b"\x7f"  # 2^63 - 1


@pytest.mark.parametrize("data, reason", [
    (b"", "the end is missing"),
    (b"no file of dlib's at all", "no integer"),
    (integer(1) + HUGE + b"loss", "no name"),
    (integer(1) + integer(-3) + b"loss", "no name"),
    (integer(1) + text("loss_metric_2") + integer(1) + integer(32000), "no finite number"),
    (integer(1) + text("two\nlines"), "two.nlines"),
])  # fmt: skip
def test_other_bytes(data, reason, small, tmp_path):
    (tmp_path / "w.dat").write_bytes(data)
    with pytest.raises(UserError, match=reason) as error:
        dlib_resnet._read(str(tmp_path / "w.dat"))
    assert "\n" not in str(error.value)


def test_sizes_beyond_the_file_allocate_nothing(small, dat):
    sound = integer(2) + sizes(7 * 7 * 3 * 3 + 3, 1, 1, 1)
    for claimed in (4 * HUGE, 4 * integer(10**6), HUGE + 3 * integer(0), 4 * integer(-4), 4 * integer(1000)):
        whole = written(small)
        assert whole.count(sound) == 1
        dat.write_bytes(whole.replace(sound, integer(2) + claimed))
        with pytest.raises(UserError, match="damaged"):
            dlib_resnet._read(str(dat))


def test_what_is_no_weights_of_it(small, dat, tmp_path, inside, sample_set):
    """One line each, on exit status 2."""
    (tmp_path / "mmod.dat").write_bytes(written(small, loss="loss_mmod_"))
    for name in ("w.h5", "w.pth"):
        (tmp_path / name).touch()
    with (tmp_path / "large.dat").open("wb") as file:
        file.truncate(2**26 + 1)
    options = ["--arch", "dlib_resnet", "--input-size", SIDE, "--data", sample_set, "--weights"]
    cases = {
        "imagenet": "no ImageNet weights of dlib_resnet: give --weights dlib_face_recognition_resnet_model",
        "mmod.dat": "'loss_mmod_' where loss_metric_2 is expected",
        "absent.dat": "no weights at absent.dat",
        "large.dat": "too large",
        "w.h5": "must be none, a .keras, .npz or .dat file",
        "a.npz,b.npz": "no weights at a.npz",
    }
    for name, reason in cases.items():
        assert reason in error_line(inside("train.py", *options, name))
    refused = inside("train.py", "--arch", "mini_xception", *options[4:], "small.dat")
    assert "must be imagenet, none" in error_line(refused)


def test_too_small_an_image():
    ARCHITECTURES["dlib_resnet"].build(103, None)
    with pytest.raises(UserError, match="an input_size of 103 or more, not 102"):
        ARCHITECTURES["dlib_resnet"].build(102, None)


def test_restated_norms_compute_the_same_and_have_the_statistics_of_what_they_see():
    rng = np.random.default_rng(0)
    image = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(image)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(epsilon=1e-4, name="first")(x))
    x = keras.layers.Dense(5, name="dense")(keras.layers.Flatten()(x))
    model = keras.Model(image, keras.layers.BatchNormalization(name="second")(x))
    for name, channels in (("first", 4), ("second", 5)):
        scale, shift, mean = rng.uniform(0.5, 2, channels), *rng.normal(size=(2, channels))
        model.get_layer(name).set_weights([scale, shift, mean, rng.uniform(0.01, 4, channels)])
    images = rng.normal(size=(70, 6, 6, 3)).astype("f4")
    before = np.asarray(model(images))
    restate(model, [images[:32], images[32:64], images[64:]])  # the last batch weighs less
    np.testing.assert_allclose(model(images), before, atol=1e-5 * np.abs(before).max())
    for name, source in (("first", "conv"), ("second", "dense")):
        _, _, mean, variance = model.get_layer(name).get_weights()
        seen = np.asarray(keras.Model(image, model.get_layer(source).output)(images)).reshape(-1, len(mean))
        np.testing.assert_allclose(mean, seen.mean(0), atol=1e-5)
        np.testing.assert_allclose(variance, seen.var(0), rtol=1e-4)
    # In training, where a batch norm takes its batch's statistics, all images together give the same again.
    np.testing.assert_allclose(model(images, training=True), before, atol=1e-4 * np.abs(before).max())


def test_weights_take_their_statistics_from_training_images(small, dat):
    config = configuration(weights=str(dat))
    images = np.random.default_rng(0).integers(0, 256, (50, 48, 48), dtype=np.uint8)
    plain, model = build_model(config), build_model(config, images=images)
    seen = np.stack([normalise(prepare(image, config.preprocess), config.preprocess) for image in images])
    np.testing.assert_allclose(features(model)(seen), features(plain)(seen), atol=1e-5)
    # Without the bias and the mean: they went into the norm's shift.
    weights = small | {"conv0/bias": np.zeros(3)}
    outputs = np.stack([convolved(image * 127.5 / 256, weights, 0) for image in seen])
    _, _, mean, variance = model.get_layer("norm0").get_weights()
    np.testing.assert_allclose(mean, outputs.mean((0, 1, 2)), atol=1e-3)  # of rounded values
    np.testing.assert_allclose(variance, outputs.var((0, 1, 2)), rtol=0.01)
    assert not np.allclose(model.get_layer("norm4").moving_mean, 0)
    np.testing.assert_array_equal(plain.get_layer("norm4").moving_mean, np.zeros(5))
    np.testing.assert_array_equal(model.get_layer("head_norm").moving_mean, np.zeros(5))


def test_a_trained_model_goes_on_with_other_classes_and_another_size(small, dat, tmp_path):
    source = build_model(configuration(weights=str(dat)))
    source.save(tmp_path / "m.keras")
    images = np.zeros((1, 48, 48), np.uint8)
    config = configuration(weights=str(tmp_path / "m.keras"), input_size=40, classes=["angry", "happy"])
    model = build_model(config, images=images)  # its statistics are its own
    assert model.output_shape == (None, 2) and model.input_shape == (None, 40, 40, 3)
    for layer in features(source).layers[1:]:
        for given, wanted in zip(model.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
            np.testing.assert_array_equal(given, wanted)


@pytest.mark.slow
def test_a_run_starts_restated_and_resumes_without_the_file(dat, sample_set, tmp_path, monkeypatch, undrawn):
    quick = {"stage2_epochs": 2, "batch_size": 16, "ema": 0.9, "tensorboard": False}
    config = configuration(weights=str(dat), data=str(sample_set), **quick)
    assert (
        config.schedule.stage1_epochs == 0
        and config.schedule.unfreeze_layers == -1
        and config.schedule.train_batch_norm
    )
    loop.start(config, tmp_path / "whole")

    def cut(self, epoch, logs=None):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(callbacks.Tell, "on_epoch_end", cut)  # after the epoch's state was saved
        loop.start(config, tmp_path / "cut")
    dat.unlink()
    resume(tmp_path / "cut", {})
    whole, again = (keras.models.load_model(tmp_path / name / MODEL) for name in ("whole", "cut"))
    for one, other in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
