"""Training on several devices at once, each with its part of every batch: Keras' own data parallelism on JAX,
TensorFlow's strategies.

What is computed is what one device would compute: gradients and the statistics of batch norms go over the
whole batch. Only TensorFlow's random layers draw on each device the same numbers, for different images;
losses that compare images of a batch are refused there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager

import keras
import numpy as np

from fer_hailo.common.errors import UserError, one_line
from fer_hailo.predict import private
from fer_hailo.training.models.build import batch_norms

CLUSTER = "KERAS_DISTRIBUTION_JOB_ADDRESSES"


class Devices:
    """Some devices of this machine, or (JAX) of several that work together.

    count: devices a batch is divided among; parts: into how many the backend cuts it before mixing (1 where
    it sees it whole); share: which of how many equal pieces of each batch this process feeds; chief: whether
    its files are the ones to keep.
    """

    count = parts = 1
    share = (0, 1)
    chief = True

    def scope(self) -> AbstractContextManager:
        """Where the network that trains, its optimizer and its compiled step are made."""
        return contextlib.nullcontext()

    def running(self) -> AbstractContextManager:
        """Where it is trained."""
        return contextlib.nullcontext()

    def alone(self) -> AbstractContextManager:
        """Where the scored twin runs: on one device."""
        return contextlib.nullcontext()

    def agree(self, values: list) -> list:
        """What the first process has: numbers that decide how training goes on must be equal to the last
        digit in all.
        """
        return values

    def prepare(self, network: keras.Model) -> None:
        """Make the network's batch norms see the whole batch."""

    def prepare_optimizer(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Make the optimizer clip the gradients of the whole batch."""


def devices(count: int) -> Devices:
    """The first `count` devices, or all of the machines that $KERAS_DISTRIBUTION_JOB_ADDRESSES names (with
    ..._NUM_PROCESSES and ..._PROCESS_ID: Keras' own variables). Raises UserError where there are fewer, or
    the backend has no way to use several.
    """
    backend, together = keras.backend.backend(), CLUSTER in os.environ
    if count < 1 or (together and count > 1):
        raise UserError(
            f"--devices {count}: "
            + ("it must be 1 or more" if count < 1 else f"with ${CLUSTER} all devices take part")
        )
    if backend == "jax" and (count > 1 or together):
        return _DataParallel(count, together)
    if together:
        raise UserError(f"${CLUSTER} is set: several machines need KERAS_BACKEND=jax, this is {backend}")
    if count == 1:
        return Devices()
    if backend == "tensorflow":
        return _Strategy(count)
    raise UserError(
        f"--devices {count}: several devices need KERAS_BACKEND=tensorflow or jax, this is {backend}"
    )


class _DataParallel(Devices):
    """keras.distribution.DataParallel: one program over all devices, which sees the whole batch."""

    def __init__(self, count: int, together: bool):
        if together:
            import jax

            try:
                keras.distribution.initialize()
            except (ValueError, RuntimeError) as error:
                names = f"${CLUSTER}, ..._NUM_PROCESSES and ..._PROCESS_ID"
                raise UserError(
                    f"the machines do not come together, check {names}: {one_line(error, 160)}"
                ) from None
            self.share, self.chief = (jax.process_index(), jax.process_count()), jax.process_index() == 0
        found = keras.distribution.list_devices()
        count = len(found) if together else count
        _check(count, len(found))
        self.count = count
        self._distribution = keras.distribution.DataParallel(devices=found[:count], auto_shard_dataset=False)

    def scope(self) -> AbstractContextManager:
        return self._distribution.scope()

    def running(self) -> AbstractContextManager:
        return self._distribution.scope()

    def agree(self, values: list) -> list:
        if self.share[1] == 1:
            return values
        import jax
        from jax.experimental.multihost_utils import broadcast_one_to_all

        return jax.tree.map(np.asarray, broadcast_one_to_all(values))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)


class _Strategy(Devices):
    """tf.distribute: a copy of the network on each device, kept equal."""

    def __init__(self, count: int):
        import tensorflow as tf

        self._tf = tf
        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        _check(count, len(found))
        self._strategy = tf.distribute.MirroredStrategy([device.name for device in found[:count]])
        self.count = self.parts = self._strategy.num_replicas_in_sync

    def scope(self) -> AbstractContextManager:
        return self._strategy.scope()

    def prepare(self, network: keras.Model) -> None:
        for layer in batch_norms(network.layers):
            layer.synchronized = True

    def prepare_optimizer(self, optimizer: keras.optimizers.Optimizer) -> None:
        # Keras clips on each device, before the sum.
        def clip_sum(clip, gradients):
            here = self._tf.distribute.get_replica_context()
            if here is None:
                return clip(gradients)
            total = clip(here.all_reduce("SUM", gradients))
            return [gradient / self.count for gradient in total]  # all are equal now, and will be summed

        private.wrap_clipping(optimizer, clip_sum)


def _check(count: int, found: int) -> None:
    if count > found:
        raise UserError(f"--devices {count}: {keras.backend.backend()} sees {found} here")
