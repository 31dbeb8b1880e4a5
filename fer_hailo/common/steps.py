"""Recipes of several steps: whole configurations, each of which goes on with the model of the one before."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from fer_hailo.common.config import SPLITS_BY, Config, config_values, load_config, over_base, read_recipe
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import write_text
from fer_hailo.common.resources import find
from fer_hailo.common.runs import MODEL


def load_steps(
    path: Path | str | None, overrides: dict | None = None, recipes: Path | None = None
) -> tuple[Config, ...]:
    """The configurations that the recipe at `path` lists under `steps`, in order; none where it has no such
    list.

    A step is the path of another recipe, seen from this one's folder, or its values themselves. What else the
    recipe says is common to all steps and stands below theirs; recipes and overrides are those of
    `load_config`, for each step. Weights of a later step mean nothing, since it goes on with the model of the
    step before: an override of `weights` is for the first. Raises UserError as `load_config` does, and where
    steps part the same data otherwise.
    """
    if path is None:
        return ()
    path = find(path)
    values = read_recipe(path)
    if "steps" not in values:
        return ()
    entries = values.pop("steps")
    if not isinstance(entries, list) or len(entries) < 2:
        wanted = "two or more recipes, or the values of each step"
        raise UserError(f"steps in {path} must list {wanted}, got {entries!r:.80}")
    common = over_base(values, path)
    steps = []
    for number, entry in enumerate(entries, 1):
        own = common | _own(entry, number, path)
        given = {name: value for name, value in (overrides or {}).items() if name != "weights" or number == 1}
        try:
            steps.append(load_config(None, own | given, recipes))
        except UserError as error:
            raise UserError(f"step {number} of {path}: {error}") from None
        if steps[-1].model.quantise:
            instead = "leave it out, and fine-tune the finished run with --quantise RUN"
            raise UserError(f"step {number} of {path} has quantise: {instead}")
    _check_sides(steps, path)
    return tuple(steps)


def save_steps(steps: Sequence[Config], path: Path) -> None:
    """Write a recipe that `load_steps` reads as these steps, every field resolved."""
    import yaml

    entries = [step.to_dict() for step in steps]
    for entry in entries[1:]:
        del entry["weights"]
    write_text(path, yaml.safe_dump({"steps": entries}, sort_keys=False))


def in_folders(steps: Sequence[Config], run: Path) -> list[tuple[Path, Config]]:
    """The folder of each step and its configuration, with the weights that it starts from.

    The last step is the run itself.
    """
    folders = [run / f"step{number}_{step.face.input_size}px" for number, step in enumerate(steps[:-1], 1)]
    weights = [steps[0].model.weights, *(str(folder / MODEL) for folder in folders)]
    begun = [step.change(weights=name) for step, name in zip(steps, weights, strict=True)]
    return list(zip([*folders, run], begun, strict=True))


def _own(entry, number: int, path: Path) -> dict:
    """What one entry of the list says."""
    if isinstance(entry, str):
        return config_values(path.parent / entry)
    if not isinstance(entry, dict):
        wanted = "the path of a recipe or 'key: value' lines"
        raise UserError(f"step {number} of {path} must be {wanted}, got {entry!r}")
    if number > 1 and "weights" in entry:
        begins = f"it starts from the model of step {number - 1}"
        raise UserError(f"step {number} of {path} has weights, but {begins}: take them out")
    return over_base(entry, path)


def _check_sides(steps: Sequence[Config], path: Path) -> None:
    """What one step learns must not be validation, or test, in a later one."""
    for (first, one), (second, other) in itertools.combinations(enumerate(steps, 1), 2):
        for name in (*SPLITS_BY, "fold", "classes") if one.data.source == other.data.source else ():
            ours, theirs = other.value(name), one.value(name)
            if ours != theirs:
                raise UserError(
                    f"step {second} of {path} splits {other.data.source} with {name} {ours}, "
                    f"step {first} with {theirs}: it would be judged by images that were learnt; give both "
                    "the same"
                )
