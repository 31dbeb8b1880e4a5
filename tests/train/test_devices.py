"""Two devices give the numbers of one.

Each training in a process of its own, since devices are made when a backend starts.
"""

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import PATHS, SMALL

from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_csv
from fer_hailo.training.data.feed import TrainingBatches
from fer_hailo.training.fit.devices import devices

# TensorFlow draws random numbers, and mixes, on each device.
PLAIN = {
    "flip": False,
    "zoom": 0,
    "brightness": 0,
    "contrast": 0,
    "shift": 0,
    "rotation": 0,
    "mixup_alpha": 0,
    "head_dropout": [0, 0],
}
QUICK = "--xla_backend_optimization_level=0"  # compiles fast, runs slowly
TWO_CPUS = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
"""
START = (
    "import sys, json, pathlib, tiny\nfrom fer_hailo.common.config import load_config\nfrom "
    "fer_hailo.training.fit.loop import start\n"
)
START += (
    "config = load_config(None, json.loads(sys.argv[1]))\nstart(config, pathlib.Path(sys.argv[2]), "
    "int(sys.argv[3]))\n"
)


def train(settings, run, count, before="", **environment):
    program = [sys.executable, "-c", before + START, json.dumps(settings), str(run), str(count)]
    done = subprocess.run(
        program, env=os.environ | PATHS | environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr[-2000:]
    if not run.exists():
        return []
    return [
        {name: float(row[name]) for name in ("loss", "accuracy", "val_loss", "val_accuracy")}
        for row in read_csv(run / "history.csv")
    ]


def assert_close(ours, theirs, names=("loss", "accuracy", "val_loss", "val_accuracy")):
    assert len(ours) == len(theirs) > 1
    for one, other in zip(ours, theirs, strict=True):
        assert all(one[name] == pytest.approx(other[name], rel=2e-3, abs=1e-4) for name in names), (
            one,
            other,
        )


def settings_of(sample_set, **changes):
    return (
        SMALL
        | {"data": str(sample_set), "tensorboard": False, "batch_size": 16, "stage1_epochs": 0}
        | changes
    )


@pytest.mark.slow
def test_tensorflow_on_two_devices(sample_set, trained, tmp_path):
    """With plain SGD, a norm that clips and a teacher: a gradient or loss of another size would show."""
    step = {"optimizer": "sgd", "momentum": 0, "clipnorm": 0.3, "weight_decay": 0.01, "stage2_lr": 0.5}
    settings = settings_of(sample_set, **PLAIN, **step, head_l2=0.01, teacher=[str(trained)])
    # Of the loss in training Keras shows the penalty and the teacher's part on another scale.
    ours, theirs = train(settings, tmp_path / "two", 2, TWO_CPUS), train(settings, tmp_path / "one", 1)
    assert_close(ours, theirs, ("accuracy", "val_loss", "val_accuracy"))
    # Ten times what may differ
    assert theirs[0]["val_loss"] != pytest.approx(theirs[1]["val_loss"], rel=0.02)


@pytest.mark.slow
def test_two_processes_of_jax(sample_set, tmp_path):
    """Over loopback: both come to the numbers of one process, and only the first keeps files."""
    pytest.importorskip("jax")
    settings = settings_of(sample_set, stage1_epochs=1)  # from stage to stage they agree on the best weights
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    known = {
        "KERAS_BACKEND": "jax",
        "XLA_FLAGS": QUICK,
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
    }
    with ThreadPoolExecutor(2) as pool:
        both = [
            pool.submit(train, settings, tmp_path / str(i), 1, KERAS_DISTRIBUTION_PROCESS_ID=str(i), **known)
            for i in (0, 1)
        ]
        first, second = (process.result() for process in both)
    assert not second and not (tmp_path / "1").exists()
    assert_close(first, train(settings, tmp_path / "one", 1, KERAS_BACKEND="jax", XLA_FLAGS=QUICK))


def test_batches_for_several_devices():
    images, labels = np.arange(11, dtype=np.uint8)[:, None, None].repeat(2, 1).repeat(2, 2), np.arange(11) % 2
    batches = TrainingBatches(images, labels, 2, 4, 0, mixup_alpha=1.0, multiple=2, parts=2)
    assert len(batches) == 3 and [len(batches[i][1]) for i in range(3)] == [4, 4, 2]
    inputs, targets = batches[0]
    hot, weight = np.eye(2)[labels[inputs["images"][:, 0, 0]]], inputs["mix"]
    # The neighbour is the one before within each half, the last of the half for its first.
    np.testing.assert_allclose(targets, weight * hot + (1 - weight) * hot[[1, 0, 3, 2]], rtol=1e-6)


def test_devices_that_cannot_be(monkeypatch):
    for count in (0, -1):
        with pytest.raises(UserError, match="must be 1 or more"):
            devices(count)
    monkeypatch.setenv("KERAS_DISTRIBUTION_JOB_ADDRESSES", "127.0.0.1:1")
    with pytest.raises(UserError, match="need KERAS_BACKEND=jax"):
        devices(1)
    with pytest.raises(UserError, match="all devices take part"):
        devices(2)


def test_more_devices_than_there_are():
    with pytest.raises(UserError, match="--devices 64: tensorflow sees 1 here"):
        devices(64)
