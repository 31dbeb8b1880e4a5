"""Training on JAX, taught by a run of TensorFlow: it runs, it resumes to the same numbers, and plain
TensorFlow-Keras opens it.
"""

import json
import sys

import keras
import numpy as np
import pytest
from conftest import ROOT, SMALL
from tiny import TRAIN

from fer_hailo.common.config import load_config, save_config
from fer_hailo.common.files import read_csv
from fer_hailo.common.runs import MODEL
from fer_hailo.deploy.home import Use, resolve
from fer_hailo.training.evaluate.evaluation import evaluate_file

# Compile fast, run slowly
JAX = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_backend_optimization_level=0"}


@pytest.fixture(scope="module")
def config(sample_set, trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("jax") / "c.yaml"
    settings = SMALL | {
        "data": str(sample_set),
        "teacher": [str(trained)],
        "stage1_epochs": 0,
        "batch_size": 16,
    }
    # Keras' own layers, which take long to compile
    settings |= {"rotation": 0, "brightness": 0, "contrast": 0}
    save_config(load_config(None, settings), path)
    return path


@pytest.fixture
def jax(tmp_path) -> dict[str, str]:
    """The environment of runs that find what others of them have compiled: the one that resumes does not."""
    pytest.importorskip("jax")
    return JAX | {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def history(run):
    return [
        {name: value for name, value in row.items() if name != "seconds"}
        for row in read_csv(run / "history.csv")
    ]


def test_jax_trains_and_tensorflow_opens_the_result(command, config, jax, tmp_path):
    done = command(TRAIN, "--config", config, "--out", tmp_path / "whole", **jax)
    assert done.returncode == 0, done.stderr
    # The run's metrics, computed by JAX, hold under this process' backend.
    metrics = json.loads((tmp_path / "whole" / "metrics_test.json").read_text())
    again, _ = evaluate_file(resolve(tmp_path / "whole", Use.SCORE), "test", None)
    assert np.isclose(again.accuracy, metrics["accuracy"], atol=1 / metrics["count"] + 1e-9)
    assert json.loads((tmp_path / "whole" / "environment.json").read_text())["keras_backend"] == "jax"


@pytest.mark.slow
def test_two_devices_and_a_cut_run_give_the_numbers_of_one(command, config, jax, tmp_path):
    """With augmentation, dropout, MixUp and a teacher."""
    done = command(TRAIN, "--config", config, "--out", tmp_path / "whole", **jax)
    assert done.returncode == 0, done.stderr
    two = jax | {"XLA_FLAGS": f"{JAX['XLA_FLAGS']} --xla_force_host_platform_device_count=2"}
    done = command(TRAIN, "--config", config, "--out", tmp_path / "two", "--devices", 2, **two)
    assert done.returncode == 0, done.stderr
    for one, other in zip(history(tmp_path / "whole"), history(tmp_path / "two"), strict=True):
        for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
            assert float(one[name]) == pytest.approx(float(other[name]), rel=2e-3, abs=1e-4)
    cut = """
import sys
import tiny
from fer_hailo.training.fit import callbacks
from fer_hailo.training.fit import loop
from fer_hailo.common.config import load_config
from pathlib import Path
class Cut(callbacks.Tell):
    def on_epoch_end(self, epoch, logs=None):
        if self.progress.stage == 2:
            raise SystemExit(9)
callbacks.Tell = Cut
loop.start(load_config(sys.argv[1]), Path(sys.argv[2]))
"""
    stopped = command([sys.executable, "-c", cut], config, tmp_path / "cut", **jax)
    assert stopped.returncode == 9
    resumed = command(TRAIN, "--resume", tmp_path / "cut", **JAX)
    assert resumed.returncode == 0, resumed.stderr
    assert history(tmp_path / "whole") == history(tmp_path / "cut") and len(history(tmp_path / "whole")) == 2
    models = [keras.models.load_model(tmp_path / name / MODEL) for name in ("whole", "cut")]
    assert all((a == b).all() for a, b in zip(models[0].get_weights(), models[1].get_weights(), strict=True))


@pytest.mark.slow
def test_the_papers_losses_sharpness_and_heat_maps_on_jax(command):
    pytest.importorskip("jax")
    losses = sorted((ROOT / "fer_hailo" / "training" / "networks").glob("*/test_loss.py"))
    others = [ROOT / "tests" / "train" / "test_sam.py", ROOT / "tests" / "evaluate" / "test_heat_maps.py"]
    files = [*others, *losses]
    assert len(losses) >= 4
    done = command([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, files)], **JAX)
    assert done.returncode == 0 and "[100%]" in done.stdout, done.stdout
