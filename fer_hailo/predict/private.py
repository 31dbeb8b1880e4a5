"""The private members of Keras and LiteRT that this project uses: all of them, each with the reason.

Their packages may rename them in any version. pyproject.toml therefore pins Keras' and LiteRT's minor version
on the training machine, and what is tested is what they do. Where they break, this is the file to mend.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def call_through(
    model: keras.Model, values: Any, call: Callable, operation: Callable = lambda operation: operation
) -> Any:
    """What a Functional model gives for `values`, its operations replaced by `operation(op)` and called by
    `call(op, *inputs, **options)`.

    keras.models.clone_model does this, but begins at inputs only, not at any tensor, and makes a model of it.
    """
    outputs = model._run_through_graph(values, operation_fn=operation, call_fn=call)
    return outputs[0] if isinstance(outputs, (list, tuple)) else outputs


def maker_of(tensor: keras.KerasTensor) -> keras.Operation:
    """The operation that made a KerasTensor.

    Where a function of Keras hands over a tensor alone, nothing public leads back.
    """
    return tensor._keras_history.operation


def moving_averages(optimizer: keras.Optimizer) -> list[tuple[keras.Variable, keras.Variable]]:
    """(variable, its exponential moving average) of all that the optimizer trains.

    Keras has no public name for the averages; its own callback SwapEMAWeights reads the same list, and swaps
    in place.
    """
    optimizer = _inner(optimizer)
    return list(zip(optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True))


def wrap_clipping(optimizer: keras.Optimizer, wrap: Callable) -> None:
    """Let the optimizer clip gradients by `wrap(clip, gradients)`, `clip` being its own function.

    No argument of Keras' changes that.
    """
    optimizer = _inner(optimizer)
    clip = optimizer._clip_gradients
    optimizer._clip_gradients = lambda gradients: wrap(clip, gradients)


def track_loss(model: keras.Model, loss: Any, count: Any) -> None:
    """Add the loss of a batch of `count` to the epoch's mean, in a train_step of one's own: compute_metrics
    leaves it out.
    """
    model._loss_tracker.update_state(loss, sample_weight=count)


def update_metrics(
    model: keras.Model, metrics: Any, loss: Any, x: Any, y: Any, answer: Any, weight: Any
) -> tuple:
    """(logs, metrics' variables) after a batch, for a step of one's own on JAX, where metrics have no state
    of their own.
    """
    return model._update_metrics_variables(metrics, loss, x, y, answer, weight)


@contextlib.contextmanager
def torch_transposition(make: Callable) -> Iterator[None]:
    """Within: Keras on PyTorch brings channels-last maps to channels first by `make(copy)`, `copy` being its
    own function.

    It copies them before each convolution and pooling; nothing public says that a view is enough.
    """
    from keras.src.backend.torch import nn

    copy = nn._transpose_spatial_inputs
    nn._transpose_spatial_inputs = make(copy)
    try:
        yield
    finally:
        nn._transpose_spatial_inputs = copy


def operator_details(interpreter: Any) -> list[dict]:
    """op_name, inputs and outputs (tensors' numbers) of what LiteRT runs, delegates among them: it publishes
    tensors' details only.
    """
    return interpreter._get_ops_details()


def _inner(optimizer: keras.Optimizer) -> keras.Optimizer:
    """That of half precision is a wrapper."""
    return getattr(optimizer, "inner_optimizer", optimizer)
