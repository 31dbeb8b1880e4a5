"""One typed, frozen configuration. The defaults are the seed recipe; configs/*.yaml and command-line flags override them."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path

from fer_hailo.common.calls import call
from fer_hailo.common.cli import nearest
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_yaml, write_text
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.common.resources import find

FIVE_CLASSES = ("angry", "disgust", "happy", "neutral", "surprise")
# The fields that decide which pictures stand on which side, beside the data and its classes.
SPLITS_BY = ("split_seed", "validation_fraction", "resplit", "drop_blank", "drop_conflicts", "drop_test_copies", "copies")
LEAST_VALIDATION = 0.01
SEVEN_CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")


def option(default, help: str, *, choices: tuple = (), low: float | None = None, high: float | None = None):
    """A field with its documentation and its bounds (both inclusive)."""
    return field(default=default, metadata={"help": help, "choices": choices, "low": low, "high": high})


@dataclass(frozen=True)
class Config:
    """Everything that decides the result of a training run. `fer-hailo train --help` prints each field's meaning."""

    # data
    data: str = option(
        "fer2013", "data set: FER2013 as Kaggle's folder or zip or as CSV, RAF-DB, AffectNet, CAER-S, FERPlus, class folders, a cache .npz"
    )
    classes: tuple[str, ...] = option(FIVE_CLASSES, "classes to train on, comma-separated; labels follow the alphabetical order")
    extra_classes: tuple[str, ...] = option(
        (), "classes that only help in training: never scored, and the saved model has no logit for them"
    )
    soft_labels: bool = option(
        False, "learn from the shares of people's votes where the data set has them (FERPlus), not from the majority"
    )
    resplit: bool = option(False, "split a plain folder of class folders 8:1:1 into train, validation and test")
    drop_corrupt: bool = option(True, "skip pictures that cannot be read (off: they are an error)")
    drop_blank: bool = option(True, "skip training pictures of a single grey level")
    drop_conflicts: bool = option(True, "skip training pictures that occur under several labels")
    drop_test_copies: bool = option(True, "skip training pictures that also stand in test")
    copies: str = option(
        "thumbnail",
        "images that count as copies beside identical ones: thumbnail (small versions alike: another encoding or light), "
        "registered (one lies on the other: also moved, cropped, turned or mirrored)",
        choices=("thumbnail", "registered"),
    )
    validation_fraction: float = option(0.2, "part of train kept for validation; 0, with selected_by: train on everything", low=0, high=0.9)
    selected_by: str = option("", "complete run whose settings, lengths and confidence a run on all of train repeats")
    split_seed: int = option(
        42, "seed of the split: runs of other seeds are compared on the same validation pictures", low=0, high=2**31 - 1
    )
    oversample_ratio: float = option(0.6, "repeat every class up to this part of the largest (0: off)", low=0, high=1)

    quantise: str = option("", "complete run, or released folder, whose network is fine-tuned for 8 bits")

    # preprocessing
    source_size: int = option(48, "side of the cached pictures, pixels", low=16, high=1024)
    input_size: int = option(128, "side of the network's input, pixels", low=32, high=1024)
    color: bool = option(False, "keep colours instead of grey copied to three channels")

    # model
    arch: str = option("mobilenet_v3_small", "network")
    weights: str = option(
        "imagenet",
        "initial weights: imagenet, none, a .keras of this project, a backbone's .h5, PyTorch's .pth or .npz (or a.pth,b.pth), dlib's .dat",
    )
    head_units: tuple[int, ...] = option(
        (512, 256, 128), "dense layers of the head, for networks without one of their own", low=1, high=8192
    )
    head_dropout: tuple[float, ...] = option((0.5, 0.4, 0.3, 0.2), "dropout after the pooling and after each dense layer", low=0, high=0.95)
    head_l2: float = option(3e-5, "L2 penalty on the dense layers", low=0, high=1)
    batch_norm_momentum: float = option(0.999, "momentum of the backbone's batch norms; 0.97 or so when they train", low=0, high=0.9999)

    freeze: tuple[str, ...] = option((), "layers whose names begin so never train: face_landback, POSTER's landmark network")

    # loss
    method: str = option(
        "plain",
        "what else is learnt, by networks with the common head: lnsu (LNSU-Net's losses), ada_df_fusion (Ada-DF's targets)",
        choices=("plain", "lnsu", "ada_df_fusion"),
    )
    focal_gamma: float = option(0.5, "focusing exponent of the focal loss (0: cross-entropy)", low=0, high=10)
    class_weight_beta: float = option(0.99, "beta of the effective-number class weights (0: none)", low=0, high=0.999999)
    label_smoothing: float = option(0.0, "part of each label spread over all classes", low=0, high=0.9)

    votes: str = option("", "CSV of several people's votes a picture (FER+), which soften the labels")
    votes_weight: float = option(0.5, "part of each target that comes from the votes", low=0, high=1)
    teacher: tuple[str, ...] = option((), "run folders or .keras files to distil from, averaged")
    temperature: float = option(2.0, "temperature of the distillation", low=0.1, high=100)
    distill_weight: float = option(0.5, "part of the loss that comes from the teacher", low=0, high=1)

    # augmentation
    mixup_alpha: float = option(0.2, "alpha of MixUp's Beta distribution (0: off)", low=0, high=10)
    mixup_share: float = option(1.0, "part of the pictures that MixUp mixes", low=0, high=1)
    flip: bool = option(True, "mirror half of the pictures")
    zoom: float = option(0.15, "crop down to 1 - zoom of the side, then enlarge", low=0, high=0.9)
    shift: float = option(0.0, "move by up to this part of the side", low=0, high=0.5)
    rotation: float = option(0.0, "turn by up to this many degrees", low=0, high=180)
    erase: float = option(0.0, "part of the pictures in which a rectangle of 2 to 25 % is painted grey", low=0, high=1)
    brightness: float = option(0.2, "add up to this part of the range", low=0, high=1)
    contrast: float = option(0.2, "change the contrast by up to this part", low=0, high=0.99)
    saturation: float = option(0.1, "change the saturation by up to this part (colour only)", low=0, high=0.99)
    hue: float = option(0.03, "turn the hue by up to this part of the circle (colour only)", low=0, high=0.5)

    # optimisation
    optimizer: str = option("adam", "optimizer", choices=("adam", "adamw", "sgd"))
    momentum: float = option(0.9, "momentum, Nesterov's (sgd only)", low=0, high=0.9999)
    weight_decay: float = option(0.0, "decoupled weight decay (adamw and sgd)", low=0, high=1)
    clipnorm: float = option(1.0, "largest norm of a gradient tensor (0: off)", low=0)
    batch_size: int = option(32, "pictures a step", low=1, high=65536)
    stage1_epochs: int = option(25, "most epochs with the backbone frozen", low=0, high=10000)
    stage1_lr: float = option(5e-4, "learning rate of stage 1", low=1e-9, high=10)
    stage1_patience: int = option(15, "epochs without a better validation accuracy that end stage 1", low=1, high=10000)
    stage2_epochs: int = option(150, "most epochs of fine-tuning", low=0, high=10000)
    stage2_lr: float = option(1e-4, "peak learning rate of stage 2", low=1e-9, high=10)
    stage2_floor_lr: float = option(1e-7, "learning rate at the end of the cosine", low=0, high=10)
    stage2_warmup_epochs: int = option(5, "epochs of linear warm-up to the peak", low=0, high=10000)
    stage2_patience: int = option(35, "epochs without a better validation accuracy that end stage 2", low=1, high=10000)
    unfreeze_layers: int = option(60, "backbone layers that stage 2 trains, from the last (-1: all)", low=-1, high=100000)
    train_batch_norm: bool = option(False, "train the unfrozen batch norms too")
    ema: float = option(0.0, "momentum of an average of the weights, evaluated with re-estimated statistics (0: off)", low=0, high=0.99999)
    seed: int = option(42, "seed of order, augmentation and initial weights", low=0, high=2**31 - 1)
    stage2_schedule: str = option(
        "cosine", "how stage 2's rate falls after the warm-up: cosine, or step, by stage2_decay", choices=("cosine", "step")
    )
    stage2_decay: float = option(0.1, "factor of the step schedule", low=1e-6, high=1)
    stage2_decay_epochs: int = option(10, "epochs between its steps", low=1, high=10000)
    sam_rho: float = option(0.0, "radius of sharpness-aware minimization, two passes a step (0: off)", low=0, high=10)
    precision: str = option("float32", "arithmetic of training", choices=("float32", "mixed_float16", "mixed_bfloat16"))
    tensorboard: bool = option(True, "write a TensorBoard log where TensorFlow is installed")

    def __post_init__(self):
        for entry in dataclasses.fields(self):
            value = _typed(entry, getattr(self, entry.name))
            object.__setattr__(self, entry.name, value)
            _check_bounds(entry, value)
        if len(set(self.classes)) < 2 or len(set(self.classes)) != len(self.classes):
            raise UserError(f"classes must name two or more different classes, got {', '.join(self.classes) or 'none'}")
        for name in ("classes", "extra_classes"):
            object.__setattr__(self, name, tuple(sorted(getattr(self, name))))
        twice = [name for name in self.extra_classes if name in self.classes or self.extra_classes.count(name) > 1]
        if twice:
            raise UserError(f"extra_classes names {twice[0]}, which is there already: leave it out")
        if len(self.head_dropout) != len(self.head_units) + 1:
            raise UserError(
                f"head_dropout needs {len(self.head_units) + 1} values (one more than head_units), got {len(self.head_dropout)}"
            )
        if bool(self.validation_fraction) == bool(self.selected_by):
            raise UserError(
                f"validation_fraction {self.validation_fraction:g} "
                + (
                    f"does not go with selected_by {self.selected_by}, for which all of train is learnt: leave it out"
                    if self.selected_by
                    else "leaves nothing to choose the model by: name a validated run with --selected-by, or use 0.01 to 0.9"
                )
            )
        if 0 < self.validation_fraction < LEAST_VALIDATION:
            raise UserError(f"validation_fraction must be {LEAST_VALIDATION} or more, got {self.validation_fraction}")
        if self.stage1_epochs + self.stage2_epochs == 0:
            raise UserError("stage1_epochs and stage2_epochs are both 0: nothing would be trained")
        if self.stage2_epochs and self.stage2_warmup_epochs >= self.stage2_epochs:
            most = self.stage2_epochs - 1
            raise UserError(f"stage2_warmup_epochs {self.stage2_warmup_epochs} must be below stage2_epochs: lower it to {most} or less")
        if self.stage2_floor_lr > self.stage2_lr:
            raise UserError(f"stage2_floor_lr {self.stage2_floor_lr} is above stage2_lr {self.stage2_lr}: the cosine would rise")
        if self.sam_rho and self.precision == "mixed_float16":
            raise UserError("sam_rho does not go with the loss scaling of mixed_float16: use mixed_bfloat16 or float32")
        if self.weight_decay and self.optimizer == "adam":
            raise UserError(f"weight_decay {self.weight_decay} has no effect with {self.optimizer}: use optimizer adamw or sgd")

    @property
    def preprocess(self) -> PreprocessSpec:
        return PreprocessSpec(self.source_size, self.input_size, self.color)

    def to_dict(self) -> dict:
        """Plain values, as YAML and JSON keep them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(self).items()}


def load_config(path: Path | str | None = None, overrides: dict | None = None, recipes: Path | None = None) -> Config:
    """The defaults, changed by the recipe of the network, by the YAML file at `path`, by `overrides` ({field: value}).

    recipes: the folder of the networks' recipes, ARCH.yaml, and of the methods', METHOD.yaml, which goes over it; those without one have
    the defaults.
    Raises UserError for a file that cannot be read, an unknown key or an impossible value.
    """
    values = config_values(path) | (overrides or {})
    own = [recipes / f"{values.get(name)}.yaml" for name in ("arch", "method")] if recipes else []
    below: dict = {}
    for recipe in own:
        below |= _read(recipe) if recipe.is_file() else {}
    values = below | values
    _check_keys(overrides or {})
    return Config(**values)


def config_values(path: Path | str | None) -> dict:
    """The values that a YAML file gives, {field: value}; none where `path` is None. Raises UserError as `load_config` does."""
    return _read(path) if path else {}


def save_config(config: Config, path: Path | str) -> None:
    """Write every field, resolved, as YAML."""
    import yaml

    write_text(path, yaml.safe_dump(config.to_dict(), sort_keys=False))


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add one flag a field (`stage1_lr` is `--stage1-lr`). Flags that are not given stay out of the namespace."""
    group = parser.add_argument_group("configuration")
    for entry in dataclasses.fields(Config):
        shown = ",".join(map(str, entry.default)) if isinstance(entry.default, tuple) else entry.default
        text = f"{entry.metadata['help']} [{shown}]".replace("%", "%%")
        flag = "--" + entry.name.replace("_", "-")
        if isinstance(entry.default, bool):
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
        else:
            group.add_argument(flag, default=argparse.SUPPRESS, help=text, metavar=type(entry.default).__name__.upper())


def flag_values(namespace: argparse.Namespace) -> dict:
    """The configuration flags that were given, as {field: value}."""
    known = {entry.name for entry in dataclasses.fields(Config)}
    return {name: value for name, value in vars(namespace).items() if name in known}


def over_base(values: dict, path: Path, above: tuple[Path, ...] = ()) -> dict:
    """The values of a recipe at `path`, or of a part of it, over those of the base that they name.

    above: whose base it is. Raises UserError as `load_config` does.
    """
    base = values.get("base")
    if base is not None and not isinstance(base, str):
        raise UserError(f"base in {path} must name a recipe, got {base!r}")
    values = {key: value for key, value in values.items() if key != "base"}
    _check_keys(values, f" in {path}")
    return values if base is None else _read(path.parent / base, (*above, path.resolve())) | values


def _read(path: Path | str, above: tuple[Path, ...] = ()) -> dict:
    """The values of a recipe, over those of its base. above: whose base it is."""
    path = find(path)
    if path.resolve() in above:
        raise UserError(f"{path} is its own base, by way of {above[-1].name}: take one of the lines 'base: ...' out")
    values = read_yaml(path, "the configuration")
    if "steps" in values:
        only = f"only {call('train')} --config takes it"
        raise UserError(f"{path} is a recipe of several steps, no single configuration: {only}")
    values = over_base(values, path, above)
    if path.name == "config.yaml" and "seed" in values:
        values.setdefault("split_seed", values["seed"])  # a run of the time when one seed decided both
    return values


def _check_keys(values: dict, where: str = "") -> None:
    known = [entry.name for entry in dataclasses.fields(Config)]
    for key in values:
        if key not in known:
            raise UserError(f"unknown configuration key '{key}'{nearest(key, known)}{where}")


@functools.cache
def _types() -> dict[str, type]:
    """Of the fields. Worked out once: their annotations are text."""
    return typing.get_type_hints(Config)


def _typed(entry: dataclasses.Field, value):
    """`value` as the field's type. Text is converted (flags are text, and YAML reads 1e-4 as text); nothing else is guessed."""
    kind = _types()[entry.name]
    try:
        if typing.get_origin(kind) is tuple:
            item = typing.get_args(kind)[0]
            parts = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else list(value)
            return tuple(_scalar(item, part) for part in parts)
        return _scalar(kind, value)
    except (TypeError, ValueError):
        name = str(kind) if isinstance(kind, types.GenericAlias) else kind.__name__
        raise UserError(f"{entry.name} must be {name}, got {value!r}") from None


def _scalar(kind: type, value):
    if kind is bool or isinstance(value, bool):
        if kind is bool and isinstance(value, bool):
            return value
        raise TypeError
    if kind is str:
        if not isinstance(value, str):
            raise TypeError
        return value
    if isinstance(value, str) or (kind is float and isinstance(value, int)):
        value = kind(value)
    if not isinstance(value, kind) or value != value:
        raise TypeError
    return value


def _check_bounds(entry: dataclasses.Field, value) -> None:
    meta = entry.metadata
    if meta["choices"] and value not in meta["choices"]:
        raise UserError(f"{entry.name} must be one of {', '.join(meta['choices'])}, got {value!r}{nearest(value, meta['choices'])}")
    for item in value if isinstance(value, tuple) else (value,):
        if meta["low"] is not None and item < meta["low"]:
            raise UserError(f"{entry.name} must be {meta['low']} or more, got {item}: the nearest valid value is {meta['low']}")
        if meta["high"] is not None and item > meta["high"]:
            raise UserError(f"{entry.name} must be {meta['high']} or less, got {item}: the nearest valid value is {meta['high']}")
