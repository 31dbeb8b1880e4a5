"""One typed, frozen configuration in groups. The defaults are the seed recipe; recipes and command-line flags
override them, by keys that know no groups."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fer_hailo.common.calls import call
from fer_hailo.common.cli import nearest
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_yaml, write_text
from fer_hailo.common.groups import LAST_SEED, Augmentation, Data, Face, Loss, Model, Optimiser, Schedule
from fer_hailo.common.options import Options, is_option, key_of, option
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.common.resources import find, resource, shipped
from fer_hailo.common.runs import DROPPED

# How --help names the value of an option.
VALUES = {str: "TEXT", tuple: "A,B,...", int: "INT", float: "FLOAT"}
# The keys that decide which images stand on which side, beside the data and its classes.
SPLITS_BY = (
    "split_seed",
    "validation_fraction",
    "resplit",
    "public_test",
    "drop_blank",
    "drop_conflicts",
    "drop_test_copies",
    "copies",
)


@dataclass(frozen=True)
class Config(Options):
    """Everything that decides the result of a training run. `fer-hailo train --help` prints each option's
    meaning.

    Files, flags and `of`, `change`, `value` and `to_dict` call an option by its key alone: `stage2_lr`.
    """

    data: Data = Data()
    face: Face = Face()
    model: Model = Model()
    loss: Loss = Loss()
    augmentation: Augmentation = Augmentation()
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    seed: int = option(42, "seed of order, augmentation and initial weights", low=0, high=LAST_SEED)
    tensorboard: bool = option(True, "write a TensorBoard log where TensorFlow and tensorboard are installed")

    @classmethod
    def of(cls, **values: Any) -> Config:
        """The defaults, changed by {key: value}.

        Raises UserError for an unknown key or an impossible value.
        """
        return cls().change(**values)

    def change(self, **values: Any) -> Config:
        """The same configuration with these {key: value}. Raises UserError as `of` does."""
        _check_keys(values)
        parts: dict[str, Any] = {}
        for group in fields(self):
            part = getattr(self, group.name)
            if not is_option(group):
                new = {entry.name: values[key_of(entry)] for entry in fields(part) if key_of(entry) in values}
                parts[group.name] = dataclasses.replace(part, **new) if new else part
            elif group.name in values:
                parts[group.name] = values[group.name]
        return dataclasses.replace(self, **parts)

    def value(self, key: str) -> Any:
        """The option of a key."""
        return self._values()[key]

    @property
    def preprocess(self) -> PreprocessSpec:
        return PreprocessSpec(self.face.source_size, self.face.input_size, self.face.color)

    def to_dict(self) -> dict[str, Any]:
        """Plain values by key, as YAML and JSON keep them."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in self._values().items()
        }

    def _values(self) -> dict[str, Any]:
        found = {}
        for name, entry in _options():
            found[key_of(entry)] = getattr(getattr(self, name) if name else self, entry.name)
        return found


def _options() -> Iterator[tuple[str, dataclasses.Field]]:
    """Each option, after the name of its group; "" of those without."""
    for group in fields(Config):
        if is_option(group):
            yield "", group
        else:
            yield from ((group.name, entry) for entry in fields(getattr(Config, group.name)))


def load_config(
    path: Path | str | None = None, overrides: dict | None = None, recipes: Path | None = None
) -> Config:
    """The defaults, changed by the recipe of the network, by the YAML file at `path`, by `overrides` ({key:
    value}).

    recipes: the folder of networks and methods, each with its recipe in NAME/recipe.yaml. A method's goes
    over a network's; those without one have the defaults. Raises UserError for a file that cannot be read, an
    unknown key or an impossible value.
    """
    values = config_values(path) | (overrides or {})
    own = [recipes / str(values.get(name)) / "recipe.yaml" for name in ("arch", "method")] if recipes else []
    below: dict = {}
    for recipe in own:
        below |= _read(recipe) if recipe.is_file() else {}
    values = below | values
    _check_keys(overrides or {})
    return Config.of(**values)


def config_values(path: Path | str | None) -> dict:
    """The values that a YAML file gives, {key: value}; none where `path` is None.

    Raises UserError as `load_config` does.
    """
    return _read(path) if path else {}


def save_config(config: Config, path: Path | str) -> None:
    """Write every field, resolved, as YAML."""
    import yaml

    write_text(path, yaml.safe_dump(config.to_dict(), sort_keys=False))


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add one flag an option (`stage1_lr` is `--stage1-lr`).

    Flags that are not given stay out of the namespace.
    """
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name, entry in _options():
        group = groups.get(name) or groups.setdefault(name, parser.add_argument_group(name or "run"))
        shown = ",".join(map(str, entry.default)) if isinstance(entry.default, tuple) else entry.default
        text = f"{_explained(entry)} [{shown}]".replace("%", "%%")
        flag = "--" + key_of(entry).replace("_", "-")
        if isinstance(entry.default, bool):
            group.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text
            )
        else:
            value = VALUES[type(entry.default)]
            group.add_argument(flag, default=argparse.SUPPRESS, help=text, metavar=value)


def _explained(entry: dataclasses.Field) -> str:
    """The help of an option, with the values that it may have where the text does not name them all."""
    text, choices = entry.metadata["help"], entry.metadata["choices"]
    named = all(choice in text for choice in choices if choice != entry.default)
    return text if named else f"{text}: {', '.join(choices)}"


def flag_values(namespace: argparse.Namespace) -> dict:
    """The configuration flags that were given, as {key: value}."""
    known = {key_of(entry) for _, entry in _options()}
    return {name: value for name, value in vars(namespace).items() if name in known}


def over_base(values: dict, path: Path, above: tuple[Path, ...] = ()) -> dict:
    """The values of a recipe at `path`, or of a part of it, over those of the base that they name.

    A base is named as seen from the recipe's folder, or, in the library's own configs/, from there.
    above: whose base it is. Raises UserError as `load_config` does.
    """
    base = values.get("base")
    if base is not None and not isinstance(base, str):
        raise UserError(f"base in {path} must name a recipe, got {base!r}")
    values = {key: value for key, value in values.items() if key != "base"}
    _check_keys(values, f" in {path}")
    if base is None:
        return values
    beside = path.parent / base
    return _read(beside if beside.exists() else shipped(base) or beside, (*above, path.resolve())) | values


def _read(path: Path | str, above: tuple[Path, ...] = ()) -> dict:
    """The values of a recipe, over those of its base. above: whose base it is."""
    path = find(path)
    if path.resolve() in above:
        raise UserError(
            f"{path} is its own base, by way of {above[-1].name}: take one of the lines 'base: ...' out"
        )
    values = read_recipe(path)
    if "steps" in values:
        only = f"only {call('train')} --config takes it"
        raise UserError(f"{path} is a recipe of several steps, no single configuration: {only}")
    values = over_base(values, path, above)
    if path.name == "config.yaml" and "seed" in values:
        values.setdefault("split_seed", values["seed"])  # a run of the time when one seed decided both
        if values.get("drop") and (own := path.with_name(DROPPED)).is_file():
            values["drop"] = str(own)  # what the run left out, wherever the list came from
    return values


def read_recipe(path: Path) -> dict:
    """The lines of a recipe. Raises UserError where there is none, naming the nearest that is shipped."""
    if not path.exists():
        own = {file.stem: f"configs/{file.name}" for file in resource("configs").glob("*.yaml")}
        stem = difflib.get_close_matches(path.stem, own, n=1)
        raise UserError(f"no recipe at {path}" + (f" (did you mean {own[stem[0]]}?)" if stem else ""))
    return read_yaml(path, "the configuration")


def _check_keys(values: dict, where: str = "") -> None:
    known = [key_of(entry) for _, entry in _options()]
    for key in values:
        if key not in known:
            raise UserError(f"unknown configuration key '{key}'{nearest(key, known)}{where}")
