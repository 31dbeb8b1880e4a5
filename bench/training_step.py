"""What feeding and augmentation cost in training: images a second of four ways, side by side in one run.

    python bench/training_step.py [--data PATH]

(a) the training step with its feed, as train.py runs it      (b) the same step on one batch already in memory
(c) a per-picture tf.data pipeline: decode, resize, augment, batch, then the bare step      (d) the bare model
step alone
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from fer_hailo.common.cli import Parser, run
from fer_hailo.common.config import load_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.runs import RUNS
from fer_hailo.training.data.dataset import load_dataset
from fer_hailo.training.data.feed import TrainingBatches, feed


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="data set [fer2013/ if it holds one, else the synthetic sample set]")
    parser.add_argument("--steps", type=int, default=150, help="steps a round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds; the first is not counted")
    arguments = parser.parse_args(argv)
    if arguments.steps < 1 or arguments.rounds < 2:
        raise UserError("--steps must be 1 or more, --rounds 2 or more")
    data = arguments.data or "fer2013"
    if not arguments.data and not any(path.name != "README.md" for path in Path(data).glob("*")):
        from fer_hailo.training.data.sample import write_sample_set

        data = str(write_sample_set(RUNS / "sample"))
    compare(load_config(None, {"data": data, "weights": "none"}), arguments.steps, arguments.rounds)


def compare(config, steps: int, rounds: int) -> None:
    """Time the four ways in turn, round by round, and print the medians and their ratios."""
    dataset = load_dataset(config, RUNS / "cache")
    count = steps * config.optimiser.batch_size
    ways = {
        "a": whole(config, dataset, count),
        "b": in_memory(config, dataset, steps),
        "c": per_picture(config, dataset, count),
        "d": bare(config, dataset, steps),
    }
    speeds = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if number:
                speeds[name].append(count / (time.perf_counter() - start))
        print(
            f"round {number}: " + ", ".join(f"{n} {s[-1]:.0f}" for n, s in speeds.items() if s),
            file=sys.stderr,
        )
    print(
        f"{dataset.name}, {config.model.arch} at {config.face.input_size} px, stage 2, batch "
        f"{config.optimiser.batch_size}"
    )
    print(f"median of {rounds - 1} rounds of {steps} steps [lowest, highest]")
    for name, speed in speeds.items():
        print(f"  ({name}) {np.median(speed):7.1f} pictures/s  [{min(speed):.1f}, {max(speed):.1f}]")
    for one, other in (("a", "b"), ("a", "d"), ("a", "c")):
        pairs = np.array(speeds[one]) / np.array(speeds[other])
        print(f"  ({one})/({other}) {np.median(pairs):.3f}  [{pairs.min():.3f}, {pairs.max():.3f}]")
    print(f"  peak memory {peak_memory()}")


def peak_memory() -> str:
    """The most memory this process has held."""
    try:
        import resource
    except ImportError:  # Windows
        return "unknown on this system"
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.2f} GiB"


def compiled(model, config, dataset, steps: int):
    """A model compiled as in stage 2."""
    from fer_hailo.training.fit.step import make_loss, make_optimizer

    model.compile(
        make_optimizer(config, 2, steps),
        make_loss(config, np.bincount(dataset.train.labels)),
        metrics=["accuracy"],
    )
    return model


def step_model(config, dataset, steps: int):
    """The model of a training step, as train.py makes it."""
    from fer_hailo.training.fit.step import Setting, training_model
    from fer_hailo.training.models.build import build_model

    return training_model(
        build_model(config, stage=2), Setting(config, np.bincount(dataset.train.labels), steps)
    )


def whole(config, dataset, count: int):
    indices = np.resize(np.random.default_rng(0).permutation(len(dataset.train)), count)
    batches = TrainingBatches(dataset.train.images, dataset.train.labels, len(dataset.names),
        config.optimiser.batch_size, config.seed,
                              indices=indices, mixup_alpha=config.augmentation.mixup_alpha)  # fmt: skip
    model = compiled(step_model(config, dataset, len(batches)), config, dataset, len(batches))
    return lambda: model.fit(feed(batches), verbose=0, shuffle=False)


def in_memory(config, dataset, steps: int):
    import tensorflow as tf

    batch = TrainingBatches(
        dataset.train.images,
        dataset.train.labels,
        len(dataset.names),
        config.optimiser.batch_size,
        config.seed,
        mixup_alpha=config.augmentation.mixup_alpha,
    )[0]
    model = compiled(step_model(config, dataset, steps), config, dataset, steps)
    repeated = plain(tf.data.Dataset.from_tensors(batch).cache().repeat(steps))
    return lambda: model.fit(repeated, verbose=0, shuffle=False)


def plain(dataset):
    """Without the autotuner, whose sleep the end of an epoch waits for: it would blur the comparison."""
    import tensorflow as tf

    settings = tf.data.Options()
    settings.autotune.enabled = False
    return dataset.with_options(settings)


def bare(config, dataset, steps: int):
    import tensorflow as tf

    from fer_hailo.training.models.build import build_model

    size, classes = config.face.input_size, len(dataset.names)
    rng = np.random.default_rng(0)
    batch = (
        rng.uniform(-1, 1, (config.optimiser.batch_size, size, size, 3)).astype("f4"),
        np.eye(classes, dtype="f4")[rng.integers(0, classes, config.optimiser.batch_size)],
    )
    model = compiled(build_model(config, stage=2), config, dataset, steps)
    repeated = plain(tf.data.Dataset.from_tensors(batch).cache().repeat(steps))
    return lambda: model.fit(repeated, verbose=0, shuffle=False)


def per_picture(config, dataset, count: int):
    """Each image on its own: JPEG bytes decoded, enlarged, augmented, then batched and mixed."""
    import cv2
    import tensorflow as tf

    from fer_hailo.training.models.build import build_model

    chosen = np.resize(np.arange(len(dataset.train)), count)
    encoded = [
        cv2.imencode(".jpg", image)[1].tobytes()
        for image in dataset.train.images[: min(count, len(dataset.train))]
    ]
    size, crop = config.face.input_size, int(config.face.input_size * (1 - config.augmentation.zoom / 2))

    def picture(data, label):
        image = tf.image.decode_jpeg(data, channels=1)
        image = tf.image.resize(tf.cast(image, tf.float32), (size, size), "bicubic")
        image = tf.repeat(image, 3, axis=-1)
        image = tf.image.random_flip_left_right(image)
        image = tf.image.random_brightness(image / 255, config.augmentation.brightness)
        image = tf.image.random_contrast(
            image, 1 - config.augmentation.contrast, 1 + config.augmentation.contrast
        )
        image = tf.image.random_saturation(
            image, 1 - config.augmentation.saturation, 1 + config.augmentation.saturation
        )
        image = tf.image.random_hue(image, config.augmentation.hue)
        image = tf.image.resize(tf.image.random_crop(image, (crop, crop, 3)), (size, size))
        return tf.clip_by_value(image, 0, 1) * 2 - 1, tf.one_hot(label, len(dataset.names))

    def mixed(images, onehot):
        weight = tf.random.uniform((tf.shape(images)[0], 1))
        blend = weight[:, :, None, None]
        return blend * images + (1 - blend) * tf.roll(images, 1, 0), weight * onehot + (1 - weight) * tf.roll(
            onehot, 1, 0
        )

    source = tf.data.Dataset.from_tensor_slices(
        ([encoded[i % len(encoded)] for i in range(count)], dataset.train.labels[chosen])
    )
    feed = (
        source.map(picture, tf.data.AUTOTUNE)
        .batch(config.optimiser.batch_size)
        .map(mixed, tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )
    model = compiled(build_model(config, stage=2), config, dataset, count // config.optimiser.batch_size)
    return lambda: model.fit(feed, verbose=0, shuffle=False)


if __name__ == "__main__":
    sys.exit(run(main))
