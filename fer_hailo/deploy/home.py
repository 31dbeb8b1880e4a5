"""What a model file is and what belongs to it: the one answer, for every command and every machine.

`resolve` finds the file. The Home that it returns says where the file lies, and reads what lies with it when
that is asked for. Numpy and the standard library are enough, but for a config.yaml: reading one needs yaml.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fer_hailo.common.calls import call, install
from fer_hailo.common.classes import same_classes
from fer_hailo.common.cli import nearest
from fer_hailo.common.confidence import Confidence
from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.common.reading import read_json, reading
from fer_hailo.common.released import absent, place, released, shown
from fer_hailo.common.runs import (
    CONFIDENCE,
    CONFIG,
    ENVIRONMENT,
    LABELS,
    MODEL,
    RUNS,
    SYNTHETIC,
    beside,
    data_key,
    learnt_drawn,
    newest_run,
    read_labels,
)
from fer_hailo.deploy.bundle import FLOAT, MANIFEST, file_sha256
from fer_hailo.deploy.manifest import labels_of

if TYPE_CHECKING:
    from fer_hailo.common.config import Config

DRAWN = "learnt drawn faces (the synthetic sample set): what it answers says nothing about photographs"
PREPARED_BY = ("source_size", "input_size", "color")  # fields of a configuration that a converted model fixes


class Format(Enum):
    """What a model file is, by its suffix."""

    KERAS = ".keras"
    TFLITE = ".tflite"
    HEF = ".hef"
    CHECKPOINT = ".pth"  # PyTorch's weights, of which arch says what network they are

    @classmethod
    def _missing_(cls, value: object) -> Format | None:
        return OTHER_SUFFIXES.get(str(value))

    @property
    def converted(self) -> bool:
        """Whether it was made for a board, with its preprocessing."""
        return self in (Format.TFLITE, Format.HEF)


OTHER_SUFFIXES = {
    ".h5": Format.KERAS,
    ".hdf5": Format.KERAS,
    ".pt": Format.CHECKPOINT,
    ".tar": Format.CHECKPOINT,  # as in model.pth.tar
}


class Use(Enum):
    """What a model is wanted for. In a folder the first of these files that is there is meant."""

    PREDICT = ("model.hef", FLOAT, f"deploy/{FLOAT}", MODEL)  # of a compilation, bundle, converted run, run
    SCORE = (MODEL, "model.hef", FLOAT, f"deploy/{FLOAT}")
    LEARN = (MODEL,)  # to convert it, to join it with others, to teach


class Kind(Enum):
    """Where a model file lies.

    In the folder of a run, with its config.yaml and environment.json; in a deploy bundle, or a folder
    compiled in one; in a released folder, which is a run's with a manifest; or anywhere else.
    """

    RUN = "run"
    BUNDLE = "bundle"
    RELEASED = "released"
    BARE = "bare file"


class Stated(NamedTuple):
    """What the files that lie with a model say of it; None where none of them does."""

    labels: tuple[str, ...] | None
    spec: PreprocessSpec | None


@dataclass(frozen=True)
class Home:
    """A model file and what belongs to it; what is not a field is read when it is first asked for.

    model: the file. format: what it is. manifest: the manifest.json that describes it, a bundle's or a
    release's. run: the folder of the run that it belongs to, or the released one. overrides: {field: value}
    over the configuration of its training, as flags give them. given: replaces what is stated of it.
    """

    model: Path
    format: Format
    manifest: Path | None
    run: Path | None
    overrides: dict = field(default_factory=dict)
    given: Stated | None = None

    @property
    def kind(self) -> Kind:
        if self.manifest is None:
            return Kind.BARE if self.run is None else Kind.RUN
        return Kind.RELEASED if self.manifest.parent == self.run else Kind.BUNDLE

    @property
    def name(self) -> str:
        """Under which its rows of results go: that of the run that it came from, else the file's."""
        if self.manifest:
            with _reading(self.manifest, "its name"):
                return str(read_json(self.manifest).get("name", self.model.stem))
        return self.run.name if self.run else self.model.stem

    @property
    def results(self) -> Path:
        """The results.csv that its rows go to: beside the run folders, or beside a bundle that was copied."""
        folder = self.run or (self.manifest and self.manifest.parent)
        return (beside(folder) if folder else RUNS) / "results.csv"

    @cached_property
    def stated(self) -> Stated:
        """Labels and preprocessing by the manifest, else by labels.txt and config.yaml beside the model.

        Raises UserError where these are damaged, or model, labels.txt and manifest do not belong together.
        """
        if self.given:
            return self.given
        if self.manifest:
            return _by_manifest(self.model, self.manifest)
        path = self.model.parent / LABELS
        labels = read_labels(path) if path.is_file() else None
        if self._settings is None:
            return Stated(labels, None)
        config = _config(self._settings)
        return Stated(labels or config.data.classes, config.preprocess)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the outputs. Raises UserError where nothing states them."""
        return self.stated.labels or self._unknown()

    @property
    def spec(self) -> PreprocessSpec:
        """How faces are prepared for it. Raises UserError where nothing states it."""
        return self.stated.spec or self._unknown()

    @cached_property
    def confidence(self) -> Confidence | None:
        """By the manifest, else by the run's confidence.json; None where nothing is known.

        Raises UserError for a damaged file.
        """
        path = self.manifest or self.model.parent / CONFIDENCE
        if not path.is_file():
            return None
        with _reading(path, "how sure predictions are"):
            content = read_json(path)
            content = content.get("confidence") if self.manifest else content
            return None if content is None else Confidence(**content)

    @cached_property
    def own(self) -> Config | None:
        """The configuration that it was trained with, as its run keeps it; None where no run is known."""
        return _config(self.run / CONFIG) if self.run else None

    @cached_property
    def trained_on(self) -> str | None:
        """The key of the data that its run was trained on; None where that is not known."""
        with contextlib.suppress(UserError):
            return data_key(self.run) if self.run else None
        return None

    @cached_property
    def learnt_drawn(self) -> bool:
        """Whether it learnt drawn faces, by its run or by the manifest; False where neither tells."""
        if not self.manifest:
            return self.run is not None and learnt_drawn(self.run)
        with contextlib.suppress(UserError), _reading(self.manifest, "its data"):
            return bool(read_json(self.manifest)["data"]["name"] == SYNTHETIC)
        return False

    @cached_property
    def config(self) -> Config:
        """The configuration to score or convert it by: its training's, or the defaults, under `overrides`.

        Raises UserError where these ask for other classes than it has, or a converted model for other inputs.
        """
        from fer_hailo.common.config import load_config

        if self.overrides.get("drop"):
            raise UserError("drop is for training: what is scored or converted stays whole, leave it out")
        config = load_config(self._settings, self.overrides)
        # Scoring needs none of these, and its data may be others than were learnt
        config = config.change(extra_classes=(), soft_labels=False, drop="")
        if self.format.converted:
            taken = {name: getattr(self.spec, name) for name in PREPARED_BY}
            for name, value in taken.items():
                if name in self.overrides and config.value(name) != value:
                    raise UserError(f"{self.model} was made for {name} {value}, not {config.value(name)}")
            config = config.change(**taken)
        labels = self.stated.labels or config.data.classes
        if "classes" in self.overrides and not same_classes(config.data.classes, labels):
            raise UserError(
                f"the model's classes are {', '.join(labels)}, not {', '.join(config.data.classes)}"
            )
        return config.change(classes=labels)

    @property
    def order(self) -> tuple[str, ...]:
        """The configuration's classes in the order of the outputs: as stated, else as the flag names them for
        a bare file, else by the alphabet, which is what this program trains.
        """
        given = self.overrides.get("classes") if self.kind is Kind.BARE else None
        if isinstance(given, str):
            given = [name.strip() for name in given.split(",") if name.strip()]
        return self.stated.labels or tuple(given or self.config.data.classes)

    @property
    def _settings(self) -> Path | None:
        """The config.yaml of its training."""
        path = (self.run or self.model.parent) / CONFIG
        return path if path.is_file() else None

    def _unknown(self):
        raise UserError(
            f"no {MANIFEST} beside {self.model} nor one folder up, which tells labels and preprocessing: "
            "keep the model in the folder that it was made in (copy deploy/ as a whole)"
            + ("; a face detector goes after --detector" if self.format is Format.HEF else "")
        )


def resolve(path: Path | str | None = None, use: Use = Use.PREDICT, overrides: dict | None = None) -> Home:
    """The model that a user means by a file, a folder, released:NAME or nothing, with what belongs to it.

    In a folder it is the first file of `use`. Nothing means the newest complete run; to predict, the released
    model where there is none, and no run that learnt drawn faces. Raises UserError where there is no model.
    """
    model = _usual(use) if path is None else _file(place(path), use)
    try:
        format = Format(model.suffix)
    except ValueError:
        known = ", ".join((*(format.value for format in Format), ".h5"))
        raise UserError(f"{model} is no model: {known} files are") from None
    if format is Format.CHECKPOINT and use is Use.PREDICT:
        made = f"{call('convert')} {model} --arch NAME --classes NAMES --data PATH"
        raise UserError(f"{model} holds weights alone, which run nowhere: make a model of them with {made}")
    manifest = _manifest(model, format)
    # A released folder is both; RUN/deploy lies in its run.
    places = (manifest.parent, _named(manifest.parent.parent)) if manifest else (_named(model.parent),)
    run = next((place for place in places if _is_run(place)), None)
    return Home(model, format, manifest, run, overrides or {})


def warn_if_drawn(home: Home) -> None:
    """Say on standard error where a model learnt drawn faces, before anything is made of what it answers."""
    if home.learnt_drawn:
        print(f"warning: {home.model} {DRAWN}", file=sys.stderr, flush=True)


def is_bundle(folder: Path) -> bool:
    """Whether a folder is a deploy bundle, with images to score. A released folder has none."""
    return (folder / MANIFEST).is_file() and not (folder / CONFIG).is_file()


def _is_run(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and (folder / ENVIRONMENT).is_file()


def _usual(use: Use) -> Path:
    """The model file that is meant where none is named."""
    try:
        return _file(newest_run(done=True, real=use is Use.PREDICT), use)
    except UserError:
        if use is not Use.PREDICT:
            raise
    if released().is_dir():
        return _file(released(), use)
    what = f"name a model with --model, or train one ({call('train')})"
    raise UserError(f"no model: {RUNS} holds no complete run; {what}")


def _file(path: Path, use: Use) -> Path:
    """The model file at `path`, or in the folder there."""
    if path.is_dir() and use is Use.LEARN:
        path = path / MODEL
    if path.is_dir():
        found = next((path / name for name in use.value if (path / name).is_file()), None)
        if found is None:
            raise UserError(f"no model in {path}: it has none of {', '.join(use.value)}")
        return found
    if not path.is_file():
        known = path.parent.glob("*") if path.parent.is_dir() else ()
        raise UserError(f"{absent(path)}{nearest(shown(path), map(shown, known))}")
    return path


def _manifest(model: Path, format: Format) -> Path | None:
    """Beside the model; of a converted one also a folder up, as of deploy/hailo8/model.hef."""
    folder = _named(model.parent)
    places = (folder, _named(folder.parent)) if format.converted else (folder,)
    return next((place / MANIFEST for place in places if (place / MANIFEST).is_file()), None)


def _named(folder: Path) -> Path:
    """The same folder by a path whose name and parent are its own: those of "." and "a/.." are not."""
    return folder if folder.name and ".." not in folder.parts else Path(os.path.abspath(folder))


def _by_manifest(model: Path, path: Path) -> Stated:
    with _reading(path, "labels and preprocessing"):
        content = read_json(path)
        labels, spec = labels_of(content), PreprocessSpec(**content["preprocess"])
        files = content["files"]
        beside = path.parent == _named(model.parent)
        digest = files[model.name]["sha256"] if beside and model.name in files else None
    if digest and digest != file_sha256(model):
        what = f"{model} is not the file that {path} describes"
        raise UserError(f"{what} (its SHA-256 differs): copy the folder again")
    names = path.parent / LABELS
    if names.is_file() and read_labels(names) != labels:
        raise UserError(f"{names} and {MANIFEST} name different classes: copy the folder again")
    return Stated(labels, spec)


def _config(path: Path) -> Config:
    from fer_hailo.common.config import load_config

    try:
        return load_config(path)
    except ImportError as error:
        what = f"{path}, which tells its labels, cannot be read ({error})"
        raise UserError(f"{what}: {install('train')}, or use a .tflite of a deploy folder") from None


def _reading(path: Path, what: str) -> contextlib.AbstractContextManager[None]:
    return reading(path, f"does not tell {what}", "copy its folder again")
