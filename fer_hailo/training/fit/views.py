"""A teacher that answers once: a fixed set of augmented epochs, the views, and what it says of their images.

Function matching (Beyer et al. 2022) wants a student and its teacher to see the same augmented, mixed image.
Order, MixUp and augmentation of a view are functions of (views_seed, view), so that the answers can be
computed before training and kept: an epoch then costs the student's time alone, and students of other seeds
and other input sizes share them.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np

from fer_hailo.common.arrays import map_array
from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import locked, to_json, write_json, written
from fer_hailo.common.progress import Bar, duration
from fer_hailo.common.reading import DAMAGED
from fer_hailo.deploy.bundle import file_sha256
from fer_hailo.deploy.home import Use, resolve
from fer_hailo.training.data.dataset import Part
from fer_hailo.training.data.feed import TrainingBatches
from fer_hailo.training.fit.batches import training_batches
from fer_hailo.training.fit.devices import Devices
from fer_hailo.training.fit.distill import load_teacher
from fer_hailo.training.models.inputs import AugmentedFaceInput

FACTS = "views.json"
STUDENT_ONLY = ("degrade",)  # augmentation that no teacher sees


def view_answers(config: Config, lessons: Part, cache: Path) -> list[list[np.ndarray]]:
    """The logits of every teacher on the images of every view: [view][teacher], float32 (M, C) on disk, in
    the order of the view.

    They are kept in cache/views/KEY/TEACHER/VIEW.npy, KEY being a digest of all that makes the views, and
    TEACHER of its file: only what is not there is computed, a view at a time, so that a cut costs one view.
    Raises UserError as `load_teacher` does.
    """
    no_targets = np.zeros((len(lessons), 1), np.float32)
    batches = training_batches(config, lessons, no_targets, 1, Devices())
    facts = _facts(config, lessons, batches)
    folder = cache / "views" / _digest(facts)
    with locked(folder / ".lock"):  # a second run waits for what the first computes
        write_json(folder / FACTS, facts)
        try:
            found = [_of_teacher(place, config, batches, folder) for place in config.loss.teacher]
        except KeyboardInterrupt:
            raise KeyboardInterrupt("every whole view is kept, the same command goes on") from None
    return [list(view) for view in zip(*found, strict=True)]


class Answering:
    """A teacher that answers on augmented images, at its own input size, drawn from the cached image.

    That is the student's view with one enlargement instead of two. config: its augmentation.
    """

    def __init__(self, teacher: keras.Model, config: Config):
        images = keras.Input(config.preprocess.source_shape, dtype="uint8", name="images")
        mix = keras.Input((1,), name="mix")
        own = config.change(input_size=teacher.input_shape[1])
        self._faces = AugmentedFaceInput(own, dtype="float32")
        self._model = keras.Model(
            {"images": images, "mix": mix}, teacher(self._faces(images, mix), training=False)
        )

    def begin(self, batches: TrainingBatches, view: int) -> None:
        """Go to the beginning of a view, in the batches too."""
        batches.set_epoch(view)
        self._faces.begin_view(batches.seed, view)

    def logits(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """float32 (B, C) of the next batch's images and MixUp weights."""
        asked = {name: inputs[name] for name in ("images", "mix")}
        return np.asarray(self._model.predict_on_batch(asked), np.float32)


def _of_teacher(place: str, config: Config, batches: TrainingBatches, folder: Path) -> list[np.ndarray]:
    """The answers of one teacher, view by view."""
    own = folder / file_sha256(resolve(place, Use.LEARN).model)[:16]
    paths = [own / f"{view:04}.npy" for view in range(config.loss.views)]
    shape = (len(batches.order), len(config.data.classes))
    missing = [view for view, path in enumerate(paths) if _kept(path, shape) is None]
    if missing:
        _answer(place, config, batches, {view: paths[view] for view in missing})
    found = [_kept(path, shape) for path in paths]
    return [logits for logits in found if logits is not None]


def _answer(place: str, config: Config, batches: TrainingBatches, paths: dict[int, Path]) -> None:
    """Compute and keep the answers of the views that are missing."""
    teacher = Answering(load_teacher(place, config), config)
    bar, done = Bar(len(paths) * len(batches), f"{place}, {config.loss.views} views"), 0
    for view, path in paths.items():
        teacher.begin(batches, view)
        what, rows = f"{place}, view {view + 1} of {config.loss.views}", []
        for number in range(len(batches)):
            rows.append(teacher.logits(batches[number][0]))
            done += 1
            bar.show(done)
        logits = np.concatenate(rows)
        if not np.isfinite(logits).all():
            raise UserError(f"the teacher {place} gives logits that are no numbers: train it anew")
        with written(path) as beside:
            np.save(beside, logits)
        bar.line.done(f"{what}: answered, {duration(bar.left(done))} left")


def _kept(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """The answers in a file; None where there are none, or it is damaged: that costs time, not the run."""
    try:
        logits = map_array(path)
    except DAMAGED:
        return None
    return logits if logits.shape == shape and logits.dtype == np.float32 else None


def _facts(config: Config, lessons: Part, batches: TrainingBatches) -> dict:
    """All that makes the views, but how many there are: more of them leave the first as they are."""
    generator = keras.random.SeedGenerator(config.loss.views_seed)
    drawn = {} if config.data.sampling == "each" else {"sampling": config.data.sampling}
    return drawn | {
        "images": lessons.sha256(),
        "classes": list(config.data.classes),
        "indices": hashlib.sha256(batches.indices.astype("<i8").tobytes()).hexdigest(),
        "batch_size": config.optimiser.batch_size,
        "views_seed": config.loss.views_seed,
        "augmentation": {k: v for k, v in asdict(config.augmentation).items() if k not in STUDENT_ONLY},
        "source_size": config.face.source_size,
        "color": config.face.color,
        # Keras' layers draw the augmentation, and backends draw other numbers
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "drawn": [float(x) for x in keras.ops.convert_to_numpy(keras.random.uniform((4,), seed=generator))],
    }


def _digest(facts: dict) -> str:
    return hashlib.sha256(to_json(facts, sort_keys=True).encode()).hexdigest()[:16]
