"""One set-up of bench/cpu_backends.py, in a process of its own: at each line on its standard input it trains
for some seconds, and answers with a line of JSON. The step is bare: a fixed random batch at the network's
size, cross-entropy, AdamW, every layer and norm trains, nothing is augmented.
"""

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

CLASSES = 5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--arch", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--precision", default="float32")
    parser.add_argument(
        "--kernels", action="store_true", help="the project's own, see fer_hailo/training/fit/speed.py"
    )
    parser.add_argument("--xla", action="store_true", help="compile TensorFlow's step with it")
    parser.add_argument("--plain", action="store_true", help="PyTorch without Keras")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (arguments.batch, arguments.size, arguments.size, 3)).astype("f4")
    onehot = np.eye(CLASSES, dtype="f4")[rng.integers(0, CLASSES, arguments.batch)]
    step, parameters = (plain_step if arguments.plain else keras_step)(arguments, images, onehot)
    for _ in range(3):
        step()
    print(json.dumps({"parameters": parameters}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(timed(step, arguments.batch, arguments.seconds)), flush=True)


def timed(step, batch: int, seconds: float) -> dict[str, float]:
    """Images a second, and images a second of processor time, all threads together."""
    cpu, start, steps = time.process_time(), time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds:
        step()
        steps += 1
    return {"speed": steps * batch / passed, "economy": steps * batch / (time.process_time() - cpu)}


def keras_step(arguments, images: np.ndarray, onehot: np.ndarray):
    """The project's network, optimizer and loss, on the backend that the environment names.

    Also the parameters that train.
    """
    import keras

    from fer_hailo.common.config import Config
    from fer_hailo.training.fit.speed import fast_kernels
    from fer_hailo.training.fit.step import make_loss, make_optimizer
    from fer_hailo.training.models.build import build_model

    config = Config.of(
        arch=arguments.arch, input_size=arguments.size, batch_size=arguments.batch, weights="none",
        optimizer="adamw",
        weight_decay=1e-4, unfreeze_layers=-1, train_batch_norm=True, focal_gamma=0, class_weight_beta=0,
    )  # fmt: skip
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(arguments.precision)
    model = build_model(config, stage=2, logits=CLASSES, training=True)
    keras.config.set_dtype_policy("float32")
    loss, optimizer = make_loss(config, np.ones(CLASSES)), make_optimizer(config, 2, 1000)
    model.compile(
        optimizer, loss, jit_compile=arguments.xla or ("auto" if keras.backend.backend() == "jax" else False)
    )

    def step():
        with fast_kernels() if arguments.kernels else contextlib.nullcontext():
            model.train_on_batch(images, onehot)

    return step, int(sum(np.prod(weight.shape) for weight in model.trainable_weights))


def plain_step(arguments, images: np.ndarray, onehot: np.ndarray):
    """MobileNetV3Small in plain PyTorch: the mark."""
    import torch

    from bench.mobilenet_torch import mobilenet_v3_small
    from fer_hailo.common.config import Config

    model = mobilenet_v3_small(CLASSES, Config().model.head_units, Config().model.head_dropout)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=1e-4)
    images = torch.from_numpy(images).movedim(-1, 1).contiguous(memory_format=torch.channels_last)
    onehot = torch.from_numpy(onehot)

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), onehot).backward()
        optimizer.step()

    return step, sum(weight.numel() for weight in model.parameters())


if __name__ == "__main__":
    main()
