"""What an experiment consists of: cells, each a configuration, times seeds, each a run folder."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from fer_hailo.common.cli import nearest
from fer_hailo.common.config import Config, load_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_yaml
from fer_hailo.common.resources import recipes
from fer_hailo.common.runs import CONFIG, DONE

KEYS = ("base", "common", "cells", "grid", "seeds")


@dataclass(frozen=True)
class CellRun:
    """One training: its cell, its configuration with the seed in it, its run folder and where its output is
    kept.
    """

    cell: str
    config: Config
    folder: Path

    @property
    def log(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def done(self) -> bool:
        return (self.folder / DONE).is_file()


@dataclass(frozen=True)
class Grid:
    """All runs of an experiment: cell by cell in the file's order, seed by seed. out: the folder of all."""

    name: str
    out: Path
    cells: tuple[str, ...]
    runs: tuple[CellRun, ...]


def read_grid(path: Path, out: Path, overrides: dict) -> Grid:
    """Read an experiment's file. overrides: {field: value} for every cell.

    Raises UserError for what it cannot hold, for an impossible configuration, and where a run that is there
    already was trained with another configuration than the file has now.
    """
    values = read_yaml(path, "the experiment")
    unknown = [key for key in values if key not in KEYS]
    if unknown:
        raise UserError(
            f"unknown key '{unknown[0]}' in {path}{nearest(unknown[0], KEYS)}: known are {', '.join(KEYS)}"
        )
    seeds = values.get("seeds", [42])
    if (
        not isinstance(seeds, list)
        or not seeds
        or not all(type(seed) is int for seed in seeds)
        or len(set(seeds)) < len(seeds)
    ):
        raise UserError(f"seeds in {path} must be a list of different whole numbers, got {seeds!r}")
    base = values.get("base")
    if base is not None and not isinstance(base, str):
        raise UserError(f"base in {path} must name a recipe, such as configs/finetune.yaml, got {base!r}")
    runs, cells = [], _cells(values, path)
    if any("seed" in changes for changes in (_mapping(values, "common", path), *cells.values())):
        raise UserError(f"seed in {path} belongs under seeds: [1, 2, ...], which every cell gets")
    for cell, changes in cells.items():
        for seed in seeds:
            settings = {**_mapping(values, "common", path), **changes, **overrides, "seed": seed}
            config = load_config(base, settings, recipes())
            runs.append(CellRun(cell, config, out / f"{cell}_s{seed}"))
    for run in runs:
        _check_same(run)
    return Grid(path.stem, out, tuple(cells), tuple(runs))


def _cells(values: dict, path: Path) -> dict[str, dict]:
    """Each named cell with each combination of the grid."""
    named = _mapping(values, "cells", path) or {"": {}}
    axes = _mapping(values, "grid", path)
    bad = next((key for key, choices in axes.items() if not isinstance(choices, list) or not choices), None)
    if bad:
        raise UserError(f"grid in {path}: {bad} must have a list of values")
    cells = {}
    for name, changes in named.items():
        if not isinstance(changes, dict):
            raise UserError(f"the cell {name} in {path} must hold 'key: value' pairs")
        for choice in itertools.product(*axes.values()):
            point = dict(zip(axes, choice, strict=True))
            words = [str(name)] if name else []
            label = (
                "_".join([*words, *(f"{key}={_short(value)}" for key, value in point.items())]) or path.stem
            )
            if label in cells:
                raise UserError(f"two cells in {path} are called {label}")
            cells[label] = {**changes, **point}
    for label in cells:
        if not all(letter.isalnum() or letter in "_-=.,+" for letter in label):
            raise UserError(
                f"the cell {label!r} in {path} gives a folder its name: letters, digits and _-=.,+ only"
            )
    return cells


def _short(value) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _mapping(values: dict, key: str, path: Path) -> dict:
    found = values.get(key) or {}
    if not isinstance(found, dict):
        raise UserError(f"{key} in {path} must hold 'key: value' pairs")
    return found


def _check_same(run: CellRun) -> None:
    if not (run.folder / CONFIG).is_file():
        return
    own, wanted = load_config(run.folder / CONFIG).to_dict(), run.config.to_dict()
    for name, value in wanted.items():
        if own[name] != value and name not in ("data", "tensorboard"):
            was = f"{run.folder} was trained with {name} {own[name]}"
            raise UserError(f"{was}, the file now says {value}: give another --out, or remove that folder")
