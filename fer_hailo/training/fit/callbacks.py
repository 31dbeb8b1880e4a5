"""What happens around an epoch, in this order: choose the batches, watch the loss, validate, keep the best,
stop, save, tell.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import written
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.common.progress import Bar, Line, duration, spark
from fer_hailo.predict import private
from fer_hailo.training.data.dataset import Part
from fer_hailo.training.data.feed import TrainingBatches
from fer_hailo.training.evaluate.plots import plot_history
from fer_hailo.training.evaluate.score import Scorer
from fer_hailo.training.fit.devices import Devices
from fer_hailo.training.fit.state import Progress, keras_numpy, save_state
from fer_hailo.training.models.build import batch_norms
from fer_hailo.training.models.inputs import FACES, FaceInput

HISTORY = [
    "stage",
    "epoch",
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "val_macro_recall",
    "learning_rate",
    "seconds",
]
LOOK_EVERY = 50  # steps between looks at the loss: each look waits for the device
STATISTICS_PICTURES, STATISTICS_BATCH = 2048, 128


class Order(keras.callbacks.Callback):
    """Gives each epoch its own order, a function of seed, stage and epoch alone, so that a resumed run sees
    the same; with views their augmentation too.
    """

    def __init__(self, batches: TrainingBatches):
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.batches.set_epoch(epoch)
        if self.batches.answers:
            self.model.get_layer(FACES).begin_view(self.batches.seed, self.batches.epoch)


class StopOnNaN(keras.callbacks.Callback):
    """Ends the run before a broken model replaces a good one: watches `loss`, or, after validation,
    `val_loss`, which also sees what the epoch's last step did.
    """

    def __init__(self, stage: int, name: str):
        super().__init__()
        self.stage, self.name = stage, name

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        if batch % LOOK_EVERY == 0 and self.name in logs:
            self._check(logs)

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        self._check(logs)

    def _check(self, logs):
        value = float(logs[self.name])
        if not math.isfinite(value):
            raise UserError(
                f"{self.name} became {value} in stage {self.stage}: the best model and the last whole epoch "
                "are kept; "
                f"start again with a lower --stage{self.stage}-lr or --clipnorm 1"
            )


class Validate(keras.callbacks.Callback):
    """Scores what would be exported: a float32 copy of the network, of the weights' average where one is
    kept.

    Averaged weights need statistics of their own: the batch norms that train are re-estimated on training
    images. Adds val_loss, val_accuracy, val_macro_recall and learning_rate to the epoch's logs; of a run on
    all of train, which has nothing to validate on, the last alone.
    """

    def __init__(
        self, network: keras.Model, export: keras.Model, scorer: Scorer, val: Part, loss: keras.Loss,
        train: TrainingBatches,
        place: Devices, config: Config,
    ):  # fmt: skip
        super().__init__()
        self.network, self.export, self.scorer, self.val, self.loss = network, export, scorer, val, loss
        self.train, self.place, self.config = train, place, config
        self._in_training = InTraining(export, config.preprocess)

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        copy_weights(self.network, self.export)
        with self.place.alone():
            if self.config.optimiser.ema:
                self._average()
                self._estimate_statistics()
            if len(self.val):
                self._judge(self.scorer.logits(self.val.images), logs)
        logs["learning_rate"] = float(keras_numpy(self.model.optimizer.learning_rate))

    def _judge(self, logits: np.ndarray, logs: dict) -> None:
        right = logits.argmax(axis=1) == self.val.labels
        onehot = np.eye(logits.shape[1], dtype=np.float32)[self.val.labels]
        macro = np.mean([right[self.val.labels == c].mean() for c in np.unique(self.val.labels)])
        scores = self.place.agree(
            [float(keras_numpy(self.loss(onehot, logits))), float(right.mean()), float(macro)]
        )
        logs["val_loss"], logs["val_accuracy"], logs["val_macro_recall"] = map(float, scores)

    def _average(self):
        twins = {id(variable): twin for variable, twin in _pairs(self.network, self.export)}
        for variable, average in private.moving_averages(self.model.optimizer):
            if id(variable) in twins:  # not what only training has
                _assign(twins[id(variable)], keras_numpy(average))

    def _estimate_statistics(self):
        """Set the moving statistics of the batch norms that train to their plain mean over some training
        batches.
        """
        norms = [layer for layer in batch_norms(self.export.layers) if layer.trainable]
        order = np.random.default_rng(self.config.seed).permutation(self.train.indices)
        # A small last batch would count as much as a full one
        whole = max(1, min(len(order), STATISTICS_PICTURES) // STATISTICS_BATCH)
        batches = [order[i * STATISTICS_BATCH : (i + 1) * STATISTICS_BATCH] for i in range(whole)]
        kept = [layer.momentum for layer in norms]
        for layer in norms:
            layer.momentum = 0.0  # the moving statistics become those of the batch
        statistics = [v for layer in norms for v in (layer.moving_mean, layer.moving_variance)]
        sums = [np.zeros(v.shape, np.float64) for v in statistics]
        for batch in batches:
            self._in_training.predict_on_batch(self.train.images[batch])
            sums = [total + keras_numpy(v) for total, v in zip(sums, statistics, strict=True)]
        for variable, total in zip(statistics, sums, strict=True):
            variable.assign(total / len(batches))
        for layer, momentum in zip(norms, kept, strict=True):
            layer.momentum = momentum


class InTraining(keras.Model):
    """A network that behaves as in training whoever calls it, so that the compiled `predict` can update its
    statistics.
    """

    def __init__(self, network: keras.Model, spec: PreprocessSpec):
        super().__init__()
        self.network, self.prepare = network, FaceInput(spec, dtype="float32")

    def call(self, images: Any) -> Any:
        return self.network(self.prepare(images), training=True)


class KeepBest(keras.callbacks.Callback):
    """Saves the exported network when its validation accuracy is the run's best. Keras' ModelCheckpoint
    writes in place, so that a kill at that moment would cost the model it was to protect.
    """

    def __init__(self, path: Path, export: keras.Model, progress: Progress):
        super().__init__()
        self.path, self.export, self.progress = path, export, progress

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        if logs["val_accuracy"] > self.progress.best:
            self.progress.best = logs["val_accuracy"]
            with written(self.path) as beside:
                self.export.save(beside)


class KeepLast(KeepBest):
    """Of a run on all of train, whose length is fixed: saves every epoch's network, so that the last
    stays.
    """

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        # There is no validation loss to tell
        if not all(np.isfinite(weight).all() for weight in self.export.get_weights()):
            raise UserError(
                "the weights are no numbers any more: the last whole epoch's model is kept; repeat a run "
                "that went well"
            )
        self.progress.best = 0.0
        with written(self.path) as beside:
            self.export.save(beside)


class Stopping(keras.callbacks.EarlyStopping):
    """Keras' early stopping on validation accuracy, whose counters outlive the process."""

    def __init__(self, patience: int, progress: Progress):
        super().__init__(monitor="val_accuracy", mode="max", patience=patience)
        self.progress = progress

    def on_train_begin(self, logs: dict | None = None) -> None:
        super().on_train_begin(logs)
        self.wait = self.progress.wait
        if self.progress.stage_best is not None:
            self.best = self.progress.stage_best

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        self.progress.wait, self.progress.stage_best = self.wait, float(self.best)


class SaveState(keras.callbacks.Callback):
    """Writes the state from which `--resume` goes on. Comes after all that changes the counters."""

    def __init__(
        self, state: Path, progress: Progress, export: keras.Model, write_history: Callable[[], None]
    ):
        super().__init__()
        self.state, self.progress, self.export, self.write_history = state, progress, export, write_history

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        progress = self.progress
        row = {name: float(logs[name]) for name in HISTORY[2:-1] if name in logs}
        seconds = round(time.monotonic() - self.start, 2)
        progress.history.append({"stage": progress.stage, "epoch": epoch + 1, **row, "seconds": seconds})
        progress.epoch, progress.finished = epoch + 1, self.model.stop_training
        save_state(self.state, progress, all_variables(self.model, self.export))
        self.write_history()


class Tell(keras.callbacks.Callback):
    """One line an epoch, with the time left if no stage ends early; within an epoch a bar, and on a terminal
    the curves so far.
    """

    def __init__(self, progress: Progress, epochs: int, steps: int, later_epochs: int):
        super().__init__()
        self.progress, self.epochs, self.steps, self.later_epochs = progress, epochs, steps, later_epochs
        self.line, self.compiled = Line(), False

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        label = f"stage {self.progress.stage} epoch {epoch + 1}/{self.epochs}"
        self.bar = Bar(self.steps, label, self.line)
        if self.line.live and not self.compiled:
            self.line.show(f"{label}: compiling the training step")

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self.compiled:
            self.bar.show(batch + 1)
        else:  # seconds to minutes, from which nothing follows for the others
            self.compiled = True
            self.bar.begin(batch + 1)

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        seconds = np.median(
            [row["seconds"] for row in self.progress.history if row["stage"] == self.progress.stage]
        )
        left = seconds * (self.epochs - epoch - 1 + self.later_epochs)
        validation = (
            f"validation loss {logs['val_loss']:.4f} accuracy {logs['val_accuracy']:.4f} macro "
            f"{logs['val_macro_recall']:.4f} "
            f"(best {self.progress.best:.4f}), "
            if "val_loss" in logs
            else ""
        )
        self.line.done(
            f"stage {self.progress.stage} epoch {epoch + 1}/{self.epochs}: loss {logs['loss']:.4f} accuracy "
            f"{logs['accuracy']:.4f}, "
            f"{validation}lr {logs['learning_rate']:.1e}, {duration(seconds)} an epoch, at most "
            f"{duration(left)} left"
        )
        if self.line.live:
            self._curves()

    def _curves(self) -> None:
        """Each a line, so that it scrolls by with the epochs."""
        history = self.progress.history
        for name, what in (("loss", "loss"), ("val_accuracy", "validation accuracy")):
            values = [row[name] for row in history if name in row]
            if len(values) > 1:
                curve = spark(values, self.line.steps)
                self.line.done(f"  {what:<20}{values[0]:.3f} {curve} {values[-1]:.3f}")


class Draw(keras.callbacks.Callback):
    """The curves so far as an image, after an epoch, at most once a minute: drawing takes a second."""

    def __init__(self, path: Path, progress: Progress, clock: Callable[[], float] = time.monotonic):
        super().__init__()
        self.path, self.progress, self.clock, self.drawn = path, progress, clock, clock()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if self.clock() - self.drawn >= 60:
            plot_history(self.path, self.progress.history)
            self.drawn = self.clock()


def copy_weights(source: keras.Model, target: keras.Model, agree: Callable = list) -> None:
    """Copy the weights of a network to its twin, in float32. Where one has logits of extra classes, those
    that both have are copied; where one is a part of the other, the layers of the same name. agree: applied
    to the list of weights first.
    """
    values = dict(zip(map(id, source.weights), agree(source.get_weights()), strict=True))
    for variable, twin in _pairs(source, target):
        _assign(twin, np.asarray(values[id(variable)], np.float32))


def _pairs(source: keras.Model, target: keras.Model) -> list[tuple]:
    if len(source.weights) == len(target.weights):
        return list(zip(source.weights, target.weights, strict=True))
    layers = {layer.name: layer for layer in source.layers}
    both = [(layers[layer.name], layer) for layer in target.layers if layer.name in layers]
    return [pair for one, other in both for pair in zip(one.weights, other.weights, strict=True)]


def _assign(variable, value: np.ndarray) -> None:
    if tuple(variable.shape) != value.shape:
        common = tuple(slice(min(sizes)) for sizes in zip(variable.shape, value.shape, strict=True))
        whole = np.array(keras_numpy(variable))
        whole[common] = value[common]
        value = whole
    variable.assign(value)


def all_variables(model: keras.Model, export: keras.Model) -> list:
    """Weights, optimizer, random generators: all on which the next epoch depends, but for the teachers, which
    do not change.
    """
    fixed = {
        id(v)
        for layer in model.layers
        for teacher in getattr(layer, "teachers", ())
        for v in teacher.variables
    }
    return [
        *(v for v in model.variables if id(v) not in fixed),
        *model.optimizer.variables,
        *export.variables,
    ]
