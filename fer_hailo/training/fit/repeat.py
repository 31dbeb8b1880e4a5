"""A run on all of train: it repeats the settings of a validated run, for as many epochs as led to that one's
best model.
"""

from __future__ import annotations

from pathlib import Path

from fer_hailo.common.config import Config, config_values, load_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_csv
from fer_hailo.common.metrics import read_metrics
from fer_hailo.common.reading import reading
from fer_hailo.common.runs import CONFIG, DONE, STEPS, data_key
from fer_hailo.common.steps import in_folders, load_steps
from fer_hailo.deploy.home import Use, resolve
from fer_hailo.deploy.selection import Selection
from fer_hailo.training.data.dataset import Dataset

# What may differ: where things lie, what it starts from and learns from (themselves runs on all of train, at
# best), chance, logs.
FREE = {
    "validation_fraction", "selected_by", "data", "weights", "teacher", "votes", "targets", "drop", "seed",
    "tensorboard",
}  # fmt: skip


def repeated(path: Path | str | None, overrides: dict) -> Config | None:
    """The configuration of the run that `selected_by` names, for all of train, with what is FREE taken from
    the file at `path` and from `overrides`; None where neither has the field.

    Raises UserError where the run is not complete, or another setting differs from its own.
    """
    values = config_values(path) | overrides
    if not values.get("selected_by"):
        return None
    run = Path(values["selected_by"])
    own = _config_of(run)
    for name, value in load_config(run / CONFIG, {**values, "validation_fraction": 0}).to_dict().items():
        if value != own.to_dict()[name] and name not in FREE:
            raise UserError(
                f"{run} was trained with {name} {own.to_dict()[name]}, not {value}: a run that it selects "
                "repeats its settings"
            )
    kept = {name: value for name, value in values.items() if name in FREE}
    return load_config(run / CONFIG, {**kept, "validation_fraction": 0})


def repeated_steps(path: Path | str | None, overrides: dict) -> tuple[Config, ...]:
    """As `repeated`, of a run of several steps: each repeats its own, for its length. Empty for others."""
    run = Path((config_values(path) | overrides).get("selected_by") or "")
    if not (run / STEPS).is_file():
        return ()
    _config_of(run)  # first of all: a run that is not complete may lack its last steps
    folders = [folder for folder, _ in in_folders(load_steps(run / STEPS), run)]
    found = [repeated(path, overrides | {"selected_by": str(folder)}) for folder in folders]
    return tuple(config for config in found if config)


def select(config: Config, dataset: Dataset) -> Selection:
    """What `config.data.selected_by` tells.

    Raises UserError where that run was trained on other data, or a file of it is missing.
    """
    run = Path(config.data.selected_by)
    own = _config_of(run)
    fault, then = "does not tell how its model was chosen", "name another run, or train it again"
    with reading(run, fault, then):
        key = data_key(run)
        metrics = read_metrics(run / "metrics_val.json")
        history = [
            (int(row["stage"]), int(row["epoch"]), float(row["val_accuracy"]))
            for row in read_csv(run / "history.csv")
        ]
        confidence = resolve(run, Use.LEARN).confidence
        if not history or confidence is None:
            raise ValueError("it lacks its history or its confidence")
    if key != dataset.key:
        raise UserError(
            f"{run} was trained on other data than {config.data.source}: a run on all of train repeats it on "
            "the same"
        )
    return Selection(
        run.name, own.data.validation_fraction, best_lengths(history), confidence, {"keras": metrics}
    )


def best_lengths(history: list[tuple[int, int, float]]) -> tuple[int, int]:
    """Epochs of stage 1 and of stage 2 that led to the best model, from (stage, epoch, validation accuracy)
    of every epoch.

    Stage 2 starts from the best of stage 1, and only a better epoch replaces a model: the first of equals
    counts.
    """

    def best(rows: list[tuple[int, int, float]]) -> tuple[int, int, float]:
        return max(rows, key=lambda row: row[2], default=(0, 0, -1.0))

    first, second = (best([row for row in history if row[0] == stage]) for stage in (1, 2))
    return first[1], second[1] if second[2] > first[2] else 0


def _config_of(run: Path) -> Config:
    if not (run / CONFIG).is_file() or not (run / DONE).exists():
        raise UserError(f"selected_by names {run}, which is no complete run: train it to its end first")
    config = load_config(run / CONFIG)
    if config.data.selected_by:
        raise UserError(
            f"{run} was trained on all of train itself, by the settings of {config.data.selected_by}: name "
            "that one"
        )
    if config.model.quantise:
        raise UserError(
            f"{run} was fine-tuned for 8 bits: repeat {config.model.quantise} on all of train, then "
            "--quantise that run"
        )
    return config
