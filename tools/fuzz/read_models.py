"""Readers of models and checkpoints, as run, evaluate, convert and train call them."""

from __future__ import annotations

import functools
import gc
import json
import shutil
from pathlib import Path

import numpy as np

from fer_hailo.common.preprocess import PreprocessSpec
from tools.fuzz.reading import SAVED, copied, said

SPEC = PreprocessSpec(48, 32, False)
LABELS = ("angry", "disgust", "happy", "neutral", "surprise")
IMAGE = np.full((1, 32, 32, 3), 99, np.uint8)


def hef(path: Path) -> str:
    from fer_hailo.formats.hef import format_hef, read_hef

    found = read_hef(path)
    return format_hef(found) + json.dumps(found.to_dict(), allow_nan=False)


def detector(path: Path) -> str:
    """As `run --detector FILE.hef` asks which output is which, before the chip has the file."""
    from fer_hailo.board.scrfd import recognise
    from fer_hailo.formats.hef import read_hef

    return said(recognise(read_hef(path), path))


def har(path: Path) -> str:
    from fer_hailo.formats.har import format_har, read_har

    found = read_har(path)
    return format_har(found) + json.dumps(found.to_dict(), allow_nan=False)


def tensors(path: Path) -> str:
    from fer_hailo.formats.checkpoint import read_tensors

    return " ".join(ascii(name) for name in read_tensors(path))


def keras(path: Path) -> str:
    """As `run --model FILE.keras`, or FILE.h5, opens it, with one image answered."""
    from fer_hailo.predict.keras_model import KerasModel

    try:
        return said(KerasModel(path, SPEC, LABELS).logits(IMAGE, SPEC))
    finally:
        forget()


def scored(path: Path) -> str:
    """As `evaluate FILE.h5`, and `evaluate FILE.pth --arch NAME`, opens it, with one image answered; and as
    convert prepares it.
    """
    from fer_hailo.deploy.home import Use, resolve
    from fer_hailo.training.convert.graph import as_logits, flatten
    from fer_hailo.training.evaluate.score import scorer_of
    from fer_hailo.training.models.opened import open_network, seen_by

    names = ("angry", "happy", "sad") if path.suffix == ".pth" else LABELS
    try:
        home = resolve(path, Use.SCORE, {"arch": _system(), "input_size": 32, "classes": ",".join(names)})
        network = open_network(home)
        spec = seen_by(home, network)
        image = np.full((1, *spec.source_shape), 99, np.uint8)
        return said((scorer_of(network, names, spec).logits(image), as_logits(flatten(network))))
    finally:
        forget()


def weights(path: Path) -> str:
    """As `train --weights FILE.h5` starts from it."""
    from fer_hailo.training.models.build import build_model

    try:
        return said(build_model(_config(), weights=str(path)))
    finally:
        forget()


def forget() -> None:
    """Keras keeps names and graphs for the life of a process, which here reads thousands of models."""
    import keras

    keras.backend.clear_session()
    gc.collect()


def tables(path: Path) -> str:
    from fer_hailo.formats.tflite import read_tflite

    return said(read_tflite(path))


def graph(path: Path) -> str:
    """As the rehearsal reads it."""
    from fer_hailo.formats.tflite_graph import read_graph

    return said(read_graph(path))


def described(path: Path) -> str:
    """As `run --model FILE.tflite` opens it in its bundle, whose manifest says what it was."""
    from fer_hailo.deploy.home import resolve
    from fer_hailo.predict.predictor import load

    name = path.name.split("__")[1]
    folder, _ = copied(SAVED / "run" / "deploy", path)
    try:
        with load(resolve(folder / name)) as predictor:
            return said(predictor.logits(IMAGE))
    finally:
        shutil.rmtree(folder)


def interpreted(path: Path) -> str:
    """As evaluate opens a file that no manifest describes, with one image answered."""
    from fer_hailo.deploy.bundle import check_network
    from fer_hailo.formats.tflite import read_tflite
    from fer_hailo.predict.litert import LiteRT

    check_network(read_tflite(path), path, SPEC, LABELS)
    return said(LiteRT(path).logits(IMAGE, SPEC))


@functools.cache
def _config():
    """Of a network of two convolutions that takes Keras' .h5 as the larger ones do, and is built at once."""
    from fer_hailo.common.config import load_config
    from fer_hailo.training.networks.record import Network
    from fer_hailo.training.networks.registry import ARCHITECTURES

    ARCHITECTURES["fuzzed"] = Network(_build, licence="", hailo="yes")
    return load_config(None, {"arch": "fuzzed", "weights": "none", "input_size": 32, "head_units": [16],
                              "head_dropout": [0.1, 0.1]})  # fmt: skip


@functools.cache
def _system() -> str:
    """The name of a whole network, with the layers of tests/models/checkpoints."""
    from fer_hailo.training.networks.record import System
    from fer_hailo.training.networks.registry import ARCHITECTURES

    ARCHITECTURES["fuzzed_system"] = System(_build_system, hailo="yes")
    return "fuzzed_system"


def _build_system(size: int, logits: int):
    import keras

    inputs = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(logits, 3, name="0")(inputs[..., :2])
    x = keras.layers.BatchNormalization(name="1")(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x), name="fuzzed_system")


def _build(size: int, file: str | None):
    import keras

    inputs = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, use_bias=False, name="conv0")(inputs)
    x = keras.layers.BatchNormalization(name="norm0")(x)
    x = keras.layers.Conv2D(16, 3, strides=2, use_bias=False, name="conv1")(x)
    model = keras.Model(inputs, keras.layers.BatchNormalization(name="norm1")(x))
    if file:
        model.load_weights(file)
    return model
