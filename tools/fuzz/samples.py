"""Whole files, by format, that are then damaged: of this repository, of shared/ where it is there, or made
here, the same on every machine.
"""

from __future__ import annotations

import functools
import io
import json
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.training.data.ferplus import VOTES
from tools.fuzz.chunks import png_of
from tools.fuzz.http import requests
from tools.fuzz.reading import ROOT, SAVED
from tools.fuzz.zips import zip_of

SHARED = Path(os.environ.get("FER_HAILO_SHARED", ROOT.parent / "shared"))
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
CSV_COLUMNS = [
    ["emotion", "pixels", "Usage"],
    ["file", "class", "split"],
    ["Usage", "Image name", *VOTES],
]  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """name: that a damaged copy's ends with; FOLDER__NAME is a file in a folder (reading.copied)."""

    name: str
    content: bytes


def files(*patterns: str, top: Path = ROOT) -> list[Sample]:
    """Files by patterns, in order. Raises UserError where there are none."""
    found = [path for pattern in patterns for path in sorted(top.glob(pattern))]
    if not found:
        raise UserError(f"no {patterns[0]} in {top}: set FER_HAILO_SHARED")
    return [Sample(path.name, path.read_bytes()) for path in found]


def shared(*patterns: str) -> list[Sample]:
    return files(*patterns, top=SHARED / "data")


def inside(folder: str, *patterns: str) -> list[Sample]:
    """Files of the saved runs, as parts of the folder that they lie in: "run/deploy" or ""."""
    top = SAVED / folder
    found = [path for pattern in patterns for path in sorted(top.glob(pattern)) if path.is_file()]
    return [Sample("__".join(path.relative_to(top).parts), path.read_bytes()) for path in found]


# Images and videos


def png(shade: int, side: int = 24) -> bytes:
    """A grey image, by zlib alone, so that every machine makes the same bytes."""
    rows = b"".join(b"\0" + bytes((x * y + 40 * shade) % 251 for x in range(side)) for y in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return png_of([(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def jpegs() -> list[Sample]:
    """Baseline, progressive, grey, in CMYK, with EXIF."""
    from PIL import Image

    y, x = np.mgrid[0:40, 0:48]
    image = Image.fromarray(np.stack([x * 5, y * 6, (x * y) % 256], -1).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = ((image, {}), (image, {"progressive": True}), (image.convert("L"), {}),
             (image.convert("CMYK"), {}), (image, {"exif": exif}))  # fmt: skip
    return [Sample(f"{at}.jpg", _saved(kind, "JPEG", **options)) for at, (kind, options) in enumerate(kinds)]


def pngs() -> list[Sample]:
    """Grey, RGB, with a palette, with alpha, of 16 bits, of 1 bit."""
    from PIL import Image

    y, x = np.mgrid[0:40, 0:48]
    image = Image.fromarray(np.stack([x * 5, y * 6, (x * y) % 256], -1).astype(np.uint8))
    deep = Image.fromarray((x * y * 13).astype(np.uint16))
    kinds = (image, image.quantize(16), image.convert("RGBA"), deep, image.convert("1"), image.convert("LA"))
    return [
        Sample("grey.png", png(3)),
        *(Sample(f"{at}.png", _saved(kind, "PNG")) for at, kind in enumerate(kinds)),
    ]


def _saved(image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def videos() -> list[Sample]:
    """Thirty small frames as MPEG-4 part 2 in MP4."""
    import cv2

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "a.mp4")
        writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, int.from_bytes(b"mp4v", "little"), 10.0, (64, 48))
        y, x = np.mgrid[0:48, 0:64]
        for number in range(30):
            writer.write(np.stack([x * 3 + number, y * 4, (x + y + 5 * number) % 256], -1).astype(np.uint8))
        writer.release()
        return [Sample("a.mp4", Path(path).read_bytes())]


# Data sets


def data_sets() -> list[Sample]:
    """Zips of images in class folders, of FER2013's CSV, of images with a list."""
    places = [f"{side}/{name}" for side in ("train", "test") for name in CLASSES[:3]]
    images = [(f"{place}/{number}.png", png(number)) for place in places for number in range(2)]
    listed = [("labels.csv", b"file,class\na.png,happy\nb.png,sad\n"), ("a.png", png(1)), ("b.png", png(2))]
    return [
        Sample("folders.zip", zip_of(images)),
        Sample("packed.zip", zip_of(images, zipfile.ZIP_DEFLATED)),
        Sample("csv.zip", zip_of([("fer2013.csv", fer2013())], zipfile.ZIP_DEFLATED)),
        Sample("listed.zip", zip_of(listed)),
    ]


def fer2013() -> bytes:
    """Its first lines, as it were."""
    pixels = " ".join(str(number % 256) for number in range(2304))
    rows = [
        f"{at % 7},{pixels},{side}"
        for at, side in enumerate(("Training",) * 4 + ("PublicTest", "PrivateTest"))
    ]
    return "\n".join(["emotion,pixels,Usage", *rows, ""]).encode()


def tables() -> list[Sample]:
    """FER2013, votes, results, a list of images."""
    votes = ",".join(CSV_COLUMNS[2]).encode() + b"\n"
    votes += b"Training,a.png,4,0,0,1,3,2,0,0,0,0\nTraining,b.png,6,0,1,1,0,0,0,0,2,0\n"
    results = (ROOT / "docs" / "results.csv").read_bytes().split(b"\n")[:6]
    listed = b"file,class,split\na.png,happy,train\nb.png,sad,test\nc.png,happy,test\n"
    return [Sample("fer.csv", fer2013()), Sample("votes.csv", votes),
            Sample("results.csv", b"\n".join([*results, b""])), Sample("labels.csv", listed)]  # fmt: skip


# Arrays


def arrays() -> list[Sample]:
    """Archives of NumPy: a checkpoint, the cache, refined labels, the SDK's answers."""
    rng = np.random.default_rng(1)
    likely = rng.random((6, 5))
    made = {"source_size": 48, "color": False, "models": [], "data": {"key": "a"}, "split": {}}
    targets = {
        "version": 1, "digests": np.arange(6, dtype=np.uint64), "made": json.dumps(made),
        "probabilities": (likely / likely.sum(1, keepdims=True)).astype(np.float16),
        "classes": np.array(CLASSES[:5]),
    }  # fmt: skip
    answers = {"logits": likely.astype("f4"), "index": np.arange(6), "evaluation": "abc"}
    weights = {f"{at}.weight": rng.random((3, 2), np.float32) for at in range(4)}
    made_here = [("targets", targets), ("answers", answers), ("weights", weights)]
    return [
        *files("data/*.npz", top=SAVED),
        *(Sample(f"{name}.npz", _npz(values)) for name, values in made_here),
    ]


def _npz(values: dict) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **values)
    return buffer.getvalue()


# Keras' HDF5


@functools.cache
def weights() -> tuple[Sample, ...]:
    """Weights of read_models' small network as Keras 1 and 2 saved them, and as Keras 3 does."""
    import h5py

    old, new = io.BytesIO(), io.BytesIO()
    with h5py.File(old, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name, _ in _layers()]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.4.0"
        for name, variables in _layers():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{key}:0".encode() for key in variables]
            for key, value in variables.items():
                group.create_dataset(f"{name}/{key}:0", data=value)
    places = ("conv2d", "batch_normalization", "conv2d_1", "batch_normalization_1")
    with h5py.File(new, "w") as file:
        for place, (_, variables) in zip(places, _layers(), strict=True):
            group = file.create_group(f"layers/{place}/vars")
            for at, value in enumerate(variables.values()):
                group.create_dataset(str(at), data=value)
    return Sample("old.h5", old.getvalue()), Sample("new.weights.h5", new.getvalue())


def _layers() -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    rng = np.random.default_rng(2)
    for number, (given, made) in enumerate(((3, 8), (8, 16))):
        yield f"conv{number}", {"kernel": rng.random((3, 3, given, made), np.float32)}
        norm = ("gamma", "beta", "moving_mean", "moving_variance")
        yield f"norm{number}", {key: rng.random(made, np.float32) for key in norm}


@functools.cache
def whole_models() -> tuple[Sample, ...]:
    """The same layers, an end and all weights in one file, as Keras 2 saved it and as Keras 3 does."""
    import h5py

    from fer_hailo.training.models.build import load_model

    arrays = {name: [*variables.values()] for name, variables in _layers()}
    arrays["end"] = [np.ones((16, 5), np.float32), np.zeros(5, np.float32)]
    with tempfile.TemporaryDirectory() as folder:
        old, new = Path(folder) / "old.h5", Path(folder) / "new.h5"
        with h5py.File(old, "w") as file:
            file.attrs["keras_version"], file.attrs["backend"] = b"2.4.0", b"tensorflow"
            file.attrs["model_config"] = json.dumps(_config()).encode()
            group = file.create_group("model_weights")
            group.attrs["layer_names"] = [name.encode() for name in arrays]
            for name, values in arrays.items():
                names = [f"{name}/{number}:0" for number in range(len(values))]
                inner = group.create_group(name)
                inner.attrs["weight_names"] = [name.encode() for name in names]
                for name, value in zip(names, values, strict=True):
                    inner[name] = value
        load_model(old).save(new)
        return tuple(Sample(path.name, path.read_bytes()) for path in (old, new))


def _config() -> dict:
    """Of that network, as Keras 2 wrote it."""
    shape = {"name": "image", "batch_input_shape": [None, 32, 32, 3], "dtype": "float32"}
    conv = {"kernel_size": [3, 3], "strides": [2, 2], "padding": "valid", "use_bias": False}
    layers = [
        ("InputLayer", shape),
        ("Conv2D", {"name": "conv0", "filters": 8, "activation": "relu", **conv}),
        ("BatchNormalization", {"name": "norm0", "axis": [3], "epsilon": 0.001}),
        ("Conv2D", {"name": "conv1", "filters": 16, "activation": "linear", **conv}),
        ("BatchNormalization", {"name": "norm1", "axis": [3], "epsilon": 0.001}),
        ("GlobalAveragePooling2D", {"name": "pool", "data_format": "channels_last"}),
        ("Dense", {"name": "end", "units": 5, "activation": "softmax", "use_bias": True}),
    ]
    before = [None, *(config["name"] for _, config in layers)]
    made = [
        {"class_name": kind, "config": config, "name": config["name"],
         "inbound_nodes": [[[source, 0, 0, {}]]] if source else []}
        for (kind, config), source in zip(layers, before, strict=False)
    ]  # fmt: skip
    ends = {"input_layers": [["image", 0, 0]], "output_layers": [["end", 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "fuzzed", "layers": made, **ends}}


# The rest


def drops() -> list[Sample]:
    """Lists of images: names, digests, the CSV of a data report."""
    from fer_hailo.training.data.drop import digest_names

    (cache,) = (SAVED / "data").glob("*.npz")
    names = np.load(cache)["ids"]
    digests = digest_names(np.load(cache.with_suffix(".images.npy")))
    rows = [f"{digest},{name},happy,0.9" for digest, name in zip(digests[::9], names[::9], strict=True)]
    texts = {
        "names.txt": names[::9],
        "digests.txt": digests[::9],
        "report.csv": ["digest,name,label,sure", *rows],
    }
    return [Sample(name, "\n".join([*lines, ""]).encode()) for name, lines in texts.items()]


def http() -> list[Sample]:
    return [Sample(f"{at}.http", request) for at, request in enumerate(requests())]
