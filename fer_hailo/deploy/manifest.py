"""manifest.json: what a deploy bundle says of itself.

Standard library only, but for the records of other modules.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fer_hailo.common.confidence import Confidence
from fer_hailo.common.files import to_json
from fer_hailo.common.metrics import Scores, scores_from_dict, scores_to_dict
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.deploy.selection import Selection
from fer_hailo.formats.tflite import Layer, Tflite

SCHEMA = 1


@dataclass(frozen=True)
class File:
    """SHA-256, hexadecimal; size in bytes."""

    sha256: str
    size: int

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> File:
        return File(str(values["sha256"]), int(values["size"]))


@dataclass(frozen=True)
class Data:
    """What it was trained on: a name for people, and the key of fer_hailo.training.data.cache."""

    name: str
    key: str

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Data:
        return Data(str(values["name"]), str(values["key"]))


@dataclass(frozen=True)
class Calibration:
    """Images of the calibration set, in all and of each class."""

    count: int
    per_class: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"count": self.count, "per_class": list(self.per_class)}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Calibration:
        return Calibration(int(values["count"]), tuple(map(int, values["per_class"])))


@dataclass(frozen=True)
class Network:
    """Shapes of the float TFLite's input and output, its sizes and its layers."""

    input: tuple[int, ...]
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    layers: tuple[Layer, ...]

    @staticmethod
    def of(network: Tflite) -> Network:
        shapes = network.input.shape, network.output.shape
        return Network(*shapes, network.parameters, network.multiply_adds, network.layers)

    def to_dict(self) -> dict[str, Any]:
        shapes = {"input": list(self.input), "output": list(self.output)}
        return vars(self) | shapes | {"layers": [layer.to_dict() for layer in self.layers]}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Network:
        return Network(
            tuple(map(int, values["input"])),
            tuple(map(int, values["output"])),
            int(values["parameters"]),
            int(values["multiply_adds"]),
            tuple(Layer.from_dict(layer) for layer in values["layers"]),
        )


@dataclass(frozen=True)
class Manifest:
    """name: of the run that the bundle came from. seed: "" where it is not known. confidence: None in a
    bundle of before.

    metrics: of the stages that the training machine scored. environment: as fer_hailo.common.runs.environment
    gives it. without: why an optional file is not in the bundle, by its name. selection: of a network that
    was trained on all of train. files: by name; `seal` (fer_hailo.deploy.bundle) fills them in.
    """

    name: str
    arch: str
    seed: int | str
    data: Data
    labels: tuple[str, ...]
    preprocess: PreprocessSpec
    calibration: Calibration
    network: Network
    confidence: Confidence | None
    metrics: Scores
    environment: dict[str, Any]
    without: dict[str, str] = field(default_factory=dict)
    selection: Selection | None = None
    files: dict[str, File] = field(default_factory=dict)

    @property
    def commit(self) -> str:
        """Of the checkout that made the bundle; empty where there was none."""
        return str(self.environment.get("git_commit", ""))

    @property
    def digests(self) -> dict[str, str]:
        """What names the images of each split, the same on every machine."""
        return {split: metrics.sha256 for split, metrics in self.metrics["keras"].items()}

    @property
    def selected_by(self) -> str:
        """The validated run whose settings it repeats on all of train; empty where it has a validation side
        of its own.
        """
        return self.selection.name if self.selection else ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the digest over them (`own_sha256`)."""
        values = {
            "schema": SCHEMA,
            "name": self.name,
            "arch": self.arch,
            "seed": self.seed,
            "data": asdict(self.data),
            "labels": list(self.labels),
            "preprocess": self.preprocess.to_dict(),
            "calibration": self.calibration.to_dict(),
            "network": self.network.to_dict(),
            "confidence": self.confidence.to_dict() if self.confidence else None,
            "metrics": scores_to_dict(self.metrics),
            "environment": self.environment,
            "files": {name: asdict(file) for name, file in self.files.items()},
        }
        values |= {"without": self.without} if self.without else {}
        return values | ({"selection": self.selection.to_dict()} if self.selection else {})

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Manifest:
        """Raises AttributeError, KeyError, TypeError or ValueError where `values` are none."""
        confidence, selection = values.get("confidence"), values.get("selection")
        return Manifest(
            name=str(values["name"]),
            arch=str(values["arch"]),
            seed=values["seed"],
            data=Data.from_dict(values["data"]),
            labels=labels_of(values),
            preprocess=PreprocessSpec(**values["preprocess"]),
            calibration=Calibration.from_dict(values["calibration"]),
            network=Network.from_dict(values["network"]),
            confidence=None if confidence is None else Confidence(**confidence),
            metrics=scores_from_dict(values["metrics"]),
            environment=dict(values["environment"]),
            without=dict(values.get("without", {})),
            selection=None if selection is None else Selection.from_dict(selection),
            files={name: File.from_dict(file) for name, file in values["files"].items()},
        )


def labels_of(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The class names that a manifest states. Raises KeyError or TypeError where it states none."""
    labels = values["labels"]
    if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
        raise TypeError("its labels are no list of names")
    return tuple(labels)


def own_sha256(content: Mapping[str, Any]) -> str:
    """The digest that a manifest holds of all else in it, however it is laid out."""
    return hashlib.sha256(to_json(content, sort_keys=True).encode()).hexdigest()
