"""Files as Keras 1, 2 and tf.keras wrote them, made by hand: configurations after these versions' own code,
and what the networks must answer worked out in NumPy.
"""

import json

import cv2
import h5py
import keras
import numpy as np
import pytest
from conftest import error_line

from fer_hailo.common.errors import UserError
from fer_hailo.training.models.build import load_model
from fer_hailo.training.models.old_layers import translate

RNG = np.random.default_rng(0)
KERNEL, BIAS = RNG.normal(size=(3, 3, 1, 2)).astype("f4"), RNG.normal(size=2).astype("f4")
GAMMA, BETA, MEAN = (RNG.normal(size=2).astype("f4") for _ in range(3))
VARIANCE = np.array([0.3, 2.0], "f4")
DENSE, DENSE_BIAS = RNG.normal(size=(18, 3)).astype("f4"), RNG.normal(size=3).astype("f4")
GREY = RNG.uniform(-1, 1, (2, 8, 8)).astype("f4")


def answer() -> np.ndarray:
    """The logits of a convolution (3x3, stride 2, ReLU), a batch norm and a dense layer, (2, 3)."""
    maps = np.zeros((2, 3, 3, 2))
    for row in range(3):
        for column in range(3):
            window = GREY[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            maps[:, row, column] = np.einsum("nij,ijf->nf", window, KERNEL[:, :, 0]) + BIAS
    maps = (np.maximum(maps, 0) - MEAN) / np.sqrt(VARIANCE + 1e-3) * GAMMA + BETA
    return maps.reshape(2, 18) @ DENSE + DENSE_BIAS


def keras1():
    """1.2.2: model.save of a Sequential."""
    shared = {"trainable": True, "W_regularizer": None, "b_regularizer": None, "W_constraint": None}
    shared |= {"b_constraint": None, "activity_regularizer": None, "init": "glorot_uniform", "bias": True}
    conv = {"name": "convolution2d_1", "nb_filter": 2, "nb_row": 3, "nb_col": 3, "activation": "relu",
            "border_mode": "valid", "subsample": [2, 2], "dim_ordering": "tf", **shared,
            "batch_input_shape": [None, 8, 8, 1], "input_dtype": "float32"}  # fmt: skip
    norm = {"name": "batchnormalization_1", "trainable": True, "epsilon": 0.001, "mode": 0, "axis": -1,
            "momentum": 0.99, "gamma_regularizer": None, "beta_regularizer": None}  # fmt: skip
    dense = {"name": "dense_1", "output_dim": 3, "activation": "linear", "input_dim": None, **shared}
    layers = [
        ("Convolution2D", conv),
        ("BatchNormalization", norm),
        ("Flatten", {"name": "flatten_1", "trainable": True}),
        ("Dropout", {"name": "dropout_1", "trainable": True, "p": 0.5}),
        ("Dense", dense),
        ("Activation", {"name": "activation_1", "trainable": True, "activation": "softmax"}),
    ]
    norms = ("gamma", "beta", "running_mean", "running_std")
    names = {"convolution2d_1": ("W", "b"), "batchnormalization_1": norms, "dense_1": ("W", "b")}
    names = {layer: [f"{layer}_{name}" for name in given] for layer, given in names.items()}
    config = [{"class_name": kind, "config": config} for kind, config in layers]
    return "1.2.2", {"class_name": "Sequential", "config": config}, names


def layers2(**more):
    """The layers of Keras 2, but for the input."""
    zeros = {"class_name": "Zeros", "config": {}}
    l2 = {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.01}}
    shared = {"trainable": True, "kernel_regularizer": l2,
              "bias_initializer": zeros, "use_bias": True, "bias_constraint": None, **more}  # fmt: skip
    conv = {"name": "conv2d_1", "filters": 2, "kernel_size": [3, 3], "strides": [2, 2],
            "padding": "valid", "data_format": "channels_last", "dilation_rate": [1, 1],
            "activation": "relu", **shared}  # fmt: skip
    norm = {"name": "batch_normalization_1", "trainable": True, "axis": -1, "momentum": 0.99,
            "epsilon": 0.001, "center": True, "scale": True, "beta_initializer": zeros,
            "moving_mean_initializer": zeros}  # fmt: skip
    dense = {"name": "dense_1", "units": 3, "activation": "softmax", **shared}
    return [
        ("Conv2D", conv),
        ("BatchNormalization", norm),
        ("Flatten", {"name": "flatten_1"}),
        ("Dense", dense),
    ]


NAMES2 = {
    "conv2d_1": ["conv2d_1/kernel:0", "conv2d_1/bias:0"],
    "batch_normalization_1": [f"batch_normalization_1/{name}:0" for name in ("gamma", "beta", "moving_mean",
                              "moving_variance")],
    "dense_1": ["dense_1/kernel:0", "dense_1/bias:0"],
}  # fmt: skip
SHAPE = {"batch_input_shape": [None, 8, 8, 1], "dtype": "float32"}


def keras20():
    """2.0.5: a Sequential is a list."""
    layers = [{"class_name": kind, "config": config} for kind, config in layers2()]
    layers[0]["config"] |= SHAPE
    return "2.0.5", {"class_name": "Sequential", "config": layers}, NAMES2


def keras22():
    """2.2.4: a Model."""
    made, before = [], "input_1"
    for kind, config in layers2():
        inbound = [[[before, 0, 0, {}]]]
        made.append({"class_name": kind, "config": config, "name": config["name"], "inbound_nodes": inbound})
        before = config["name"]
    image = {"class_name": "InputLayer", "config": SHAPE | {"name": "input_1", "sparse": False},
             "name": "input_1", "inbound_nodes": []}  # fmt: skip
    ends = {"input_layers": [["input_1", 0, 0]], "output_layers": [["dense_1", 0, 0]]}
    return (
        "2.2.4",
        {"class_name": "Model", "config": {"name": "model_1", "layers": [image, *made], **ends}},
        NAMES2,
    )


def tf_keras():
    """tf.keras 2.12: modules and registered names, groups, dtype policies."""
    policy = {"module": "keras.mixed_precision", "class_name": "Policy", "config": {"name": "mixed_float16"}}
    layers = [{"class_name": kind, "config": config} for kind, config in layers2(groups=1, dtype=policy)]
    layers[1]["config"]["axis"] = [3]
    layers[-1]["config"].pop("groups")
    image = {
        "class_name": "InputLayer",
        "config": SHAPE | {"name": "input_1", "sparse": False, "ragged": False},
    }
    return (
        "2.12.0",
        {"class_name": "Sequential", "config": {"name": "sequential", "layers": [image, *layers]}},
        NAMES2,
    )


WEIGHTS = ([KERNEL, BIAS], [GAMMA, BETA, MEAN, VARIANCE], [DENSE, DENSE_BIAS])


def write_h5(path, version, config, names, weights=WEIGHTS, backend=""):
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version.encode()
        file.attrs["model_config"] = json.dumps(config).encode()
        if backend:
            file.attrs["backend"] = backend.encode()
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in [*names, "flatten_1"]]
        group.create_group("flatten_1").attrs["weight_names"] = []
        for (layer, given), arrays in zip(names.items(), weights, strict=True):
            inner = group.create_group(layer)
            inner.attrs["weight_names"] = [name.encode() for name in given]
            for name, array in zip(given, arrays, strict=True):
                inner[name] = array


@pytest.mark.parametrize("written", [keras1, keras20, keras22, tf_keras])
def test_every_keras_wrote_the_same_network(written, tmp_path):
    write_h5(tmp_path / "m.h5", *written())
    model = load_model(tmp_path / "m.h5")
    assert model.input_shape == (None, 8, 8, 3)  # it learnt grey images
    given = np.asarray(model(np.repeat(GREY[..., None], 3, axis=-1), training=False))
    np.testing.assert_allclose(given, answer(), rtol=1e-4, atol=1e-5)


def test_a_nested_network_operations_and_the_order_of_weights(tmp_path):
    """tf.keras puts what trains before what is frozen, and writes x / 2 - 1 as operations."""
    dense = {"units": 2, "use_bias": False, "activation": "linear"}

    def layer(kind, called, before, **config):
        nodes = [[[before, 0, 0, {}]]] if before else []
        return {
            "class_name": kind,
            "name": called,
            "config": {"name": called, **config},
            "inbound_nodes": nodes,
        }

    def operation(name, function, before, y):
        nodes = [[before, 0, 0, {"y": y, "name": None}]]
        return layer("TFOpLambda", name, "", function=function) | {"inbound_nodes": nodes}

    shape = {"batch_input_shape": [None, 2]}
    inner = [
        layer("InputLayer", "in", "", **shape),
        layer("Dense", "a/frozen", "in", trainable=False, **dense),
        layer("Dense", "b", "a/frozen", **dense),
    ]
    inner = {"name": "body", "layers": inner, "input_layers": [["in", 0, 0]], "output_layers": [["b", 0, 0]]}
    layers = [
        layer("InputLayer", "image", "", **shape),
        operation("tf.math.truediv", "math.truediv", "image", 2.0),
        operation("tf.math.subtract", "math.subtract", "tf.math.truediv", 1.0),
        layer("Functional", "body", "tf.math.subtract", **inner),
        layer("Dropout", "dropout", "body", rate=0.5),
        operation("tf.__operators__.add", "__operators__.add", "dropout", ["image", 0, 0]),
        layer("Activation", "answer", "tf.__operators__.add", activation="hard_sigmoid"),
    ]
    config = {"layers": layers, "input_layers": [["image", 0, 0]], "output_layers": [["answer", 0, 0]]}
    frozen, trained = RNG.normal(size=(2, 2, 2)).astype("f4")
    names = {"body": ["b/kernel:0", "a/frozen/kernel:0"]}
    whole = {"class_name": "Functional", "config": {"name": "m", **config}}
    write_h5(tmp_path / "m.h5", "2.12.0", whole, names, [[trained, frozen]])
    x = RNG.normal(size=(4, 2)).astype("f4")
    wanted = np.clip(
        0.2 * ((x / 2 - 1) @ frozen @ trained + x) + 0.5, 0, 1
    )  # Keras 3 has another hard_sigmoid
    np.testing.assert_allclose(
        np.asarray(load_model(tmp_path / "m.h5")(x, training=False)), wanted, atol=1e-5
    )


def test_keras_3_wrote_it(tmp_path):
    image = keras.Input((8, 8, 3))
    x = keras.layers.Dense(3, "softmax")(keras.layers.GlobalAveragePooling2D()(image))
    model = keras.Model(image, x)
    model.save(tmp_path / "m.h5")
    faces = RNG.normal(size=(2, 8, 8, 3)).astype("f4")
    given = np.asarray(load_model(tmp_path / "m.h5")(faces))
    np.testing.assert_allclose(np.asarray(keras.ops.softmax(given)), np.asarray(model(faces)), rtol=1e-5)


def test_what_is_refused_and_the_way_to_convert_it(tmp_path):
    def said(change=lambda layers: None, **options):
        version, config, names = keras20()
        change(config["config"])
        write_h5(tmp_path / "m.h5", version, config, names, **options)
        with pytest.raises(UserError, match=r"Keras 2.0.5\) has .* which is not opened here") as error:
            load_model(tmp_path / "m.h5")
        assert "network.load_weights('m.h5') and network.save('m.keras')" in str(error.value)
        return str(error.value)

    code = {"name": "lambda_1", "function": ["4wEAAAABAAAA", None, None], "function_type": "lambda"}
    assert "a layer of the class Lambda" in said(
        lambda layers: layers.insert(1, {"class_name": "Lambda", "config": code})
    )
    assert "Conv2D with data_format channels_first" in said(
        lambda layers: layers[0]["config"].update(data_format="channels_first")
    )
    assert "Dense with the activation capsule" in said(
        lambda layers: layers[-1]["config"].update(activation="capsule")
    )
    assert "kernels of Theano" in said(backend="theano")
    assert "weights of its layer dense_1 that do not fit" in said(
        weights=[*WEIGHTS[:2], [DENSE[:-1], DENSE_BIAS]]
    )
    assert "no weights of its layer" in said(
        lambda layers: layers.insert(
            -1, {"class_name": "Dense", "config": layers[-1]["config"] | {"name": "d", "units": 18}}
        )
    )
    with h5py.File(tmp_path / "m.h5", "a") as file:
        del file.attrs["model_config"]
    with pytest.raises(UserError, match="has weights alone, no network, which is not opened here: build the"):
        load_model(tmp_path / "m.h5")
    (tmp_path / "m.h5").write_bytes(b"no HDF5 at all")
    with pytest.raises(UserError, match="cannot be opened as a Keras model"):
        load_model(tmp_path / "m.h5")


def test_options_by_hand():
    merged = translate("Merge", {"name": "m", "mode": "concat", "concat_axis": 3, "mode_type": "raw"})
    assert (merged.kind, merged.options) == ("Concatenate", {"axis": 3})
    pad = translate("ZeroPadding2D", {"name": "p", "padding": [1, 2, 3, 4]})
    assert pad.options == {"padding": [[1, 2], [3, 4]]}
    leaky = translate("LeakyReLU", {"name": "l", "alpha": 0.1})
    assert leaky.options == {"negative_slope": 0.1}
    assert translate("RandomFlip", {"mode": "horizontal"}).kind == ""
    assert translate("ThresholdedReLU", {"theta": 0.5}).options == {"threshold": 0.5}


def test_the_commands_take_it(inside, tmp_path):
    """A network that tells bright from dark grey faces, scored at its own input size."""
    rng = np.random.default_rng(0)
    for label, level in (("angry", 40), ("happy", 210)):
        for side, count in (("train", 10), ("test", 4)):
            (tmp_path / "data" / side / label).mkdir(parents=True)
            for number in range(count):
                face = np.clip(level + rng.normal(0, 8, (32, 32)), 0, 255).astype(np.uint8)
                cv2.imwrite(str(tmp_path / "data" / side / label / f"{number}.png"), face)
    pool = {"name": "pool", "pool_size": [32, 32], "border_mode": "valid", "strides": [32, 32]}
    pool |= {"dim_ordering": "tf", "batch_input_shape": [None, 32, 32, 1]}
    dense = {"name": "dense", "output_dim": 2, "activation": "softmax", "bias": True}
    layers = [
        {"class_name": "AveragePooling2D", "config": pool},
        {"class_name": "Flatten", "config": {"name": "flat"}},
        {"class_name": "Dense", "config": dense},
    ]
    weights = [[np.array([[-3.0, 3.0]], "f4"), np.zeros(2, "f4")]]
    config = {"class_name": "Sequential", "config": layers}
    write_h5(tmp_path / "m.hdf5", "1.2.2", config, {"dense": ["dense_W", "dense_b"]}, weights)
    done = inside("evaluate.py", "m.hdf5", "--data", "data", "--classes", "angry,happy", "--json")
    assert done.returncode == 0, done.stderr
    scored = json.loads(done.stdout)
    assert (scored["accuracy"], scored["count"]) == (1.0, 8)
    assert "m.hdf5" in error_line(inside("run.py", "--model", "m.hdf5", "data/test/angry/0.png"))


def test_a_reason_from_a_file_is_short(tmp_path):
    """What is not translated may be called anything in a damaged file."""
    version, config, names = keras20()
    write_h5(tmp_path / "a.h5", version, config | {"class_name": "x" * 5000}, names)
    with pytest.raises(UserError, match=r"a network of the class x+, which is not opened") as caught:
        load_model(tmp_path / "a.h5")
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("place", ["model", "layer"])
def test_a_name_that_tensorflow_does_not_take_is_told_at_once(tmp_path, suffix, place):
    """Keras opens such a file, and TensorFlow raises at the first image."""
    image, odd = keras.Input((8, 8, 3)), "\x1b[31mred"
    x = keras.layers.Conv2D(2, 3, name=odd if place == "layer" else "conv")(image)
    model = keras.Model(
        image, keras.layers.GlobalAveragePooling2D()(x), name="a" if place == "layer" else odd
    )
    model.save(tmp_path / f"a{suffix}")
    with pytest.raises(UserError, match=r"a\.(h5|keras) .*'\\x1b\[31mred' is no name of a layer"):
        load_model(tmp_path / f"a{suffix}")
