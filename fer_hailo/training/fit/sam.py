"""Sharpness-aware minimization (Foret et al. 2021) as a training step, for TensorFlow and JAX."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from fer_hailo.predict import private


class SharpnessAware(keras.Model):
    """A Functional model whose step takes the gradient at the worst of the near weights: w + rho g / |g|, g
    being the gradient at w.

    Both passes see the same batch with the same augmentation and dropout; statistics are those of the first.
    rho: radius, of all weights together. Set it after the model is made: SharpnessAware(inputs, outputs).
    """

    rho = 0.05

    def train_step(self, *arguments: Any) -> Any:
        return (
            self._jax_step(*arguments)
            if keras.backend.backend() == "jax"
            else self._tensorflow_step(*arguments)
        )

    def _away(self, gradients) -> list:
        """The steps from the weights to where the second gradient is taken."""
        norm = ops.sqrt(sum(ops.sum(ops.square(g)) for g in gradients if g is not None))
        return [None if g is None else self.rho * g / ops.maximum(norm, 1e-12) for g in gradients]

    def _tensorflow_step(self, data):
        import tensorflow as tf

        variables = self.trainable_variables
        before = [tf.identity(v.value) for v in self.non_trainable_variables]
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            answer = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=answer, sample_weight=weight)
        gradients = tape.gradient(loss, variables)
        away = self._away(
            [tf.convert_to_tensor(g) if isinstance(g, tf.IndexedSlices) else g for g in gradients]
        )  # of a table of weights
        after = [tf.identity(v.value) for v in self.non_trainable_variables]
        _assign(self.non_trainable_variables, before)
        kept = [tf.identity(v.value) for v in variables]
        _move(variables, kept, away)
        with tf.GradientTape() as tape:
            near = self.compute_loss(x=x, y=y, y_pred=self(x, training=True), sample_weight=weight)
        gradients = tape.gradient(near, variables)
        _assign(variables, kept)
        _assign(self.non_trainable_variables, after)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        private.track_loss(self, loss, ops.shape(keras.tree.flatten(x)[0])[0])
        return self.compute_metrics(x, y, answer, sample_weight=weight)

    def _jax_step(self, state, data):
        import jax

        trainable, fixed, optimizer, metrics = state
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        gradient = jax.value_and_grad(self.compute_loss_and_updates, has_aux=True)
        options = {"training": True, "optimizer_variables": optimizer}
        first, gradients = gradient(trainable, fixed, metrics, x, y, weight, **options)
        near = [
            v if step is None else v + step for v, step in zip(trainable, self._away(gradients), strict=True)
        ]
        _, gradients = gradient(near, fixed, metrics, x, y, weight, **options)
        loss, (_, answer, fixed, metrics) = first
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
        logs, metrics = private.update_metrics(self, metrics, loss, x, y, answer, weight)
        return logs, (trainable, fixed, optimizer, metrics)


def _assign(variables, values) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _move(variables, values, steps) -> None:
    for variable, value, step in zip(variables, values, steps, strict=True):
        if step is not None:
            variable.assign(value + step)
