"""Where initial weights and teachers come from: they must not have learnt from what is now validation."""

from __future__ import annotations

import json
from pathlib import Path

from fer_hailo.config import SPLITS_BY, Config, load_config
from fer_hailo.data.dataset import Dataset
from fer_hailo.errors import UserError
from fer_hailo.released import place, weights_file
from fer_hailo.runs import CONFIG, ENVIRONMENT

SIDES = ("split_seed", "validation_fraction")  # what parts train and validation


def check_lineage(config: Config, dataset: Dataset) -> None:
    """Raise UserError where a model that this run learns from was trained on the same data, split otherwise.

    Pictures that it has learnt would stand on the validation side, which then praises what it should judge. A run on all of train has
    no such side: what it learns from may have been split in any way, as long as the same was kept out for test.
    """
    weights = weights_file(config.weights)
    sources = {config.weights: Path(weights)} if weights.endswith(".keras") else {}
    for source, path in (sources | {teacher: place(teacher) for teacher in config.teacher}).items():
        folder = path if path.is_dir() else path.parent
        if not (folder / CONFIG).is_file():
            continue
        own = load_config(folder / CONFIG)
        try:
            key = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))["data"]["key"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # nobody knows what it was trained on
        if key != dataset.key:
            continue
        for name in (*(name for name in SPLITS_BY if config.validation_fraction or name not in SIDES), "classes"):
            theirs, ours = getattr(own, name), getattr(config, name)
            if theirs != ours:
                raise UserError(
                    f"{source} was trained on this data split with {name} {theirs}, not {ours}: it has learnt pictures that would "
                    "now be validation; train it anew with the same, or start from other weights"
                )
