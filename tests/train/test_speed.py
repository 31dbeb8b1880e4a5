"""PyTorch's kernels instead of Keras' detours: the same numbers.

Needs PyTorch, which the project does not.
"""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")

# Prints, of four steps of training without and with the kernels: how many calls of each kind there were, and
# the largest differences.
STEPS = """
import contextlib, json, sys
from unittest import mock
import keras, numpy as np, torch
from keras import layers
from fer_hailo.training.fit.speed import fast_kernels

def steps(kernels, dtype):
    keras.utils.set_random_seed(3)
    keras.config.set_dtype_policy(dtype)
    image = x = keras.Input((17, 17, 3))
    for filters, stride in ((8, 1), (16, 2)):
        x = layers.Conv2D(filters, 3, stride, "same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.6, beta_initializer="random_normal")(x)
        x = layers.Activation("hard_silu")(x)
        x = layers.DepthwiseConv2D(5, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(scale=False)(x)
        x = layers.MaxPooling2D(3, 2, padding="same")(x)
    frozen = layers.BatchNormalization(moving_mean_initializer="random_normal")
    frozen.trainable = False
    x = layers.GlobalAveragePooling2D()(frozen(x))
    model = keras.Model(image, layers.Dense(4, dtype="float32")(layers.BatchNormalization()(x)))
    keras.config.set_dtype_policy("float32")
    model.compile(keras.optimizers.SGD(0.1), keras.losses.CategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 17, 17, 3)).astype("f4"), np.eye(4, dtype="f4")[rng.integers(0, 4, 12)]
    counted = mock.patch("torch.nn.functional.batch_norm", wraps=torch.nn.functional.batch_norm)
    with kernels(), counted as norms:
        losses = [float(model.train_on_batch(x, y)) for _ in range(4)]
    return norms.call_count, losses, [np.array(v) for v in model.weights], model.predict(x, verbose=0)

plain, fast = steps(contextlib.nullcontext, sys.argv[1]), steps(fast_kernels, sys.argv[1])
near = [
    max(float(np.abs(a - b).max()) for a, b in zip(one, other)) for one, other in zip(plain[1:], fast[1:])
]
moved = max(float(np.abs(a - b).max()) for a, b in zip(steps(fast_kernels, sys.argv[1])[2], fast[2]))
print(json.dumps([plain[0], fast[0], moved, *near, plain[1][0] - plain[1][-1]]))
"""


def compare(dtype: str) -> list[float]:
    environment = os.environ | {"KERAS_BACKEND": "torch"}
    done = subprocess.run(
        [sys.executable, "-c", STEPS, dtype], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@needs_torch
def test_steps_give_the_same_losses_variables_and_predictions():
    before, with_kernels, moved, losses, variables, predictions, learnt = compare("float32")
    # Four norms of maps, four steps; the frozen one and that of (B, C) stay Keras'
    assert before == 0 and with_kernels == 4 * 4
    assert moved == 0  # the same twice
    assert max(losses, variables, predictions) < 2e-5
    assert learnt > 0.05


@needs_torch
def test_in_half_precision_too():
    before, with_kernels, _, losses, variables, _, learnt = compare("mixed_bfloat16")
    assert before == 0 and with_kernels == 4 * 4
    assert losses < 0.02 and variables < 0.02  # bfloat16 has three digits
    assert learnt > 0.05


def test_other_backends_keep_their_own():
    import keras

    from fer_hailo.training.fit.speed import fast_kernels

    call = keras.layers.BatchNormalization.call
    if keras.backend.backend() != "torch":
        with fast_kernels():
            assert keras.layers.BatchNormalization.call is call
