"""Batches from memory: uint8 images, one-hot labels and MixUp weights, in an order fixed by (seed, epoch)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from fer_hailo.training.data.mix import blend, mixup_weights
from fer_hailo.training.data.rows import Images


class TrainingBatches(keras.utils.PyDataset):
    """What every backend is fed with.

    Batch i is ({"images": uint8 (B, S, S[, 3]), "mix": float32 (B, 1)}, float32 (B, C)): the labels are
    blended already, the compiled step blends the images by "mix" (1: not mixed). Every image comes once an
    epoch, unless `weights` say otherwise; the last batch may be smaller.

    images: uint8 (N, S, S[, 3]); labels: int (N,), or float (N, C) where they are soft; indices: int (M,),
    images to feed, repeats allowed. multiple: what every batch is divisible by, for several devices; an epoch
    then leaves up to multiple - 1 images out. parts: pieces into which each batch will be cut before its
    images are mixed; labels are mixed within them. weights: float (M,), of the indices: an epoch then draws
    as many of them with replacement, each by its share of the weights. share: (i, n), of each batch only the
    i-th of n equal pieces is given, the others being other processes' to feed. labelled: the labels are among
    the inputs too, as "targets", for losses that a model computes inside. answers: what T teachers said of a
    number of epochs, the views, float32 (M, C) each in the order of that epoch: these epochs are given in
    turn, with the answers (B, T, C) among the inputs, as "answers".
    """

    def __init__(
        self,
        images: Images,
        labels: np.ndarray,
        classes: int,
        batch_size: int,
        seed: int,
        *,
        indices: np.ndarray | None = None,
        mixup_alpha: float = 0.0,
        mixup_share: float = 1.0,
        multiple: int = 1,
        parts: int = 1,
        share: tuple[int, int] = (0, 1),
        labelled: bool = False,
        weights: np.ndarray | None = None,
        answers: Sequence[Sequence[np.ndarray]] = (),
    ):
        super().__init__()
        self.images, self.classes, self.batch_size, self.seed = images, classes, batch_size, seed
        self.targets = (
            np.eye(classes, dtype=np.float32)[labels] if labels.ndim == 1 else np.asarray(labels, np.float32)
        )
        self.indices = np.arange(len(labels)) if indices is None else indices
        self.mixup_alpha, self.mixup_share, self.multiple, self.parts, self.share = (
            mixup_alpha,
            mixup_share,
            multiple,
            parts,
            share,
        )
        self.labelled, self.answers = labelled, answers
        self._drawn_by = None if weights is None else weights / weights.sum()
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order and the MixUp weights of an epoch (counted from 0 in its stage)."""
        self.epoch = epoch % len(self.answers) if self.answers else epoch
        rng = np.random.default_rng([self.seed, self.epoch])
        if self._drawn_by is None:
            order = rng.permutation(self.indices)
        else:
            order = rng.choice(self.indices, len(self.indices), p=self._drawn_by)
        self.order = order[: len(order) // self.multiple * self.multiple]
        self._weights = mixup_weights(len(self.order), self.mixup_alpha, self.mixup_share, rng)

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)

    def __getitem__(self, number: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        window = slice(number * self.batch_size, (number + 1) * self.batch_size)
        chosen, weights = self.order[window], self._weights[window, None]
        pieces = zip(np.split(self.targets[chosen], self.parts), np.split(weights, self.parts), strict=True)
        targets = np.concatenate([blend(piece, share, np) for piece, share in pieces])
        number, count = self.share
        mine = slice(number * len(chosen) // count, (number + 1) * len(chosen) // count)
        inputs = {"images": np.asarray(self.images[chosen[mine]]), "mix": weights[mine]}
        if self.labelled:
            inputs["targets"] = targets[mine]
        if self.answers:
            said = [logits[window] for logits in self.answers[self.epoch]]
            inputs["answers"] = np.stack(said, axis=1)[mine]
        return inputs, targets[mine]


def feed(batches: TrainingBatches) -> Any:
    """The batches in the form in which this backend's `fit` takes them without delay; `set_epoch` goes on
    choosing the order.
    """
    return _as_tf_dataset(batches, epochs=None) if keras.backend.backend() == "tensorflow" else batches


def create_tf_dataset(
    images: Images,
    labels: np.ndarray,
    classes: int,
    batch_size: int,
    seed: int,
    *,
    epochs: int = 1,
    **options: Any,
) -> Any:
    """The batches of TrainingBatches, epoch after epoch, as a tf.data.Dataset with prefetch.

    For pipelines of one's own; same arguments, same batches, same order. With several epochs pass
    steps_per_epoch to `fit`.
    """
    return _as_tf_dataset(TrainingBatches(images, labels, classes, batch_size, seed, **options), epochs)


def _as_tf_dataset(batches: TrainingBatches, epochs: int | None):
    """Epochs 0, 1, 2 ... in a row, or (None) the epoch that the batches stand at whenever the dataset is
    iterated.
    """
    import tensorflow as tf

    def generate() -> Iterator:
        for epoch in range(epochs or 1):
            if epochs:
                batches.set_epoch(epoch)
            for number in range(len(batches)):
                yield batches[number]

    shape = (None, *batches.images.shape[1:])
    targets = tf.TensorSpec((None, batches.classes), tf.float32)
    inputs = {"images": tf.TensorSpec(shape, tf.uint8), "mix": tf.TensorSpec((None, 1), tf.float32)}
    if batches.labelled:
        inputs["targets"] = targets
    if batches.answers:
        teachers, classes = len(batches.answers[0]), batches.answers[0][0].shape[1]
        inputs["answers"] = tf.TensorSpec((None, teachers, classes), tf.float32)
    dataset = tf.data.Dataset.from_generator(generate, output_signature=(inputs, targets))
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(batches) * (epochs or 1))).prefetch(2)
    # The autotuner sleeps for 10 ms, 20 ms, 40 ms ..., and the end of an epoch waits for it to wake: 3.4 s
    # became 5.1 s.
    settings = tf.data.Options()
    settings.autotune.enabled = False
    return dataset.with_options(settings)
