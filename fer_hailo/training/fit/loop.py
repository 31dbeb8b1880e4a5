"""A training run from configuration to scored model: two stages, each resumable after every epoch."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

from fer_hailo.common.calls import call
from fer_hailo.common.config import Config, save_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import locked, write_csv, write_json, write_text, written
from fer_hailo.common.reading import reading
from fer_hailo.common.runs import (
    CONFIG,
    CURVES,
    ENVIRONMENT,
    LABELS,
    LOCK,
    MODEL,
    cache_of,
    environment,
    note_resumed,
    taught_by,
)
from fer_hailo.deploy.home import Use, resolve
from fer_hailo.deploy.selection import SELECTION, Selection, read_selection, write_selection
from fer_hailo.training.data.dataset import Dataset, Part, describe, load_dataset
from fer_hailo.training.data.drop import check_kept, drop_text, keep_drop, read_drop
from fer_hailo.training.data.feed import TrainingBatches, feed
from fer_hailo.training.data.ferplus import read_votes
from fer_hailo.training.data.targets import read_targets, refined
from fer_hailo.training.data.votes import soften
from fer_hailo.training.evaluate.score import Scorer
from fer_hailo.training.fit import callbacks as cb
from fer_hailo.training.fit.batches import training_batches
from fer_hailo.training.fit.devices import Devices, devices
from fer_hailo.training.fit.distill import load_teachers, teacher_digests
from fer_hailo.training.fit.lineage import check_lineage
from fer_hailo.training.fit.outcome import score_run
from fer_hailo.training.fit.repeat import select
from fer_hailo.training.fit.speed import fast_kernels
from fer_hailo.training.fit.state import Progress, load_progress, load_variables, save_state
from fer_hailo.training.fit.step import make_loss, make_optimizer, training_model
from fer_hailo.training.fit.views import view_answers
from fer_hailo.training.models.build import build_model, load_model, set_stage
from fer_hailo.training.networks.record import PLAIN, Setting, System
from fer_hailo.training.networks.registry import network as known_network
from fer_hailo.training.networks.registry import objective
from fer_hailo.training.networks.weights import check_weights

STATE = Path("checkpoint") / "state.npz"
TARGETS = Path("checkpoint") / "targets.npy"


def start(config: Config, run: Path, count: int = 1) -> Path:
    """Train a new run in the folder `run` on `count` devices. Returns the folder."""
    check(config, count)
    check_weights(config.model.weights)
    place = _devices(config, count)
    if not place.chief:  # every process does the same; one of them keeps it
        with tempfile.TemporaryDirectory() as folder:
            return _start(config, Path(folder) / run.name, place, cache_of(run))
    return _start(config, run, place, cache_of(run))


def _start(config: Config, run: Path, place: Devices, cache: Path) -> Path:
    listed = drop_text(config)  # as it is now, whatever becomes of the file
    dataset = _load(config, cache)
    selection = select(config, dataset) if config.data.selected_by else None
    # Before the folder is made: a mistake in arch or weights leaves nothing behind
    prepared = _prepare(config, dataset, place, cache)
    run.mkdir(parents=True, exist_ok=True)
    record = environment() | {"data": {"name": dataset.name, "key": dataset.key}} | keep_drop(run, listed)
    write_json(run / ENVIRONMENT, record | {"teachers": teacher_digests(config), "resumed": []})
    write_text(run / LABELS, "\n".join(dataset.names) + "\n")
    if selection:
        write_selection(run, selection)
    save_config(config, run / CONFIG)  # last: a folder with it can be resumed
    if config.loss.votes or config.loss.targets:
        _keep_targets(run / TARGETS, prepared[0])
    return Run(run, config, dataset, place, *prepared, Progress(dataset.key), selection).finish()


def check(config: Config, count: int = 1) -> None:
    """Raise UserError for what can be told before data is read: devices, network, method, what is left out,
    votes, refined labels, teachers.
    """
    _check_method(config, _devices(config, count))
    if config.data.drop:
        read_drop(config.data.drop)
    if config.loss.votes:
        read_votes(config.loss.votes)
    if config.loss.targets:
        read_targets(config.loss.targets)
    for teacher in config.loss.teacher:
        resolve(teacher, Use.LEARN)


def resume(run: Path, wanted: Config, count: int = 1) -> Path:
    """Go on with an interrupted run. wanted: its configuration; it may say that its data lies elsewhere."""
    place = _devices(wanted, count)
    if place.share[1] > 1:
        raise UserError(
            "--resume works with one process: take the variables of Keras' distribution away, or start a new "
            "run"
        )
    with locked(run / LOCK, wait=False):  # said now, not after the data are read
        progress = load_progress(run / STATE)
    if wanted.data.drop:
        check_kept(run)
    dataset = _load(wanted, cache_of(run))
    if progress and progress.data_key != dataset.key:
        raise UserError(
            f"{wanted.data.source} is not the data that {run} was trained on: point --data at that, or start "
            "a new run"
        )
    if taught_by(run) not in (None, teacher_digests(wanted)):
        raise UserError(f"a teacher of {run} is not the model that it began with: start this run again")
    note_resumed(run)
    # A state holds every variable, so that the initial weights need not be there any more.
    targets = _kept_targets(run / TARGETS) if wanted.loss.votes or wanted.loss.targets else None
    begun = wanted.change(weights="none") if progress else wanted
    prepared = _prepare(begun, dataset, place, cache_of(run), targets)
    selection = read_selection(run)
    if bool(selection) != bool(wanted.data.selected_by):
        raise UserError(f"{run} lacks {SELECTION}, which tells how long to train: start this run again")
    return Run(run, wanted, dataset, place, *prepared, progress or Progress(dataset.key), selection).finish()


class Run:
    """One training run: its folder, configuration and data, the devices, the targets, the network that trains
    and its float32 twin that is saved, the teachers, or with views their answers, as TrainingBatches takes
    them; of a run on all of train what its validated run told.
    """

    def __init__(
        self, folder: Path, config: Config, dataset: Dataset, place: Devices, targets: np.ndarray,
        network: keras.Model,
        export: keras.Model, teachers: list[keras.Model], answers: list[list[np.ndarray]],
        progress: Progress,
        selection: Selection | None = None,
    ):  # fmt: skip
        self.selection = selection
        self.folder, self.config, self.dataset, self.place, self.progress = (
            folder,
            config,
            dataset,
            place,
            progress,
        )
        self.targets, self.network, self.export = targets, network, export
        self.teachers, self.answers = teachers, answers
        whole = isinstance(known_network(config.model.arch), System)  # has no stage of its head alone
        self.epochs = {1: 0 if whole else config.schedule.stage1_epochs, 2: config.schedule.stage2_epochs}
        if selection:
            self.epochs = dict(zip((1, 2), selection.epochs, strict=True))

    def finish(self) -> Path:
        """Train what is left of the stages, score the best model, write the report. Returns the folder."""
        with locked(self.folder / LOCK, wait=False):
            self._write_history()
            _say(f"run folder: {self.folder}")
            tensorboard = self.config.tensorboard and _has_tensorboard()
            try:
                for stage in (1, 2):
                    if self.epochs[stage] and stage >= self.progress.stage:
                        self._train(stage, tensorboard)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(
                    f"every whole epoch is saved, go on with {call('train')} --resume {self.folder}"
                ) from None
            score_run(self.folder, self.config, self.dataset, _note(self.selection), self.selection)
        return self.folder

    def _train(self, stage: int, tensorboard: bool) -> None:
        config, progress = self.config, self.progress
        begins = progress.stage < stage
        if begins and progress.best >= 0:
            # Stage 2 starts from the best of stage 1
            cb.copy_weights(load_model(self.folder / MODEL), self.network, self.place.agree)
        for network in (self.network, self.export):
            set_stage(
                network,
                stage,
                config.schedule.unfreeze_layers,
                config.schedule.train_batch_norm,
                config.model.freeze,
            )
        # What is drawn from here on must not depend on what ran before: a resumed process has run nothing.
        keras.utils.set_random_seed(config.seed + stage)
        lessons = self.dataset.lessons()
        batches = training_batches(config, lessons, self.targets, stage, self.place, self.answers)
        with self.place.scope():
            counts = np.bincount(lessons.labels)
            own = 1 - config.loss.distill_weight if config.loss.teacher else 1.0
            model = training_model(self.network, Setting(config, counts, len(batches), own), self.teachers)
            loss, optimizer = make_loss(config, counts), make_optimizer(config, stage, len(batches))
            self.place.prepare_optimizer(optimizer)
            # By its object: Keras makes the variables of "accuracy" while TensorFlow traces the step, which
            # is then traced once more.
            accuracy = keras.metrics.CategoricalAccuracy("accuracy")
            model.compile(optimizer, loss, loss_weights=[own * objective(config).outside], metrics=[accuracy])
            model.optimizer.build(model.trainable_variables)
        variables = cb.all_variables(model, self.export)
        if begins:
            # From its first epoch on the stage may replace the best model, so where it started must be on
            # disk before.
            progress.begin(stage)
            save_state(self.folder / STATE, progress, variables)
        else:
            # Also of a stage that is over: the next one goes on with its random states.
            load_variables(self.folder / STATE, variables)
        if progress.finished:
            return
        trains = int(sum(np.prod(w.shape) for w in self.network.trainable_weights))
        _say(
            f"stage {stage}: {len(batches):,} steps an epoch, {trains:,} of {self.network.count_params():,} "
            "parameters train"
        )
        steps = self._callbacks(stage, batches)
        if tensorboard:
            steps.append(
                keras.callbacks.TensorBoard(self.folder / "tensorboard" / f"stage{stage}", write_graph=False)
            )
        with self.place.running(), fast_kernels():
            model.fit(
                feed(batches),
                initial_epoch=progress.epoch,
                epochs=self.epochs[stage],
                callbacks=steps,
                verbose=0,
                shuffle=False,
            )

    def _callbacks(self, stage: int, batches: TrainingBatches) -> list[keras.callbacks.Callback]:
        config, progress = self.config, self.progress
        loss = make_loss(config, np.bincount(self.dataset.train.labels))  # of the scored classes
        patience = config.schedule.stage1_patience if stage == 1 else config.schedule.stage2_patience
        scorer = Scorer(self.export, config.preprocess)
        later = sum(epochs for number, epochs in self.epochs.items() if number > stage)
        keep = cb.KeepBest if self.config.data.validation_fraction else cb.KeepLast
        judging = (
            [cb.StopOnNaN(stage, "val_loss"), cb.Stopping(patience, progress)]
            if self.config.data.validation_fraction
            else []
        )
        return [
            cb.Order(batches),
            cb.StopOnNaN(stage, "loss"),
            cb.Validate(
                self.network, self.export, scorer, self.dataset.val, loss, batches, self.place, config
            ),
            *judging[:1],
            keep(self.folder / MODEL, self.export, progress),
            *judging[1:],
            cb.SaveState(self.folder / STATE, progress, self.export, self._write_history),
            cb.Tell(progress, self.epochs[stage], len(batches), later),
            cb.Draw(self.folder / CURVES, progress),
        ]

    def _write_history(self) -> None:
        if self.progress.history:
            write_csv(self.folder / "history.csv", cb.HISTORY, self.progress.history)


def _note(selection: Selection | None) -> str:
    """How the model was chosen, for the report."""
    if not selection:
        return "Validation chose the model; test was scored once, at the end."
    chosen = f"the settings and lengths that the validation side of {selection.name} chose"
    return f"Trained on all of train, with {chosen}; test was scored once, at the end."


def _load(config: Config, cache: Path) -> Dataset:
    dataset = load_dataset(config, cache)
    _say(describe(dataset))
    for side in ("train", "val") if config.data.validation_fraction else ("train",):
        dataset.part(side)
    return dataset


def _devices(config: Config, count: int) -> Devices:
    place = devices(count)
    if config.optimiser.batch_size % place.count:
        raise UserError(
            f"batch_size {config.optimiser.batch_size} cannot be divided among {place.count} devices: choose "
            "a multiple"
        )
    return place


def _prepare(
    config: Config, dataset: Dataset, place: Devices, cache: Path, targets: np.ndarray | None = None
) -> tuple[np.ndarray, keras.Model, keras.Model, list[keras.Model], list[list[np.ndarray]]]:
    """The targets (N, C), unless they are known, the network that trains, in the configured precision, its
    float32 twin that is scored and saved, and the teachers, or with views their answers.
    """
    _check_method(config, place)
    lessons, classes = dataset.lessons(), len(dataset.names) + len(dataset.extra_names)
    check_lineage(config if targets is None else config.change(targets=""), dataset)
    if targets is None:
        targets = _targets(config, dataset, lessons)
    answers = view_answers(config, lessons, cache) if config.loss.views else []
    with place.scope():
        teachers = [] if answers else load_teachers(config)
        keras.utils.set_random_seed(config.seed)
        keras.config.set_dtype_policy(config.optimiser.precision)
        try:
            network = build_model(config, logits=classes, training=True, images=lessons.images)
        finally:
            keras.config.set_dtype_policy("float32")
    place.prepare(network)
    export = build_model(config, weights="none")
    cb.copy_weights(network, export)
    return targets, network, export, teachers, answers


def _targets(config: Config, dataset: Dataset, lessons: Part) -> np.ndarray:
    """What the lessons are to be answered with: their labels, softened by votes, refined by models."""
    targets = dataset.targets
    if config.loss.votes:
        targets = soften(lessons, targets, config.loss.votes, config.loss.votes_weight)
    if config.loss.targets:
        targets, count = refined(lessons.images, targets, config)
        _say(f"{config.loss.targets} refines the labels of {count:,} of {len(lessons):,} training images")
    return targets


def _check_method(config: Config, place: Devices) -> None:
    """Raise UserError where the method, the network, the backend and the devices do not go together."""
    method = objective(config)
    if isinstance(known_network(config.model.arch), System) and not config.schedule.stage2_epochs:
        raise UserError(f"{config.model.arch} trains as a whole, in stage 2: set stage2_epochs")
    if config.optimiser.sam_rho and keras.backend.backend() not in ("tensorflow", "jax"):
        raise UserError(
            f"sam_rho needs KERAS_BACKEND=tensorflow or jax, this is {keras.backend.backend()}: or set "
            "--sam-rho 0"
        )
    if config.loss.views and max(place.count, place.share[1]) > 1:
        raise UserError("views are drawn for one device: leave --devices out, or set --views 0")
    if place.parts > 1 and (config.optimiser.sam_rho or method is not PLAIN):
        what = (
            "sam_rho"
            if config.optimiser.sam_rho
            else f"the method of {config.model.arch if config.loss.method == 'plain' else config.loss.method}"
        )
        raise UserError(
            f"{what} looks at whole batches, which TensorFlow's devices do not see: use KERAS_BACKEND=jax, "
            "or one device"
        )


def _keep_targets(path: Path, targets: np.ndarray) -> None:
    """Softened targets are kept: read and fitted again, they could differ after a resume."""
    path.parent.mkdir(exist_ok=True)
    with written(path) as beside:
        np.save(beside, targets)


def _kept_targets(path: Path) -> np.ndarray | None:
    with reading(path, "is damaged", "remove its folder to start this run again"):
        return np.load(path, allow_pickle=False) if path.is_file() else None


def _has_tensorboard() -> bool:
    try:
        import tensorboard  # noqa: F401
        import tensorflow  # noqa: F401
    except ImportError:  # history.csv holds the same numbers
        return False
    return True


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
