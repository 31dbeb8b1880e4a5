"""A model with its state, and its file: a HAR, a tar whose members are named after the net.

Beside the SDK's own members stand the TFLite networks that the double infers with (N.double.tflite,
N.double.q.tflite).
"""

from __future__ import annotations

import copy
import io
import json
import tarfile
import time
from dataclasses import dataclass, field

import numpy as np
from hailo_sdk_client.exposed_definitions import States
from hailo_sdk_client.sdk_backend import emulator
from hailo_sdk_client.sdk_backend.script import Settings, read_script


@dataclass
class Model:
    """native: the TFLite as parsed; quantized: its rounded twin. native_hn: the HN before any script.

    script: the one that is loaded; applied: the one that was optimized with. input_range: of the images
    calibrated on, in their own domain. output_ranges: of the outputs' tensors.
    """

    hw_arch: str
    state: States = States.UNINITIALIZED
    name: str = ""
    native: bytes = b""
    quantized: bytes = b""
    native_hn: dict = field(default_factory=dict)
    script: str = ""
    applied: str = ""
    input_range: tuple[float, float] = (0.0, 255.0)
    output_ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    level: int = 0  # those that took effect
    compression: int = 0

    @property
    def settings(self) -> Settings:
        """Those of the script that was optimized with."""
        return read_script(self.applied, self.native_hn)

    @property
    def hn(self) -> dict:
        """With the layer that the script adds after the input."""
        hn, settings = copy.deepcopy(self.native_hn), self.settings
        if not settings.normalization:
            return hn
        input_name, *others = hn["layers"]
        first = hn["layers"][input_name]
        added = f"{self.name}/{settings.normalization_name}"
        for name in first["output"]:
            inputs = hn["layers"][name]["input"]
            inputs[inputs.index(input_name)] = added
        shapes = first["output_shapes"]
        normalization = {
            "type": "normalization", "input": [input_name], "output": first["output"], "input_shapes": shapes,
            "output_shapes": shapes,
            "original_names": [f"model_script_layer_{settings.normalization_name}"], "params": {},
        }  # fmt: skip
        hn["layers"] = {input_name: first | {"output": [added]}, added: normalization} | {
            name: hn["layers"][name] for name in others
        }
        return hn

    def params(self) -> dict[str, np.ndarray]:
        return emulator.params(self.quantized or self.native, self.native_hn)


def save(path, model: Model, sdk_version: str) -> None:
    name = model.name
    metadata = {
        "state": model.state.value, "hn": f"{name}.hn", "sdk_version": sdk_version, "hw_arch": model.hw_arch,
        "model_name": name, "script": model.script, "applied": model.applied,
        "input_range": model.input_range, "output_ranges": model.output_ranges,
    }  # fmt: skip
    members = {
        "metadata.json": _json(metadata),
        "hn": _json(model.hn),
        "native.hn": _json(model.native_hn),
        "npz": _npz(emulator.params(model.native, model.native_hn)),
        "double.tflite": model.native,
    }
    if model.state is not States.HAILO_MODEL:
        members |= {"fp.hn": _json(model.hn), "fpo.npz": members["npz"]}
    if model.quantized:
        metadata["mo_flavor"] = {"optimization_level": model.level, "compression_level": model.compression}
        members["metadata.json"] = _json(metadata)
        members["alls"] = model.applied.encode()
        members |= {"q.npz": _npz(model.params()), "double.q.tflite": model.quantized}
    with tarfile.open(path, "w") as archive:
        for suffix, content in members.items():
            member = tarfile.TarInfo(f"{name}.{suffix}")
            member.size, member.mtime = len(content), int(time.time())
            archive.addfile(member, io.BytesIO(content))


def load(path) -> Model:
    with tarfile.open(path) as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}
    metadata = json.loads(
        next(content for name, content in members.items() if name.endswith(".metadata.json"))
    )
    name = metadata["model_name"]
    return Model(
        metadata["hw_arch"], States(metadata["state"]), name,
        members[f"{name}.double.tflite"], members.get(f"{name}.double.q.tflite",
        b""),
        json.loads(members[f"{name}.native.hn"]),
        metadata["script"], metadata["applied"], tuple(metadata["input_range"]), metadata["output_ranges"],
    )  # fmt: skip


def _json(value) -> bytes:
    return json.dumps(value).encode()


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()
