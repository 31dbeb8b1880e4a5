"""One interface to a classifier, whatever file it comes in: .keras, .tflite or .hef."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

import numpy as np

from fer_hailo.calls import call, install
from fer_hailo.cli import nearest
from fer_hailo.confidence import PLAIN, Confidence, read_confidence
from fer_hailo.errors import UserError
from fer_hailo.hailo.bundle import FLOAT, MANIFEST, bundle_near, file_sha256
from fer_hailo.preprocess import PreprocessSpec
from fer_hailo.released import place, released
from fer_hailo.runs import CONFIG, LABELS, MODEL, RUNS, newest_run, read_labels

IN_FOLDER = ("model.hef", FLOAT, f"deploy/{FLOAT}", MODEL)  # of a compilation, a bundle, a converted run, a run
KINDS = (".keras", ".tflite", ".hef")


class Backend(Protocol):
    """What runs a network. stage: keras, tflite, tflite-int8 or hef, as in results.csv."""

    stage: str

    def logits(self, images: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
        """uint8 (N, I, I, 3) RGB as `prepare` makes them, N >= 1, to float32 (N, C)."""

    def close(self) -> None:
        """Give back what the network holds (a device)."""


class Predictor:
    """A classifier of prepared faces, for `with`.

    path: the model file. labels: class names in the order of the outputs. spec: how faces are prepared. confidence: how its
    logits become probabilities. One thread at a time.
    """

    def __init__(self, path: Path, backend: Backend, labels: tuple[str, ...], spec: PreprocessSpec, confidence: Confidence = PLAIN):
        self.path, self.backend, self.labels, self.spec, self.confidence = path, backend, labels, spec, confidence

    @property
    def stage(self) -> str:
        return self.backend.stage

    def logits(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, I, I, 3) RGB, values 0..255 as `prepare` makes them, to float32 (N, C). Raises ValueError for anything else."""
        side = self.spec.input_size
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (side, side, 3):
            raise ValueError(f"pictures must be uint8 (N, {side}, {side}, 3), got {images.dtype} {images.shape}")
        if not len(images):
            return np.empty((0, len(self.labels)), np.float32)
        return self.backend.logits(np.ascontiguousarray(images), self.spec)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """As `logits`, to probabilities float64 (N, C)."""
        return self.confidence.probabilities(self.logits(images))

    def close(self) -> None:
        self.backend.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *problem) -> None:
        self.close()


def load(path: Path | str, threads: int = 1, batch: int = 8) -> Predictor:
    """Open a model file. threads: of the CPU, for TFLite. batch: pictures that a Hailo device takes at once.

    Labels and preprocessing come from the files that lie with the model (`describe`). Raises UserError where something is missing
    or does not fit, before a device is touched.
    """
    path = Path(path)
    labels, spec = describe(path)
    confidence = read_confidence(path) or PLAIN
    if path.suffix == ".tflite":
        from fer_hailo.hailo.bundle import check_network
        from fer_hailo.hailo.tflite import read_tflite
        from fer_hailo.litert import LiteRT

        check_network(read_tflite(path), path, spec, labels)
        backend = LiteRT(path, threads)
    elif path.suffix == ".hef":
        from fer_hailo.runtime.hailort import HailoRT

        backend = HailoRT(path, spec, labels, batch)
    else:
        from fer_hailo.runtime.keras_model import KerasModel

        backend = KerasModel(path, spec, labels)
    return Predictor(path, backend, labels, spec, confidence)


def find_model(name: str | None = None) -> Path:
    """The model file that a user means: a file, one in a folder, by default the newest complete run's or the released one.

    name: a path, or released:NAME. In a folder it is the first of IN_FOLDER. Raises UserError where there is none.
    """
    if name is None:
        try:
            return find_model(str(newest_run(done=True)))
        except UserError:
            if released().is_dir():
                return find_model(str(released()))
            raise UserError(f"no model: {RUNS} holds no complete run; name a model with --model, or train one ({call('train')})") from None
    path = place(name)
    if path.is_dir():
        found = [path / inside for inside in IN_FOLDER if (path / inside).is_file()]
        if not found:
            raise UserError(f"no model in {path}: it has none of {', '.join(IN_FOLDER)}")
        return found[0]
    if not path.is_file():
        raise UserError(f"no model at {path}{nearest(path, path.parent.glob('*')) if path.parent.is_dir() else ''}")
    return path


def describe(path: Path | str) -> tuple[tuple[str, ...], PreprocessSpec]:
    """Labels and preprocessing of a model file: from the manifest.json beside it or one folder up, else its run's config.yaml.

    Raises UserError where it is no model, neither is there, or model, labels.txt and manifest do not belong together.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no model at {path}")
    if path.suffix not in KINDS:
        raise UserError(f"{path} is no model: {', '.join(KINDS)} files are")
    if folder := bundle_near(path):
        return _from_manifest(path, folder)
    if (path.parent / CONFIG).is_file():
        from fer_hailo.config import load_config

        try:
            config = load_config(path.parent / CONFIG)
        except ImportError as error:
            raise UserError(
                f"{path.parent / CONFIG}, which tells its labels, cannot be read ({error}): {install('train')}, or use "
                "a .tflite of a deploy folder"
            ) from None
        labels = read_labels(path.parent / LABELS) if (path.parent / LABELS).is_file() else config.classes
        return labels, config.preprocess
    raise UserError(
        f"no {MANIFEST} beside {path} nor one folder up, which tells labels and preprocessing: keep the model in the folder "
        "that it was made in (copy deploy/ as a whole)"
    )


def _from_manifest(path: Path, folder: Path) -> tuple[tuple[str, ...], PreprocessSpec]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        labels, spec = tuple(manifest["labels"]), PreprocessSpec(**manifest["preprocess"])
        files = manifest["files"]
        digest = files[path.name]["sha256"] if folder == path.parent and path.name in files else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
        raise UserError(f"{folder / MANIFEST} does not tell labels and preprocessing ({reason}): copy its folder again") from None
    if digest and digest != file_sha256(path):
        raise UserError(f"{path} is not the file that {folder / MANIFEST} describes (its SHA-256 differs): copy the folder again")
    if (folder / LABELS).is_file() and read_labels(folder / LABELS) != labels:
        raise UserError(f"{folder / LABELS} and {MANIFEST} name different classes: copy the folder again")
    return labels, spec
