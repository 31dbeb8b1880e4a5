"""Where initial weights, teachers and refined labels come from: they must not have learnt from what is now
validation, or left out.
"""

from __future__ import annotations

from typing import Any

from fer_hailo.common.config import SPLITS_BY, Config
from fer_hailo.common.errors import UserError
from fer_hailo.deploy.home import Use, resolve
from fer_hailo.training.data.dataset import Dataset
from fer_hailo.training.data.targets import read_targets
from fer_hailo.training.networks.weights import Kind, parse_weights

SIDES = ("split_seed", "validation_fraction")  # what parts train and validation


def check_lineage(config: Config, dataset: Dataset) -> None:
    """Raise UserError where what this run learns from was trained on the same data, split otherwise.

    Images that it has learnt would stand on the validation side, which then praises what it should judge. A
    run on all of train has no such side: what it learns from may have been split in any way, as long as the
    same was kept out for test. A run that leaves a fold out may only learn from what left out the same.
    """
    weights = parse_weights(config.model.weights)
    models = [weights.text] if weights.kind is Kind.MODEL else []
    for source in (*models, *config.loss.teacher):
        home = resolve(source, Use.LEARN)
        if home.own is not None and home.trained_on == dataset.key:  # else nobody knows what it has learnt
            _check_split(source, home.own.to_dict(), config)
    if config.loss.targets:
        made = read_targets(config.loss.targets).made
        if made["data"]["key"] == dataset.key:
            _check_split(config.loss.targets, made["split"], config)


def split_of(config: Config) -> dict[str, Any]:
    """What decides which images a model has learnt, by key."""
    values = config.to_dict()
    return {name: values[name] for name in (*SPLITS_BY, "fold", "classes")}


def _check_split(source: str, theirs: dict[str, Any], config: Config) -> None:
    for name, ours in split_of(config).items():
        needless = (name in SIDES and not config.data.validation_fraction) or (name == "fold" and not ours)
        if not needless and theirs.get(name) != ours:
            raise UserError(
                f"{source} was trained on this data split with {name} {_shown(theirs.get(name))}, "
                f"not {_shown(ours)}: it has learnt images that would now be validation, or left out; "
                "train it anew with the same, or start from others"
            )


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value) or "none"
