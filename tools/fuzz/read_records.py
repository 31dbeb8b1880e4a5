"""Readers of what is written beside models: recipes, scripts, manifests, bundles, run folders."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.common.files import write_text
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.common.resources import recipes
from tools.fuzz.reading import SAVED, copied, said

SPEC = PreprocessSpec(48, 32, False)


# Recipes and model scripts


def recipe(path: Path) -> str:
    from fer_hailo.common.config import load_config

    return said(load_config(path, {}, recipes()))


def steps(path: Path) -> str:
    from fer_hailo.common.steps import load_steps

    return said(load_steps(path, {}, recipes()))


def experiment(path: Path) -> str:
    from fer_hailo.training.experiments.plan import read_grid

    return said(read_grid(path, path.parent / "none", {}))


def script(path: Path) -> str:
    """As `compile --lint FILE` and the rehearsal read it: its findings are what it prints."""
    from fer_hailo.script.files import read_scripts
    from fer_hailo.script.lint import lint_script, specialise
    from fer_hailo.script.settings import settings_of
    from fer_hailo.script.text import parse_script, render

    files = read_scripts([path])
    findings = lint_script(files.text, SPEC, 80, None)
    statements, faults = parse_script(files.text)
    if not faults:
        assert parse_script(render(statements))[0] == statements, "rendered, it is another script"
    if not any(finding.level == "error" for finding in findings):
        specialise(files.text, SPEC, 80)
        settings_of(files.text, (0, 1, 2))
    return "\n".join(files.format(finding) for finding in findings)


# Bundles


def manifest(path: Path) -> str:
    """As compile opens a bundle whose manifest's own digest fits."""
    return _of_bundle(path, _reseal_text)


def member(path: Path) -> str:
    """As compile opens a bundle that was sealed with this file."""
    return _of_bundle(path, _reseal_files)


def _of_bundle(path: Path, reseal: Callable[[Path, Path], None]) -> str:
    from fer_hailo.deploy.bundle import load_bundle

    folder, place = copied(SAVED / "run" / "deploy", path)
    try:
        reseal(folder, place)
        bundle = load_bundle(folder)
        taken = bundle.evaluation().quick(5)
        return said((bundle.name, taken.sha256(), bundle.calibration()))
    finally:
        shutil.rmtree(folder)


def _reseal_text(folder: Path, place: Path) -> None:
    with contextlib.suppress(ValueError, RecursionError, AttributeError, TypeError):
        content = json.loads(place.read_bytes())
        content.pop("sha256", None)
        _write(place, content)


def _reseal_files(folder: Path, place: Path) -> None:
    path = folder / "manifest.json"
    content = json.loads(path.read_bytes())
    content.pop("sha256")
    data = place.read_bytes()
    content["files"][place.name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    _write(path, content)


def _write(path: Path, content: dict) -> None:
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    write_text(path, json.dumps(content | {"sha256": digest}))  # which replaces a link, and leaves its end


def home(path: Path) -> str:
    """As run and evaluate ask what belongs to a converted model."""
    folder, place = copied(SAVED / "run" / "deploy", path)
    try:
        return _told(folder)
    finally:
        shutil.rmtree(folder)


# Run folders


def run(path: Path) -> str:
    """As evaluate and convert ask what belongs to a run's model."""
    with _in_saved(path) as folder:
        return _told(folder / "run")


def selected(path: Path) -> str:
    """As `train --selected-by RUN` reads the validated run."""
    from fer_hailo.training.fit.repeat import select

    with _in_saved(path):
        return said(select(_saved_config().change(selected_by="run", validation_fraction=0.0), _Data(_key())))


def history(path: Path) -> str:
    """As the report of a run reads it."""
    from fer_hailo.training.evaluate.outputs import read_history

    with _in_saved(path):
        return said(read_history(Path("run")))


def resumed(path: Path) -> str:
    """As `train --resume RUN` begins."""
    from fer_hailo.common.config import load_config
    from fer_hailo.common.runs import note_resumed, taught_by
    from fer_hailo.training.fit.state import load_progress, load_variables

    # Which asks git for the commit, and the packages for their versions, thousands of times
    with _in_saved(path), mock.patch("fer_hailo.common.runs.environment", dict):
        run, state = Path("cut"), Path("cut/checkpoint/state.npz")
        if not (run / "config.yaml").is_file():
            raise UserError("cut/config.yaml is not there")
        load_config(run / "config.yaml")
        load_progress(state)
        taught_by(run)
        note_resumed(run)
        load_variables(state, _variables())
        return "resumed"


class _Data:
    """What `select` asks of a data set."""

    def __init__(self, key: str):
        self.key = key


@functools.cache
def _saved_config():
    from fer_hailo.common.config import load_config

    return load_config(SAVED / "run" / "config.yaml")


@functools.cache
def _key() -> str:
    return json.loads((SAVED / "run" / "environment.json").read_bytes())["data"]["key"]


class _Variable:
    """Takes a value as a Keras variable does."""

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape

    def assign(self, value: np.ndarray) -> None:
        assert value.shape == self.shape


@functools.cache
def _variables() -> list[_Variable]:
    with np.load(SAVED / "cut" / "checkpoint" / "state.npz") as file:
        return [_Variable(file[name].shape) for name in sorted(file.files) if name.startswith("v")]


@contextlib.contextmanager
def _in_saved(path: Path) -> Iterator[Path]:
    """The saved runs with one file replaced, as the current folder."""
    folder, _ = copied(SAVED, path)
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)
        shutil.rmtree(folder)


def _told(folder: Path) -> str:
    from fer_hailo.deploy.home import Use, resolve

    found = resolve(folder, Use.SCORE)
    told = (found.name, found.results, found.labels, found.spec, found.confidence, found.trained_on)
    return said((*told, found.learnt_drawn, found.order, found.config, found.own))
