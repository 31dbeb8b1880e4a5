"""Knowledge distillation (Hinton et al. 2015): the student also learns what a teacher says of the same
augmented images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.deploy.bundle import file_sha256
from fer_hailo.deploy.home import Use, resolve
from fer_hailo.training.models.build import load_model
from fer_hailo.training.models.inputs import resized


class Teachers(keras.layers.Layer):
    """What teachers answer on faces: float32 (B, T, C) logits of T teachers.

    Faces are floats (B, I, I, 3) in [-1, 1]; a teacher of another input size sees them resized.
    """

    def __init__(self, teachers: Sequence[keras.Model], **options):
        super().__init__(dtype="float32", name="teachers", **options)
        self.teachers = list(teachers)
        for teacher in self.teachers:
            teacher.trainable = False

    def call(self, faces: Any) -> Any:
        return ops.stack([self._ask(teacher, faces) for teacher in self.teachers], axis=1)

    def compute_output_shape(self, shape: tuple) -> tuple:
        return (shape[0], len(self.teachers), self.teachers[0].output_shape[-1])

    def _ask(self, teacher: keras.Model, faces):
        faces, side = ops.cast(faces, "float32"), teacher.input_shape[1]
        faces = faces if faces.shape[1] == side else resized(faces, side)
        return ops.stop_gradient(teacher(faces, training=False))


class Distillation(keras.layers.Layer):
    """Passes the student's logits (B, C or more) on, and adds weight x T^2 x KL(teachers || student) at
    temperature T.

    answers: the teachers' logits on the same faces, float (B, teachers, C), whose probabilities are averaged.
    Of a student with logits of extra classes the first C are compared. T^2 keeps the gradients' size whatever
    T is.
    """

    def __init__(self, temperature: float, weight: float, **options):
        super().__init__(dtype="float32", name="distillation", **options)
        self.temperature, self.weight = temperature, weight

    def call(self, answers: Any, logits: Any) -> Any:
        wanted = ops.mean(ops.softmax(answers / self.temperature), axis=1)
        given = ops.log_softmax(logits[:, : wanted.shape[-1]] / self.temperature)
        divergence = ops.sum(wanted * (ops.log(ops.maximum(wanted, 1e-12)) - given), axis=-1)
        self.add_loss(self.weight * self.temperature**2 * ops.mean(divergence))
        return logits

    def compute_output_shape(self, answers_shape: tuple, logits_shape: tuple) -> tuple:
        return logits_shape


def load_teachers(config: Config) -> list[keras.Model]:
    """Open the teachers of a configuration.

    Raises UserError for one that answers in other classes or sees other images.
    """
    return [load_teacher(place, config) for place in config.loss.teacher]


def load_teacher(place: str, config: Config) -> keras.Model:
    """Open one teacher of a configuration. Raises UserError as `load_teachers` does."""
    home = resolve(place, Use.LEARN)
    model, (names, spec) = load_model(home.model), home.stated
    count = model.output_shape[-1]
    if count != len(config.data.classes) or names not in (None, config.data.classes):
        known = ", ".join(names or [f"{count} classes"])
        raise UserError(
            f"the teacher {place} knows {known}, the student is to know {', '.join(config.data.classes)}"
        )
    theirs = spec or config.preprocess  # a file by itself does not tell
    for name in ("color", "source_size"):
        own, wanted = getattr(theirs, name), config.value(name)
        if own != wanted:
            raise UserError(
                f"the teacher {place} was trained with {name} {own}, the student would be with {wanted}"
            )
    return model


def teacher_digests(config: Config) -> list[str]:
    """SHA-256 of the file of each teacher."""
    return [file_sha256(resolve(place, Use.LEARN).model) for place in config.loss.teacher]
