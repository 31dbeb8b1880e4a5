"""The configuration of a run that fine-tunes another one's network for 8 bits."""

from __future__ import annotations

from pathlib import Path

from fer_hailo.common.calls import call
from fer_hailo.common.config import Config, load_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.released import PREFIX, place
from fer_hailo.common.runs import CONFIG, DONE, MODEL
from fer_hailo.deploy.bundle import MANIFEST

# What may be chosen anew: where the data lies, chance, how long and how fast, and how images are varied.
FREE = {
    "quantise", "data", "seed", "batch_size", "optimizer", "momentum", "weight_decay", "clipnorm",
    "stage2_epochs", "stage2_lr",
    "stage2_floor_lr", "stage2_warmup_epochs", "stage2_schedule", "stage2_decay", "stage2_decay_epochs",
    "temperature", "oversample_ratio",
    "mixup_alpha", "mixup_share", "flip", "zoom", "shift", "rotation", "erase", "degrade", "brightness",
    "contrast", "saturation", "hue",
}  # fmt: skip
# The float network is all that teaches, in one stage, and all weights learn.
FIXED = {
    "stage1_epochs": 0, "distill_weight": 1.0, "method": "plain", "sam_rho": 0.0, "ema": 0.0, "freeze": (),
    "unfreeze_layers": -1,
    "precision": "float32", "extra_classes": (), "soft_labels": False, "votes": "", "targets": "", "views": 0,
    "tensorboard": False,
}  # fmt: skip


def quantised_config(recipe: dict, values: dict) -> Config:
    """The configuration of the run that `values["quantise"]` names, with what is FREE taken from `recipe`,
    and over it from `values`.

    Raises UserError where the run cannot be fine-tuned, or `values` hold another setting that differs from
    its own.
    """
    named, source = values["quantise"], place(values["quantise"])
    own = source_config(source).to_dict()
    for name, value in values.items():
        wanted = load_config(source / CONFIG, {name: value}).to_dict()[name] if name not in FREE else None
        if name not in FREE and wanted != own[name]:
            raise UserError(
                f"{source} was trained with {name} {own[name]}, not {wanted}: fine-tuning for 8 bits leaves "
                "that as it is"
            )
    kept = {name: value for name, value in (recipe | values).items() if name in FREE}
    origin = (named, named) if named.startswith(PREFIX) else (str(source / MODEL), str(source))
    return load_config(source / CONFIG, {**kept, **FIXED, "weights": origin[0], "teacher": (origin[1],)})


def source_config(source: Path) -> Config:
    """The configuration of a complete run, or a released folder.

    Raises UserError where there is none that can be fine-tuned.
    """
    if not (source / CONFIG).is_file():
        raise UserError(
            f"{source} is no run folder (it has no {CONFIG}): --quantise takes a complete run, or a released "
            "folder"
        )
    config = load_config(source / CONFIG)
    if config.model.arch == "ensemble":
        raise UserError(
            f"{source} is an ensemble, which serves as a teacher: fine-tune one of its members, or what it "
            "taught"
        )
    if config.model.quantise:
        raise UserError(
            f"{source} was fine-tuned for 8 bits itself, from {config.model.quantise}: convert it with "
            f"{call('convert')} {source}, "
            f"or give --quantise the other"
        )
    if not (source / DONE).exists() and not (source / MANIFEST).is_file():
        raise UserError(f"{source} is not complete: go on with {call('train')} --resume {source} first")
    return config
