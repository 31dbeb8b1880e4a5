"""A run that fine-tunes another one's network for 8 bits: prepared as for conversion, rounded as in LiteRT,
taught by the float network.

What the run saves is the float network that was trained to be rounded, and the ranges; convert_tflite.py
makes INT8 of the two.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

from fer_hailo.common.calls import call
from fer_hailo.common.config import Config, save_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import locked, write_csv, write_json, write_text, written
from fer_hailo.common.reading import read_json, reading
from fer_hailo.common.released import place
from fer_hailo.common.runs import (
    CONFIG,
    CURVES,
    ENVIRONMENT,
    LABELS,
    LOCK,
    MODEL,
    data_key,
    environment,
    note_resumed,
)
from fer_hailo.deploy.bundle import file_sha256
from fer_hailo.deploy.selection import Selection, read_selection, write_selection
from fer_hailo.training.convert.calibration import calibration_set
from fer_hailo.training.convert.cleanup import clean_network
from fer_hailo.training.convert.equalise import equalise
from fer_hailo.training.convert.folding import fold_constants
from fer_hailo.training.convert.graph import as_logits, flatten
from fer_hailo.training.convert.validated import validated_side
from fer_hailo.training.data.balance import balanced_weights, oversample_minority_classes
from fer_hailo.training.data.dataset import Dataset, describe, load_dataset
from fer_hailo.training.data.drop import check_kept, drop_text, keep_drop
from fer_hailo.training.data.feed import TrainingBatches, feed
from fer_hailo.training.evaluate.score import Scorer
from fer_hailo.training.fit import callbacks as cb
from fer_hailo.training.fit.distill import Distillation, Teachers
from fer_hailo.training.fit.lineage import check_lineage
from fer_hailo.training.fit.outcome import score_run
from fer_hailo.training.fit.state import Progress, load_progress, load_variables, save_state
from fer_hailo.training.fit.step import make_optimizer
from fer_hailo.training.models.build import load_model
from fer_hailo.training.models.inputs import augmented_faces
from fer_hailo.training.quantise.fake import FakeQuantised
from fer_hailo.training.quantise.judge import Judge, Keep
from fer_hailo.training.quantise.places import places_of
from fer_hailo.training.quantise.ranges import choose_ranges
from fer_hailo.training.quantise.settings import source_config

STATE = Path("checkpoint") / "state.npz"
PREPARED = Path("checkpoint") / "prepared.keras"
RECORD = "quantisation.json"
STAGE = 2  # whose settings it takes


def start_quantised(config: Config, run: Path, cache: Path) -> Path:
    """Fine-tune the network of config.model.quantise in the folder `run`, which is new.

    Returns the folder.
    """
    listed = drop_text(config)
    source, dataset = _source(config, cache)
    selection = read_selection(place(config.model.quantise))
    quantised, facts = _prepare(config, source, dataset, selection)
    run.mkdir(parents=True, exist_ok=True)
    record = environment() | {"data": {"name": dataset.name, "key": dataset.key}} | keep_drop(run, listed)
    write_json(run / ENVIRONMENT, record | {"resumed": []})
    write_text(run / LABELS, "\n".join(dataset.names) + "\n")
    if selection:
        write_selection(run, selection)
    save_config(config, run / CONFIG)  # a folder with it can be resumed
    _keep_prepared(run, quantised, facts)
    return Run(run, config, dataset, source, quantised, Progress(dataset.key), selection).finish()


def resume_quantised(run: Path, config: Config, cache: Path) -> Path:
    """Go on with an interrupted run, whose configuration is known to be its own."""
    progress = load_progress(run / STATE)
    if config.data.drop:
        check_kept(run)
    source, dataset = _source(config, cache)
    selection = read_selection(run)
    if progress:
        record = _record(run)
        if record["sha256"] != file_sha256(place(config.model.quantise) / MODEL):
            raise UserError(
                f"{config.model.quantise} holds another model than the one that {run} began with: start this "
                "run again"
            )
        quantised = FakeQuantised(load_model(run / PREPARED), config.preprocess)
    else:
        quantised, facts = _prepare(config, source, dataset, selection)
        _keep_prepared(run, quantised, facts)
    note_resumed(run)
    return Run(run, config, dataset, source, quantised, progress or Progress(dataset.key), selection).finish()


@dataclass
class Run:
    """One such run. source: the float network, the teacher. quantised: around the network that learns.
    selection: of a run on all of train, which has nothing to be judged by.
    """

    folder: Path
    config: Config
    dataset: Dataset
    source: keras.Model
    quantised: FakeQuantised
    progress: Progress
    selection: Selection | None

    def finish(self) -> Path:
        """Train what is left, score the float network that was kept, write the report. Returns the folder."""
        with locked(self.folder / LOCK, wait=False):
            self._write_history()
            try:
                self._train()
            except KeyboardInterrupt:
                raise KeyboardInterrupt(
                    f"every whole epoch is saved, go on with {call('train')} --resume {self.folder}"
                ) from None
            score_run(self.folder, self.config, self.dataset, self._note(), self.selection)
        return self.folder

    def _train(self) -> None:
        config, progress = self.config, self.progress
        keras.utils.set_random_seed(config.seed)  # a resumed process has drawn nothing before
        batches, model = self._batches(), self._model()
        model.compile(
            make_optimizer(config, STAGE, len(batches)),
            metrics=[keras.metrics.CategoricalAccuracy("accuracy")],
        )
        model.optimizer.build(model.trainable_variables)
        keep, judge = Keep(self.folder, self.quantised, progress), self._judge()
        if progress.stage < STAGE:
            self._begin(keep, judge, cb.all_variables(model, self.quantised.network))
        else:
            load_variables(self.folder / STATE, cb.all_variables(model, self.quantised.network))
        steps = [
            cb.Order(batches),
            cb.StopOnNaN(STAGE, "loss"),
            judge,
            *([] if self.selection else [cb.StopOnNaN(STAGE, "val_loss")]),
            keep,
            cb.SaveState(self.folder / STATE, progress, self.quantised.network, self._write_history),
            cb.Tell(progress, config.schedule.stage2_epochs, len(batches), 0),
            cb.Draw(self.folder / CURVES, progress),
        ]
        _say(f"{len(batches):,} steps an epoch, {self.quantised.places.count} tensors rounded")
        model.fit(
            feed(batches),
            initial_epoch=progress.epoch,
            epochs=config.schedule.stage2_epochs,
            callbacks=steps,
            verbose=0,
            shuffle=False,
        )

    def _begin(self, keep: Keep, judge: Judge, variables: list) -> None:
        """Where it starts is kept too: what no epoch betters stays."""
        before = judge.scores()
        if before:
            _say(
                f"rounded, before training: validation accuracy {before['val_accuracy']:.4f} macro "
                f"{before['val_macro_recall']:.4f}"
            )
        keep.offer(before.get("val_accuracy"))
        write_json(self.folder / RECORD, _record(self.folder) | {"before": before})
        self.progress.begin(STAGE)
        save_state(self.folder / STATE, self.progress, variables)

    def _model(self) -> keras.Model:
        """The compiled step's model: the teacher sees the same augmented images, in float and not rounded."""
        config = self.config
        images = keras.Input(config.preprocess.source_shape, dtype="uint8", name="images")
        mix = keras.Input((1,), name="mix")
        faces = augmented_faces(config, images, mix)
        logits = Distillation(config.loss.temperature, config.loss.distill_weight)(
            Teachers([self.source])(faces), self.quantised(faces)
        )
        return keras.Model({"images": images, "mix": mix}, logits)

    def _batches(self) -> TrainingBatches:
        config, train = self.config, self.dataset.train
        indices = np.arange(len(train))
        if config.data.oversample_ratio:
            indices = oversample_minority_classes(
                indices, train.labels, config.data.oversample_ratio, config.seed
            )
        classes = len(self.dataset.names)
        return TrainingBatches(
            train.images, train.labels, classes, config.optimiser.batch_size, config.seed, indices=indices,
            mixup_alpha=config.augmentation.mixup_alpha, mixup_share=config.augmentation.mixup_share,
            weights=balanced_weights(train.labels) if config.data.sampling == "balanced" else None,
        )  # fmt: skip

    def _judge(self) -> Judge:
        image = keras.Input(self.source.input_shape[1:])
        scorer = Scorer(keras.Model(image, self.quantised(image)), self.config.preprocess)
        return Judge(scorer, self.dataset.val, Scorer(self.source, self.config.preprocess).logits)

    def _note(self) -> str:
        """What the report says of the run."""
        made = (
            f"Fine-tuned for 8 bits from {Path(self.config.model.quantise).name}: the float network "
            "below "
            "is meant to be rounded."
        )
        before = _record(self.folder).get("before")
        if not before:
            return f"{made} Trained on all of train; test was scored once, at the end."
        return (
            f"{made} Rounded, its accuracy on validation was {before['val_accuracy']:.2%} before and is "
            f"{self.progress.best:.2%}. "
            "Validation chose the epoch; test was scored once, at the end."
        )

    def _write_history(self) -> None:
        if self.progress.history:
            write_csv(self.folder / "history.csv", cb.HISTORY, self.progress.history)


def _source(config: Config, cache: Path) -> tuple[keras.Model, Dataset]:
    """The float network of the run that is fine-tuned, and the data.

    Raises UserError where they do not go together.
    """
    origin = place(config.model.quantise)
    source_config(origin)
    network = as_logits(flatten(load_model(origin / MODEL)))
    places_of(fold_constants(network))  # a network that cannot be rounded is told before anything is computed
    dataset = load_dataset(config, cache)
    _say(describe(dataset))
    for side in ("train", "val") if config.data.validation_fraction else ("train",):
        dataset.part(side)
    if data_key(origin) != dataset.key:
        raise UserError(
            f"{config.data.source} is not the data that {origin} was trained on: point --data at that"
        )
    check_lineage(config, dataset)
    return network, dataset


def _prepare(
    config: Config, source: keras.Model, dataset: Dataset, selection: Selection | None
) -> tuple[FakeQuantised, dict]:
    """The network as convert_tflite.py prepares it for 8 bits, with its first ranges; what was done."""
    spec = config.preprocess
    checks = validated_side(config, selection, spec, None) if selection else dataset.val
    clean, changes = clean_network(source, dataset.train.images, checks.images, spec)
    calibration, _ = calibration_set(dataset.train, spec, config.seed)
    network, _, equalised = equalise(clean, calibration, checks.images, spec)
    quantised = FakeQuantised(network, spec)
    trials = choose_ranges(quantised, source, calibration)
    origin = place(config.model.quantise)
    facts = {"run": origin.name, "sha256": file_sha256(origin / MODEL)}
    return quantised, facts | {
        "changes": [asdict(change) for change in changes],
        "equalised": asdict(equalised),
        "ranges": trials,
    }


def _keep_prepared(run: Path, quantised: FakeQuantised, facts: dict) -> None:
    write_json(run / RECORD, facts)
    with written(run / PREPARED) as beside:
        quantised.network.save(beside)


def _record(run: Path) -> dict:
    """What a run wrote of its beginning."""
    with reading(run / RECORD, "is missing or damaged", "start this run again"):
        record = read_json(run / RECORD)
        record["sha256"]
    return record


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
