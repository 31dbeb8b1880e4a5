"""The groups of a configuration: what each option means, its bounds, and what goes with what."""

from __future__ import annotations

from dataclasses import dataclass

from fer_hailo.common.classes import canonical
from fer_hailo.common.errors import UserError
from fer_hailo.common.options import Options, option

FIVE_CLASSES = ("angry", "disgust", "happy", "neutral", "surprise")
SEVEN_CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
LEAST_VALIDATION = 0.01
LAST_SEED = 2**31 - 1


@dataclass(frozen=True)
class Data(Options):
    """Which images are learnt, and which are kept for validation."""

    source: str = option(
        "fer2013",
        "data set: FER2013 as Kaggle's folder or zip or as CSV, RAF-DB, AffectNet, CAER-S, FERPlus, class "
        "folders, a list in a CSV, a cache .npz",
        key="data",
    )
    classes: tuple[str, ...] = option(
        FIVE_CLASSES,
        "classes to train on, comma-separated; labels follow the alphabetical order, but for a bare model "
        "file this one",
    )
    extra_classes: tuple[str, ...] = option(
        (), "classes that only help in training: never scored, and the saved model has no logit for them"
    )
    soft_labels: bool = option(
        False,
        "learn from the shares of people's votes where the data set has them (FERPlus), not the majority",
    )
    resplit: bool = option(
        False, "split all images anew, 8:1:1 into train, validation and test, whatever their folders say"
    )
    public_test: str = option(
        "test",
        "what FER2013's PublicTest (FERPlus' FER2013Valid) is: part of test, or the validation side (val)",
        choices=("test", "val"),
    )
    drop_corrupt: bool = option(True, "skip images that cannot be read (off: they are an error)")
    drop_blank: bool = option(True, "skip training images of a single grey level")
    drop_conflicts: bool = option(True, "skip training images that occur under several labels")
    drop_test_copies: bool = option(
        True, "skip training images that also stand in test or in a validation folder"
    )
    copies: str = option(
        "thumbnail",
        "images that count as copies beside identical ones: thumbnail (small versions alike: another "
        "encoding or light), "
        "registered (one lies on the other: also moved, cropped, turned or mirrored)",
        choices=("thumbnail", "registered"),
    )
    drop: str = option(
        "",
        "file that names training images to leave out: of --data-report's list the confirmed lines, or one "
        "name or digest a line; validation and test stay as they are",
    )
    validation_fraction: float = option(
        0.2, "part of train kept for validation; 0, with selected_by: train on everything", low=0, high=0.9
    )
    selected_by: str = option(
        "", "complete run whose settings, lengths and confidence a run on all of train repeats"
    )
    split_seed: int = option(
        42,
        "seed of the split: runs of other seeds are compared on the same validation images",
        low=0,
        high=LAST_SEED,
    )
    fold: str = option(
        "", "i/K: leave the i-th of K folds of the training side out, for refined labels by cross-fitting"
    )
    oversample_ratio: float = option(
        0.6, "repeat every class up to this part of the largest (0: off)", low=0, high=1
    )
    sampling: str = option(
        "each",
        "what an epoch shows: each image once, or as many drawn with replacement, every class as often "
        "(balanced, as AffectNet's papers do)",
        choices=("each", "balanced"),
    )

    def check(self) -> None:
        if len(set(self.classes)) < 2 or len(set(self.classes)) != len(self.classes):
            got = ", ".join(self.classes) or "none"
            raise UserError(f"classes must name two or more different classes, got {got}")
        for name in ("classes", "extra_classes"):
            object.__setattr__(self, name, tuple(sorted(getattr(self, name))))
        for number, name in enumerate(self.classes):
            same = [other for other in self.classes[:number] if canonical(other) == canonical(name)]
            if same:
                raise UserError(f"classes names {same[0]} and {name}, which are one class: leave one out")
        ours, extra = set(map(canonical, self.classes)), self.extra_classes
        twice = [name for name in extra if canonical(name) in ours or extra.count(name) > 1]
        if twice:
            raise UserError(f"extra_classes names {twice[0]}, which is there already: leave it out")
        self._check_validation()
        number, count = self.left_out or (1, 2)
        if not (count >= 2 and 1 <= number <= count):
            raise UserError(f"fold must be i/K, such as 1/5 to 5/5, got {self.fold!r}")
        if self.sampling == "balanced" and self.oversample_ratio:
            raise UserError(
                f"sampling balanced shows all classes as often: oversample_ratio {self.oversample_ratio:g} "
                "does not go with it, make that 0"
            )

    @property
    def left_out(self) -> tuple[int, int] | None:
        """The number of the fold that is left out, from 1, and how many there are; None: nothing is."""
        parts = self.fold.split("/")
        if len(parts) == 2 and all(part.isdecimal() for part in parts):
            return int(parts[0]), int(parts[1])
        return (0, 0) if self.fold else None

    def _check_validation(self) -> None:
        given = f"validation_fraction {self.validation_fraction:g}"
        if self.validation_fraction and self.selected_by:
            raise UserError(
                f"{given} does not go with selected_by {self.selected_by}, for which all of train is learnt: "
                "leave it out"
            )
        if not self.validation_fraction and not self.selected_by:
            raise UserError(
                f"{given} leaves nothing to choose the model by: name a validated run with --selected-by, or "
                "use 0.01 to 0.9"
            )
        if 0 < self.validation_fraction < LEAST_VALIDATION:
            raise UserError(
                f"validation_fraction must be {LEAST_VALIDATION} or more, got {self.validation_fraction}"
            )


@dataclass(frozen=True)
class Face(Options):
    """How a face becomes the network's input."""

    source_size: int = option(48, "side of the cached images, pixels", low=16, high=1024)
    input_size: int = option(128, "side of the network's input, pixels", low=32, high=1024)
    color: bool = option(False, "keep colours instead of grey copied to three channels")


@dataclass(frozen=True)
class Model(Options):
    """The network, its head and what it starts from."""

    arch: str = option("mobilenet_v3_small", "network, one of --list")
    weights: str = option(
        "imagenet",
        "initial weights: imagenet, none, released:NAME, a .keras of this project, a backbone's .h5, "
        "PyTorch's .pth or .npz (or a.pth,b.pth), dlib's .dat",
    )
    quantise: str = option("", "complete run, or released folder, whose network is fine-tuned for 8 bits")
    head_units: tuple[int, ...] = option(
        (512, 256, 128), "dense layers of the head, for networks without one of their own", low=1, high=8192
    )
    head_dropout: tuple[float, ...] = option(
        (0.5, 0.4, 0.3, 0.2), "dropout after the pooling and after each dense layer", low=0, high=0.95
    )
    head_l2: float = option(3e-5, "L2 penalty on the dense layers", low=0, high=1)
    batch_norm_momentum: float = option(
        0.999, "momentum of the backbone's batch norms; 0.97 or so when they train", low=0, high=0.9999
    )
    dan_heads: int = option(4, "heads of attention (dan only)", low=2, high=64)
    freeze: tuple[str, ...] = option(
        (), "layers whose names begin so never train: face_landback, POSTER's landmark network"
    )

    def check(self) -> None:
        needed = len(self.head_units) + 1
        if len(self.head_dropout) != needed:
            raise UserError(
                f"head_dropout needs {needed} values (one more than head_units), got {len(self.head_dropout)}"
            )


@dataclass(frozen=True)
class Loss(Options):
    """What is minimised, and whose labels."""

    method: str = option(
        "plain",
        "what else is learnt, by networks with the common head: lnsu (LNSU-Net's losses), ada_df_fusion "
        "(Ada-DF's targets)",
        choices=("plain", "lnsu", "ada_df_fusion"),
    )
    focal_gamma: float = option(0.5, "focusing exponent of the focal loss (0: cross-entropy)", low=0, high=10)
    class_weight_beta: float = option(
        0.99, "beta of the effective-number class weights (0: none)", low=0, high=0.999999
    )
    label_smoothing: float = option(0.0, "part of each label spread over all classes", low=0, high=0.9)
    affinity_weight: float = option(
        1.0, "weight of DAN's loss of features far from their class's centre (dan only)", low=0, high=1000
    )
    partition_weight: float = option(
        1.0, "weight of DAN's loss of heads that are alike (dan only)", low=0, high=1000
    )
    diversity_weight: float = option(
        0.1, "weight of DDAMFN's loss of attention maps that are alike (ddamfn only)", low=0, high=1000
    )
    ada_df_threshold: float = option(
        0.7,
        "probability that a class needs on the whole, lest Ada-DF use this number for its distribution",
        low=0.01,
        high=0.99,
    )
    ada_df_ramp: float = option(3.0, "epochs until Ada-DF's second branch counts fully", low=0.1, high=10000)
    votes: str = option("", "CSV of several people's votes an image (FER+), which soften the labels")
    votes_weight: float = option(0.5, "part of each target that comes from the votes", low=0, high=1)
    targets: str = option(
        "",
        "refined labels: models' probabilities of the training images, a .npz file of the command refine",
    )
    targets_weight: float = option(0.7, "part of each target that comes from them", low=0, high=1)
    teacher: tuple[str, ...] = option((), "run folders or .keras files to distil from, averaged")
    temperature: float = option(2.0, "temperature of the distillation", low=0.1, high=100)
    distill_weight: float = option(
        0.5, "part of the loss that comes from the teacher (1: the labels count for nothing)", low=0, high=1
    )
    views: int = option(
        0,
        "fixed augmented epochs on which the teacher answers once, given in turn (0: it is asked each step)",
        low=0,
        high=10000,
    )
    views_seed: int = option(
        42, "seed of their order, MixUp and augmentation, whatever the run's", low=0, high=LAST_SEED
    )

    def check(self) -> None:
        if self.views and not self.teacher:
            raise UserError(f"views {self.views} are what a teacher answers on: name one with --teacher")


@dataclass(frozen=True)
class Augmentation(Options):
    """What is done to an image each time that it is shown."""

    mixup_alpha: float = option(0.2, "alpha of MixUp's Beta distribution (0: off)", low=0, high=10)
    mixup_share: float = option(1.0, "part of the images that MixUp mixes", low=0, high=1)
    flip: bool = option(True, "mirror half of the images")
    zoom: float = option(0.15, "crop down to 1 - zoom of the side, then enlarge", low=0, high=0.9)
    shift: float = option(0.0, "move by up to this part of the side", low=0, high=0.5)
    rotation: float = option(0.0, "turn by up to this many degrees", low=0, high=180)
    erase: float = option(
        0.0, "part of the images in which a rectangle of 2 to 25 % is painted grey", low=0, high=1
    )
    degrade: float = option(
        0.0,
        "part of the images that are blurred, smeared, coarse, noisy or of another gamma (with views the "
        "teacher sees them as they were)",
        low=0,
        high=1,
    )
    brightness: float = option(0.2, "add up to this part of the range", low=0, high=1)
    contrast: float = option(0.2, "change the contrast by up to this part", low=0, high=0.99)
    saturation: float = option(
        0.1, "change the saturation by up to this part (colour only)", low=0, high=0.99
    )
    hue: float = option(0.03, "turn the hue by up to this part of the circle (colour only)", low=0, high=0.5)


@dataclass(frozen=True)
class Optimiser(Options):
    """How a step is made of the gradients."""

    name: str = option("adam", "optimizer", key="optimizer", choices=("adam", "adamw", "sgd"))
    momentum: float = option(0.9, "momentum, Nesterov's (sgd only)", low=0, high=0.9999)
    weight_decay: float = option(0.0, "decoupled weight decay (adamw and sgd)", low=0, high=1)
    clipnorm: float = option(1.0, "largest norm of a gradient tensor (0: off)", low=0)
    batch_size: int = option(32, "images a step", low=1, high=65536)
    ema: float = option(
        0.0,
        "momentum of an average of the weights, evaluated with re-estimated statistics (0: off)",
        low=0,
        high=0.99999,
    )
    sam_rho: float = option(
        0.0, "radius of sharpness-aware minimization, two passes a step (0: off)", low=0, high=10
    )
    precision: str = option(
        "float32", "arithmetic of training", choices=("float32", "mixed_float16", "mixed_bfloat16")
    )

    def check(self) -> None:
        if self.sam_rho and self.precision == "mixed_float16":
            raise UserError(
                "sam_rho does not go with the loss scaling of mixed_float16: use mixed_bfloat16 or float32"
            )
        if self.weight_decay and self.name == "adam":
            raise UserError(
                f"weight_decay {self.weight_decay} has no effect with {self.name}: use optimizer adamw or sgd"
            )


@dataclass(frozen=True)
class Schedule(Options):
    """The two stages of training: how long, how fast, and which layers."""

    stage1_epochs: int = option(25, "most epochs with the backbone frozen", low=0, high=10000)
    stage1_lr: float = option(5e-4, "learning rate of stage 1", low=1e-9, high=10)
    stage1_patience: int = option(
        15, "epochs without a better validation accuracy that end stage 1", low=1, high=10000
    )
    stage2_epochs: int = option(150, "most epochs of fine-tuning", low=0, high=10000)
    stage2_lr: float = option(1e-4, "peak learning rate of stage 2", low=1e-9, high=10)
    stage2_floor_lr: float = option(1e-7, "learning rate at the end of the cosine", low=0, high=10)
    stage2_warmup_epochs: int = option(5, "epochs of linear warm-up to the peak", low=0, high=10000)
    stage2_patience: int = option(
        35, "epochs without a better validation accuracy that end stage 2", low=1, high=10000
    )
    stage2_schedule: str = option(
        "cosine",
        "how stage 2's rate falls after the warm-up: cosine, or step, by stage2_decay",
        choices=("cosine", "step"),
    )
    stage2_decay: float = option(0.1, "factor of the step schedule", low=1e-6, high=1)
    stage2_decay_epochs: int = option(10, "epochs between its steps", low=1, high=10000)
    unfreeze_layers: int = option(
        60, "backbone layers that stage 2 trains, from the last (-1: all)", low=-1, high=100000
    )
    train_batch_norm: bool = option(False, "train the unfrozen batch norms too")

    def check(self) -> None:
        warmup, epochs = self.stage2_warmup_epochs, self.stage2_epochs
        if self.stage1_epochs + epochs == 0:
            raise UserError("stage1_epochs and stage2_epochs are both 0: nothing would be trained")
        if epochs and warmup >= epochs:
            raise UserError(
                f"stage2_warmup_epochs {warmup} must be below stage2_epochs {epochs}: add "
                f"stage2_warmup_epochs {epochs - 1}, or less"
            )
        if self.stage2_floor_lr > self.stage2_lr:
            raise UserError(
                f"stage2_floor_lr {self.stage2_floor_lr} is above stage2_lr {self.stage2_lr}: the cosine "
                "would rise"
            )
