"""A deploy bundle made by hand, for tests of the compile side: four colours of 16 x 16 noise, and a network
of six layers.

Its last layer is solved by least squares, so that it needs no training and its accuracy is real (some 80 %).
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from conftest import ROOT

from fer_hailo.common.confidence import Confidence
from fer_hailo.common.metrics import compute_metrics, softmax
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.deploy import bundle as parts
from fer_hailo.deploy.manifest import Calibration, Data, Manifest, Network
from fer_hailo.deploy.program import write_program
from fer_hailo.formats.tflite import read_tflite

NAMES = ("blue", "green", "grey", "red")
SPEC = PreprocessSpec(source_size=16, input_size=16, color=True)
VAL, TEST, CALIBRATION = 120, 80, 64
SCRIPT = """\
normalization1 = normalization([127.5, 127.5, 127.5], [127.5, 127.5, 127.5])
model_optimization_flavor(optimization_level=0, compression_level=0)
model_optimization_config(calibration, batch_size=8, calibset_size=64)
post_quantization_optimization(bias_correction, policy=enabled)
"""
# Layer by layer, counted by hand: kernel and bias; outputs times the size of a kernel.
PARAMETERS = {
    "stem": 3 * 3 * 3 * 12 + 12,
    "gate": 12 * 12 + 12,
    "depth": 3 * 3 * 12 + 12,
    "logits": 12 * 4 + 4,
}
MULTIPLY_ADDS = {"stem": 8 * 8 * 12 * 27, "gate": 12 * 12, "depth": 8 * 8 * 12 * 9, "logits": 12 * 4}


@functools.cache
def pictures() -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 (264, 16, 16, 3), labels int64), the classes by turns; the last 64 are for
    calibration.
    """
    rng, labels = np.random.default_rng(1), np.arange(VAL + TEST + CALIBRATION) % 4
    colours = np.array([[130, 130, 180], [130, 180, 130], [130, 130, 130], [180, 130, 130]])
    light = rng.uniform(0.7, 1.3, (len(labels), 1, 1, 1))
    noisy = colours[labels][:, None, None] * light + rng.normal(0, 60, (len(labels), 16, 16, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8), labels.astype(np.int64)


def that_tells_colours(scaled: np.ndarray, labels: np.ndarray):
    """A Keras network with an h-swish, a gate and a shortcut, whose last layer is solved by least squares.

    scaled: float32 (N, 16, 16, 3), values -1..1. labels: int (N,), 0 to 3.
    """
    import keras

    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((16, 16, 3), name="image")
    x = keras.layers.Conv2D(
        12, 3, strides=2, padding="same", activation="hard_swish", bias_initializer="normal", name="stem"
    )(x)
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True, name="pool")(x)
    gate = keras.layers.Conv2D(12, 1, activation="relu", name="gate")(gate)
    x = keras.layers.Multiply(name="scale")([x, gate])
    y = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu", name="depth")(x)
    x = keras.layers.Add(name="sum")([x, y])
    features = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    model = keras.Model(inputs, keras.layers.Dense(4, name="logits")(features), name="colours")
    made = np.asarray(keras.Model(inputs, features)(scaled))
    solved, *_ = np.linalg.lstsq(np.c_[made, np.ones(len(made))], 8.0 * np.eye(4)[labels] - 2, rcond=None)
    model.get_layer("logits").set_weights([solved[:-1], solved[-1]])
    return model


@functools.cache
def networks() -> dict[str, bytes]:
    """TFLite files: float; plain, for the second road; int8 (in and out); cut: with an operator before its
    last layer that the double's parser refuses.
    """
    import keras
    import tensorflow as tf
    from tensorflow.lite.tools import flatbuffer_utils

    from fer_hailo.training.convert.second_road import write_plainly
    from fer_hailo.training.convert.tflite import name_tensors, to_tflite

    images, labels = pictures()
    scaled = images.astype(np.float32) / 127.5 - 1
    model = that_tells_colours(scaled, labels)
    inputs, features = model.input, model.get_layer("head_pool").output
    strange = keras.layers.Dense(4, name="logits")(
        keras.layers.Activation("exponential", name="strange")(features)
    )
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in scaled[-CALIBRATION:])
    converter.inference_input_type = converter.inference_output_type = tf.int8
    quantized = flatbuffer_utils.convert_bytearray_to_object(bytearray(converter.convert()))
    name_tensors(quantized, model)  # as the float file's are, so that layers can be compared
    int8 = bytes(flatbuffer_utils.convert_object_to_bytearray(quantized))
    float32 = to_tflite(model)
    return {
        "float": float32,
        "plain": write_plainly(float32),
        "int8": int8,
        "cut": to_tflite(keras.Model(inputs, strange, name="colours")),
    }


def interpreted(content: bytes, images: np.ndarray) -> np.ndarray:
    """Logits of a TFLite file for images, by TensorFlow's interpreter and nothing of ours."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (source,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for image in images:
        values = (image.astype(np.float32) - np.float32(127.5)) / np.float32(127.5)
        if source["dtype"] is np.int8:
            # One level is one step (2 / 255), but half a step off, so that it is rounded up.
            values = np.clip(image.astype(int) - 127 + source["quantization"][1], -128, 127).astype(np.int8)
        interpreter.set_tensor(source["index"], values[None])
        interpreter.invoke()
        row = interpreter.get_tensor(answer["index"])[0].astype(np.float32)
        rows.append(
            (row - answer["quantization"][1]) * answer["quantization"][0]
            if source["dtype"] is np.int8
            else row
        )
    return np.stack(rows)


def accuracies(logits: np.ndarray) -> dict[str, float]:
    """Share of right predictions on the images for validation and for test; logits: of both, in this
    order.
    """
    right = logits.argmax(1) == pictures()[1][: len(logits)]
    return {"val": right[:VAL].mean(), "test": right[VAL:].mean()}


def write_bundle(
    folder: Path,
    float32: str = "float",
    int8: str = "int8",
    plain: str = "plain",
    names=NAMES,
    script=SCRIPT,
    calibration=None,
    **manifest,
) -> Path:
    """A sealed bundle. float32, int8, plain: keys of `networks`; the rest replaces what is right."""
    images, labels = pictures()
    folder.mkdir(parents=True)
    for name, key in ((parts.FLOAT, float32), (parts.PRIMITIVE, plain), (parts.INT8, int8)):
        (folder / name).write_bytes(networks()[key])
    np.save(folder / parts.CALIBRATION, images[-CALIBRATION:] if calibration is None else calibration)
    seen = images[:-CALIBRATION], labels[:-CALIBRATION], np.array(["val"] * VAL + ["test"] * TEST)
    logits = interpreted(networks()[float32], seen[0])
    evaluation = parts.EvalSet(*seen, logits)
    np.savez_compressed(folder / parts.EVALUATION, **vars(evaluation))
    (folder / parts.LABELS).write_text("\n".join(names) + "\n")
    (folder / parts.SCRIPT).write_text(script)
    write_program(folder / parts.PROGRAM)
    reference = {}
    for split in ("val", "test"):
        side = evaluation.take(seen[2] == split)
        reference[split] = compute_metrics(
            softmax(side.logits), side.labels, NAMES, data="colours", split=split, sha256=side.sha256()
        )
    right = Manifest(
        name="handmade", arch="colours", seed=7, data=Data("colours", ""), labels=tuple(names),
        preprocess=SPEC,
        calibration=Calibration(CALIBRATION, (CALIBRATION // 4,) * 4),
        network=Network.of(read_tflite(folder / parts.FLOAT)),
        confidence=Confidence(), metrics={"keras": reference}, environment={"git_commit": "0123abc"},
    )  # fmt: skip
    parts.seal(folder, right)
    if manifest:
        reseal(folder, **manifest)
    return folder


def reseal(folder: Path, **changes) -> None:
    """Seal a changed bundle again, so that all its digests are right, whatever the manifest then says."""
    content = json.loads((folder / parts.MANIFEST).read_text()) | changes
    del content["sha256"]
    held = {
        name: (folder / name).read_bytes()
        for name in content["files"]
        if name not in content.get("without", {})
    }
    content["files"] = {
        name: {"sha256": hashlib.sha256(file).hexdigest(), "size": len(file)} for name, file in held.items()
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (folder / parts.MANIFEST).write_text(json.dumps(content | {"sha256": digest}))


def compile_hef(
    *arguments, cwd: Path, before: str = "", sdk: bool = True, **switches
) -> subprocess.CompletedProcess:
    """Run compile_hef.py as a user does, with the double of the SDK. before: Python to run first; switches:
    faults of the double.
    """
    code = f"{before}\nimport sys, compile_hef\nsys.exit(compile_hef.run(compile_hef.main, sys.argv[1:]))"
    program = ["-c", code] if before else [ROOT / "compile_hef.py"]
    return subprocess.run(
        [sys.executable, *map(str, program), *map(str, arguments)],
        cwd=cwd,
        env=environment(ROOT, sdk, **switches),
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip


def environment(root: Path | None, sdk: bool = True, **switches) -> dict[str, str]:
    """The environment of such a run, with the double or without."""
    places = ([str(root)] if root else []) + ([str(ROOT / "doubles" / "sdk")] if sdk else [])
    return os.environ | {"PYTHONPATH": os.pathsep.join(places), "FER_HAILO_SDK_DOUBLE": json.dumps(switches)}
