"""The deploy bundle: what the training machine hands to the SDK machine and the board, checked whenever it is
opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
from collections.abc import Callable, Container
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from fer_hailo.common.arrays import map_array
from fer_hailo.common.calls import call, tool
from fer_hailo.common.errors import UserError, one_line
from fer_hailo.common.files import write_json
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.common.reading import reading
from fer_hailo.common.runs import LABELS, RUNS, read_labels
from fer_hailo.deploy.manifest import SCHEMA, File, Manifest, own_sha256
from fer_hailo.formats.tflite import Tflite, read_tflite, warn_of_float_layers

MANIFEST, CALIBRATION = "manifest.json", "calib_set.npy"
FLOAT, PRIMITIVE, INT8 = "model_float32.tflite", "model_float32_primitive.tflite", "model_int8.tflite"
EVALUATION, SCRIPT, PROGRAM = "eval_set.npz", "model.alls", "compile_hef.pyz"
FILES = (FLOAT, PRIMITIVE, INT8, CALIBRATION, EVALUATION, LABELS, SCRIPT, PROGRAM)
OPTIONAL = (PRIMITIVE, INT8)
AGAIN = f"copy the bundle again, or make a new one with {tool('convert')}"


@dataclass(frozen=True)
class EvalSet:
    """Prepared images: images uint8 (N, I, I, 3) RGB, labels int64 (N,), split str (N,) of "val" or "test",
    and the float TFLite's logits float32 (N, C), by which a fault of the parse shows on the first images.
    """

    images: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    logits: np.ndarray

    def take(self, chosen: np.ndarray) -> EvalSet:
        """The images that a mask or an index chooses."""
        return EvalSet(self.images[chosen], self.labels[chosen], self.split[chosen], self.logits[chosen])

    def quick(self, count: int, seed: int = 0) -> EvalSet:
        """The images that `sample` chooses."""
        return self.take(self.sample(count, seed))

    def sample(self, count: int, seed: int = 0) -> np.ndarray:
        """Places of about `count` images of each split, chosen by chance, each class in its share and with
        one image at least.
        """
        rng, chosen = np.random.default_rng(seed), []
        for split in np.unique(self.split):
            side = np.flatnonzero(self.split == split)
            for label in np.unique(self.labels[side]):
                own = rng.permutation(side[self.labels[side] == label])
                chosen.append(own[: max(1, round(count * len(own) / len(side)))])
        return np.sort(np.concatenate(chosen))

    def sha256(self) -> str:
        return hashlib.sha256(self.images.tobytes() + self.labels.astype("<i8").tobytes()).hexdigest()


@dataclass(frozen=True)
class Bundle:
    """An opened and checked bundle. digest: SHA-256 of its manifest, which names every other file's."""

    folder: Path
    manifest: Manifest
    network: Tflite
    digest: str

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def spec(self) -> PreprocessSpec:
        return self.manifest.preprocess

    @property
    def labels(self) -> tuple[str, ...]:
        return self.manifest.labels

    @property
    def int8(self) -> Path | None:
        """The INT8 TFLite; None where the network has layers without INT8 kernels (`manifest.without` names
        them).
        """
        return self.folder / INT8 if INT8 in self.manifest.files else None

    @property
    def roads(self) -> tuple[Path, ...]:
        """The float TFLite files that the parser may be given, in this order: the network, and the same in
        plain operators where the bundle has that.
        """
        return tuple(self.folder / name for name in (FLOAT, PRIMITIVE) if name in self.manifest.files)

    def calibration(self) -> np.ndarray:
        """uint8 (N, I, I, 3)."""
        path = self.folder / CALIBRATION
        with reading(path, "cannot be read as calibration images", AGAIN):
            return np.load(path, allow_pickle=False)

    def evaluation(self) -> EvalSet:
        path = self.folder / EVALUATION
        with reading(path, "is damaged", AGAIN), np.load(path, allow_pickle=False) as file:
            return EvalSet(*(file[field.name] for field in fields(EvalSet)))


def files_of(without: Container[str]) -> list[str]:
    """Names of the files that a bundle consists of, beside its manifest.

    The INT8 network and the plain one may be missing with a reason.
    """
    return [name for name in FILES if name not in OPTIONAL or name not in without]


def seal(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, with digests and sizes, of a folder that holds all files of a bundle."""
    paths = {name: folder / name for name in files_of(manifest.without)}
    files = {name: File(file_sha256(path), path.stat().st_size) for name, path in paths.items()}
    content = replace(manifest, files=files).to_dict()
    write_json(folder / MANIFEST, content | {"sha256": own_sha256(content)})


def load_bundle(folder: Path | str) -> Bundle:
    """Open a bundle.

    Raises UserError, with the file and the reason, where anything in it is not as it was made.
    """
    folder = Path(folder)
    if folder.is_file():
        raise UserError(f"{folder} is a file, and a deploy bundle is a folder: {_instead_of(folder)}")
    if not (folder / MANIFEST).is_file():
        inside = folder / "deploy"
        what = (
            f"did you mean {inside}?" if (inside / MANIFEST).is_file() else f"make one with {tool('convert')}"
        )
        raise UserError(f"no deploy bundle at {folder} (it has no {MANIFEST}): {what}")
    if not any((folder / name).is_file() for name in (CALIBRATION, EVALUATION, PROGRAM)):
        raise UserError(f"{folder} is no deploy bundle: make one with {call('convert')} {folder}")
    text = (folder / MANIFEST).read_bytes()
    manifest = _manifest(folder, text)
    spec, labels = manifest.preprocess, manifest.labels
    older = set() if PRIMITIVE in manifest.files else {PRIMITIVE}  # older bundles know of none
    names = files_of(older.union(manifest.without))
    unknown = [name for name in names if name not in manifest.files]
    if unknown:
        raise UserError(f"{folder / MANIFEST} has no digest of {unknown[0]}: {AGAIN}")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder} lacks {', '.join(missing)}: {AGAIN}")
    checks: dict[str, Callable[[Path], None]] = {
        FLOAT: lambda path: _check_float(path, spec, labels),
        PRIMITIVE: lambda path: _check_float(path, spec, labels),
        INT8: lambda path: _check_int8(path),
        CALIBRATION: lambda path: _check_calibration(path, spec),
        EVALUATION: lambda path: _check_evaluation(path, spec, labels),
        LABELS: lambda path: _check_labels(path, labels),
    }
    for name in names:
        if file_sha256(folder / name) != manifest.files[name].sha256:
            checks.get(name, lambda path: None)(folder / name)  # says what is wrong where that can be told
            own = ", or leave it as it was, and name a script of your own with --alls" * (name == SCRIPT)
            raise UserError(
                f"{folder / name} is not the file that the bundle was made with (its SHA-256 differs): "
                f"{AGAIN}{own}"
            )
    for name in names:
        checks.get(name, lambda path: None)(folder / name)
    return Bundle(folder, manifest, read_tflite(folder / FLOAT), hashlib.sha256(text).hexdigest())


def _instead_of(file: Path) -> str:
    """What a user may have wanted who gave this file in place of a bundle."""
    if file.suffix in (".hef", ".har"):
        return f"{call('compile')} --inspect {file} tells what is in it"
    if file.suffix in (".keras", ".h5", ".hdf5"):
        return f"make one with {call('convert')} {file}"
    return f"make one of the model's Keras file with {tool('convert')}"


def newest_bundle(parent: Path = RUNS) -> Path:
    """The bundle in the current folder, else the one of a run in `parent` that was made last.

    Raises UserError if there is none.
    """
    if Path(MANIFEST).is_file():
        return Path(".")
    found = sorted(parent.glob(f"*/deploy/{MANIFEST}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UserError(
            f"no deploy bundle here nor in {parent}: make one with {call('convert')}, or name its folder"
        )
    return found[-1].parent


def _manifest(folder: Path, text: bytes) -> Manifest:
    path = folder / MANIFEST
    with _reading(path):
        content = json.loads(text)
        schema, digest = content["schema"], content.pop("sha256", None)
    if schema != SCHEMA:
        raise UserError(
            f"{folder} is a bundle of version {schema!r:.40}, this program reads version {SCHEMA}: use the "
            f"{PROGRAM} in it"
        )
    if digest != own_sha256(content):
        raise UserError(
            f"{path} was changed since the bundle was made (its own SHA-256 does not fit): {AGAIN}"
        )
    with _reading(path):
        try:
            PreprocessSpec(**content["preprocess"])
        except TypeError as error:
            raise UserError(
                f"{path} describes a preprocessing that this version does not know "
                f"({one_line(error, 120)}): {AGAIN}"
            ) from None
        return Manifest.from_dict(content)


def _reading(path: Path) -> contextlib.AbstractContextManager[None]:
    return reading(path, "cannot be read as the manifest of a bundle", AGAIN)


def _check_float(path: Path, spec: PreprocessSpec, labels: tuple[str, ...]) -> None:
    network = read_tflite(path)
    if network.input.dtype != "float32":
        raise UserError(
            f"{path} takes {network.input.dtype}: it is a quantized network, and the Dataflow Compiler "
            f"parses the float32 one; {AGAIN}"
        )
    check_network(network, path, spec, labels)


def check_network(network: Tflite, path: Path, spec: PreprocessSpec, labels: tuple[str, ...]) -> None:
    """Raise UserError where a network's input is not what `spec` makes, or its outputs are not one for each
    label.

    What is opened to be used passes here, so a quantized network with float layers is warned of, too.
    """
    wanted = (1, spec.input_size, spec.input_size, 3)
    if network.input.shape != wanted:
        raise UserError(
            f"{path} takes an input of shape {network.input.shape}, the preprocessing makes {wanted}: {AGAIN}"
        )
    if network.output.shape[-1:] != (len(labels),):
        count = network.output.shape[-1] if network.output.shape else "no"
        raise UserError(
            f"{path} tells {count} classes apart, labels.txt names {len(labels)} ({_listed(labels)}): {AGAIN}"
        )
    warn_of_float_layers(path, network)


def _check_int8(path: Path) -> None:
    network = read_tflite(path)
    if network.input.dtype != "int8":
        raise UserError(f"{path} takes {network.input.dtype} instead of int8: {AGAIN}")
    warn_of_float_layers(path, network)


def _check_calibration(path: Path, spec: PreprocessSpec) -> None:
    try:
        images = map_array(path)
    except Exception as error:  # NumPy raises whatever a damaged header leads it to
        raise UserError(f"{path} is no NumPy array ({one_line(error, 80)}): {AGAIN}") from None
    check_pictures(images, path, spec)


def check_pictures(images: np.ndarray, path: Path, spec: PreprocessSpec) -> None:
    """Raise UserError where images are not uint8 (N, I, I, 3), naming normalised ones as what they are."""
    if images.dtype != np.uint8:
        low, high = (
            (float(images.min()), float(images.max()))
            if images.size and images.dtype.kind in "fiu"
            else (0, 0)
        )
        normalised = " (normalised already)" if images.dtype.kind == "f" and low >= -8 and high <= 8 else ""
        raise UserError(
            f"{path} holds {images.dtype} from {low:g} to {high:g}{normalised}: calibration takes the bytes "
            "0..255, "
            f"since the model script normalises on the chip; {AGAIN}"
        )
    if images.ndim != 4 or images.shape[1:] != (spec.input_size, spec.input_size, 3) or not len(images):
        raise UserError(
            f"{path} has the shape {images.shape}, not (images, {spec.input_size}, {spec.input_size}, 3): "
            f"{AGAIN}"
        )


def write_evaluation(path: Path, pictures: EvalSet) -> None:
    """Write an evaluation set, compressed: at this level in a fifth of the time that numpy's own takes, for a
    seventh more bytes (6,317 images of 160 px).
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=2) as archive:
        for name, values in vars(pictures).items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, values, allow_pickle=False)


def _check_evaluation(path: Path, spec: PreprocessSpec, labels: tuple[str, ...]) -> None:
    try:
        with np.load(path) as file:
            # The images themselves are many: their header is enough, the manifest holds their digest.
            truth, split, logits = file["labels"], file["split"], file["logits"]
            with zipfile.ZipFile(path) as archive, archive.open("images.npy") as images:
                np.lib.format.read_magic(images)
                shape, _, dtype = np.lib.format.read_array_header_1_0(images)
    except Exception as error:  # as above
        raise UserError(f"{path} is no evaluation set ({one_line(error, 80)}): {AGAIN}") from None
    if (
        dtype != np.uint8
        or shape != (len(truth), spec.input_size, spec.input_size, 3)
        or len(split) != len(truth)
        or len(logits) != len(truth)
    ):
        raise UserError(f"{path} holds {dtype} images of shape {shape} for {len(truth)} labels: {AGAIN}")
    kinds = (truth.dtype.kind, split.dtype.kind, logits.dtype.kind)
    if truth.ndim != 1 or split.ndim != 1 or kinds[0] not in "iu" or kinds[1:] != ("U", "f"):
        raise UserError(f"{path} holds labels, splits and logits of the wrong kind: {AGAIN}")
    if logits.shape != (len(truth), len(labels)) or not np.isfinite(logits).all():
        raise UserError(
            f"{path} holds logits of shape {logits.shape}, which must be ({len(truth)}, {len(labels)}) and "
            f"finite: {AGAIN}"
        )
    if len(truth) == 0 or truth.min() < 0 or truth.max() >= len(labels):
        raise UserError(f"{path} holds labels that do not fit the {len(labels)} classes: {AGAIN}")


def _check_labels(path: Path, labels: tuple[str, ...]) -> None:
    if read_labels(path) != labels:
        raise UserError(
            f"{path} names {_listed(read_labels(path))}, the network was trained on {_listed(labels)}: "
            f"{AGAIN}"
        )


def _listed(labels: tuple[str, ...]) -> str:
    """In a part of a line: what a damaged file calls labels may be long."""
    return one_line(", ".join(labels), 200)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
