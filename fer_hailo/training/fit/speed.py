"""Keras on PyTorch without two detours that Keras 3.15 takes on a CPU. What is computed stays the same, to
rounding.

Before every convolution and pooling it copies its channels-last maps to channels first, and for a convolution
back again; and it puts a batch norm together from means, squares and products, each of which goes through the
map once more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras

from fer_hailo.predict import private


@contextlib.contextmanager
def fast_kernels() -> Iterator[None]:
    """Within: on PyTorch's CPU, maps stay where they are and batch norms train by PyTorch's own kernel.

    Nothing on other backends.
    """
    if keras.backend.backend() != "torch":
        yield
        return
    call = keras.layers.BatchNormalization.call
    keras.layers.BatchNormalization.call = lambda layer, maps, training=None, mask=None: (
        _norm(layer, maps)
        if _by_batch(layer, maps, training, mask)
        else call(layer, maps, training=training, mask=mask)
    )
    try:
        with private.torch_transposition(
            lambda copy: lambda maps: _channels_second(maps) if maps.device.type == "cpu" else copy(maps)
        ):
            yield
    finally:
        keras.layers.BatchNormalization.call = call


def _channels_second(maps):
    """(B, ..., C) as (B, C, ...), a view: in memory that is PyTorch's channels_last, for which its kernels
    are made.
    """
    return maps.movedim(-1, 1)


def _by_batch(layer, maps, training, mask) -> bool:
    """Whether PyTorch's kernel computes what this call of a batch norm would."""
    plain = training and layer.trainable and mask is None and not layer.renorm and not layer.synchronized
    return (
        plain
        and maps.device.type == "cpu"
        and maps.ndim == 4
        and layer.axis in (-1, 3)
        and maps[..., 0].numel() > 1
    )


def _norm(layer, maps):
    """A batch norm's training call, (B, H, W, C) to the same."""
    import torch

    count = maps[..., 0].numel()
    # Momentum 1: become the batch's
    mean, variance = (torch.zeros(maps.shape[-1], dtype=torch.float32) for _ in range(2))
    scale, offset = layer.gamma.value if layer.scale else None, layer.beta.value if layer.center else None
    out = torch.nn.functional.batch_norm(
        _channels_second(maps.float()),
        mean,
        variance,
        scale,
        offset,
        training=True,
        momentum=1.0,
        eps=layer.epsilon,
    )
    biased = variance * ((count - 1) / count)  # PyTorch's divides by count - 1, Keras' by count
    with torch.no_grad():
        for kept, new in ((layer.moving_mean, mean), (layer.moving_variance, biased)):
            kept.assign(kept.value * layer.momentum + new * (1 - layer.momentum))
    return keras.ops.cast(out.movedim(1, -1), layer.compute_dtype)
