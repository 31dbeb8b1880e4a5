"""A training run from configuration to scored model: two stages, each resumable after every epoch."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from fer_hailo.config import Config, load_config, save_config
from fer_hailo.data.balance import compute_class_weights_effective, oversample_minority_classes
from fer_hailo.data.dataset import Dataset, describe, load_dataset
from fer_hailo.data.feed import TrainingBatches
from fer_hailo.errors import UserError
from fer_hailo.evaluate.outputs import write_evaluation, write_report
from fer_hailo.evaluate.score import Scorer, evaluate_model
from fer_hailo.files import write_json, write_text
from fer_hailo.metrics import format_metrics
from fer_hailo.models.build import build_model, load_model, set_stage
from fer_hailo.models.inputs import AugmentedFaceInput
from fer_hailo.results import add_rows, row_of
from fer_hailo.runs import CONFIG, DONE, LABELS, MODEL, environment
from fer_hailo.train import callbacks as cb
from fer_hailo.train.losses import FocalLoss
from fer_hailo.train.schedules import WarmupCosine
from fer_hailo.train.state import Progress, load_progress, load_variables, save_state


@dataclass(frozen=True)
class Stage:
    """What differs between the stages."""

    number: int
    epochs: int
    patience: int


def start(config: Config, run: Path) -> Path:
    """Train a new run in the folder `run` (which must not exist or be empty). Returns the folder."""
    if run.exists() and any(run.iterdir()):
        raise UserError(f"{run} is not empty: choose another --out, or go on with --resume {run}")
    dataset = _load(config, run)
    networks = _networks(config)  # before the folder is made: a mistake in arch or weights leaves nothing behind
    run.mkdir(parents=True, exist_ok=True)
    save_config(config, run / CONFIG)
    write_json(run / "environment.json", environment())
    write_text(run / LABELS, "\n".join(dataset.names) + "\n")
    return _train(config, dataset, networks, run)


def resume(run: Path, overrides: dict) -> Path:
    """Go on with an interrupted run. `overrides` may repeat its configuration, not change it."""
    if not (run / CONFIG).is_file():
        raise UserError(f"{run} is no run folder (it has no {CONFIG}): nothing to resume")
    config = load_config(run / CONFIG)
    for name, value in load_config(None, overrides).to_dict().items():
        if name in overrides and value != config.to_dict()[name]:
            raise UserError(f"{run} was trained with {name} {config.to_dict()[name]}, not {value}: resume without it, or start a new run")
    if (run / DONE).exists():
        raise UserError(f"{run} is complete: evaluate it with python evaluate.py {run}")
    return _train(config, _load(config, run), _networks(config), run)


def _load(config: Config, run: Path) -> Dataset:
    dataset = load_dataset(config, run.parent / "cache")
    _say(describe(dataset))
    for side in ("train", "val"):
        dataset.part(side)
    return dataset


def _train(config: Config, dataset: Dataset, networks: tuple[keras.Model, keras.Model], run: Path) -> Path:
    state = run / "checkpoint" / "state.npz"
    progress = load_progress(state) or Progress(dataset.key)
    if progress.data_key != dataset.key:
        raise UserError(f"{config.data} is not the data that {run} was trained on: point it at the same data, or start a new run")
    logs = _tensorboard_folder(config, run)
    stages = [Stage(1, config.stage1_epochs, config.stage1_patience), Stage(2, config.stage2_epochs, config.stage2_patience)]
    try:
        for stage in stages:
            if stage.number < progress.stage or not stage.epochs:
                continue
            later = sum(s.epochs for s in stages if s.number > stage.number)
            _run_stage(config, stage, dataset, run, state, progress, *networks, later, logs)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"every whole epoch is saved, go on with python train.py --resume {run}") from None
    return _finish(config, dataset, run)


def _networks(config: Config) -> tuple[keras.Model, keras.Model]:
    """The network that trains, in the configured precision, and its float32 twin that is scored and saved."""
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.precision)
    try:
        network = build_model(config)
    finally:
        keras.config.set_dtype_policy("float32")
    export = build_model(config, weights="none")
    cb.copy_weights(network, export)
    return network, export


def _run_stage(config, stage, dataset, run, state, progress, network, export, later, logs) -> None:
    begins = progress.stage < stage.number
    if begins and progress.best >= 0:
        cb.copy_weights(load_model(run / MODEL), network)  # stage 2 starts from the best of stage 1
    for model in (network, export):
        set_stage(model, stage.number, config.unfreeze_layers, config.train_batch_norm)
    # Random state and initial values must not depend on what ran before: a resumed process has run nothing.
    keras.utils.set_random_seed(config.seed + stage.number)
    indices = np.arange(len(dataset.train))
    if config.oversample_ratio:
        indices = oversample_minority_classes(indices, dataset.train.labels, config.oversample_ratio, config.seed)
    batches = TrainingBatches(
        dataset.train.images, dataset.train.labels, len(dataset.names), config.batch_size, config.seed + stage.number,
        indices=indices, mixup_alpha=config.mixup_alpha, mixup_share=config.mixup_share,
    )  # fmt: skip
    model = training_model(network, config)
    loss = make_loss(config, dataset)
    model.compile(make_optimizer(config, stage.number, len(batches)), loss, metrics=["accuracy"], jit_compile=jit())
    model.optimizer.build(model.trainable_variables)
    if begins:
        # From its first epoch on the stage may replace the best model, so where it started must be on disk before.
        progress.begin(stage.number)
        save_state(state, progress, cb.all_variables(model, export))
    else:
        # Also of a stage that is over: the next one goes on with its random states.
        load_variables(state, cb.all_variables(model, export))
    if progress.finished:
        return
    scorer = Scorer(export, config.preprocess)
    steps = [
        cb.Order(batches),
        cb.StopOnNaN(stage.number),
        cb.Validate(network, export, scorer, dataset.val, loss, batches, config),
        cb.KeepBest(run / MODEL, export, progress),
        cb.Stopping(stage.patience, progress),
        cb.SaveState(run, state, progress, export),
        cb.Tell(progress, stage.epochs, len(batches), later),
    ]
    if logs:
        steps.append(keras.callbacks.TensorBoard(logs / f"stage{stage.number}", write_graph=False))
    _say(f"stage {stage.number}: {len(batches):,} steps an epoch, {_trainable(network):,} of {network.count_params():,} parameters train")
    model.fit(batches, initial_epoch=progress.epoch, epochs=stage.epochs, callbacks=steps, verbose=0, shuffle=False)


def training_model(network: keras.Model, config: Config) -> keras.Model:
    """The compiled step's model: uint8 pictures and MixUp weights in, augmentation inside, logits out."""
    images = keras.Input(config.preprocess.source_shape, dtype="uint8", name="images")
    mix = keras.Input((1,), name="mix")
    faces = AugmentedFaceInput(config, dtype="float32", name="faces")(images, mix)
    return keras.Model({"images": images, "mix": mix}, network(faces))


def make_loss(config: Config, dataset: Dataset) -> FocalLoss:
    """The focal loss, weighted by the training side's class counts before oversampling."""
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.names))
    weights = compute_class_weights_effective(counts, config.class_weight_beta) if config.class_weight_beta else None
    return FocalLoss(config.focal_gamma, weights, config.label_smoothing)


def make_optimizer(config: Config, stage: int, steps: int) -> keras.optimizers.Optimizer:
    """Stage 1 has a constant rate, stage 2 warm-up and cosine over `steps` an epoch."""
    rate = config.stage1_lr
    if stage == 2:
        rate = WarmupCosine(config.stage2_lr, config.stage2_floor_lr, config.stage2_warmup_epochs * steps, config.stage2_epochs * steps)
    options = {"clipnorm": config.clipnorm or None}
    if config.ema:
        options |= {"use_ema": True, "ema_momentum": config.ema}
    if config.optimizer == "adam":
        return keras.optimizers.Adam(rate, **options)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, **options)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])  # decaying these shifts statistics, it does not regularise
    return optimizer


def _finish(config: Config, dataset: Dataset, run: Path) -> Path:
    model = load_model(run / MODEL)
    rows = []
    for split, part in (("val", dataset.val), ("test", dataset.test)):
        if not len(part):
            _say(f"{dataset.name} has no {split} side: it is not scored")
            continue
        metrics, probabilities = evaluate_model(model, part, dataset.names, config.preprocess, data=dataset.name, split=split)
        write_evaluation(run, metrics, part, probabilities)
        rows.append(row_of(metrics, run=run.name, stage="keras", seed=config.seed, size_bytes=(run / MODEL).stat().st_size))
        print(format_metrics(metrics), flush=True)
    add_rows(run.parent / "results.csv", rows)
    write_report(
        run,
        f"{config.arch} on {dataset.name}",
        f"Run {run.name}, seed {config.seed}. Validation chose the model; test was scored once, at the end.",
    )
    write_text(run / DONE, "")
    _say(f"done: {run / MODEL} and {run / 'report.html'}")
    return run


def _trainable(network: keras.Model) -> int:
    return int(sum(np.prod(w.shape) for w in network.trainable_weights))


def jit():
    """The jit_compile to use: XLA, except for TensorFlow on a CPU, where it is several times slower for depthwise convolutions."""
    if keras.backend.backend() != "tensorflow":
        return "auto"
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def _tensorboard_folder(config: Config, run: Path) -> Path | None:
    if not config.tensorboard:
        return None
    try:
        import tensorboard  # noqa: F401
        import tensorflow  # noqa: F401
    except ImportError:
        _say("no TensorBoard log (pip install tensorboard tensorflow to get one); history.csv holds the same numbers")
        return None
    return run / "tensorboard"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
