"""A run from start to end, the same run cut short and resumed, and what can go wrong on the way."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from conftest import PATHS, SMALL, error_line
from tiny import TRAIN

from fer_hailo.common import files
from fer_hailo.common.config import load_config, save_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_csv
from fer_hailo.common.metrics import softmax
from fer_hailo.common.preprocess import normalise, prepare
from fer_hailo.common.runs import CONFIG, DONE, DROPPED, MODEL, RUNS, cache_of, newest_run
from fer_hailo.training.data.dataset import load_dataset
from fer_hailo.training.fit import callbacks, loop
from fer_hailo.training.fit.state import load_progress
from fer_hailo.training.fit.step import make_optimizer
from fer_hailo.training.start import resume, start

pytestmark = pytest.mark.usefixtures("undrawn")


def result(run):
    """What must not depend on interruptions: the weights, and the history but for its times."""
    weights = keras.models.load_model(run / MODEL).get_weights()
    return weights, [
        {k: v for k, v in row.items() if k != "seconds"} for row in read_csv(run / "history.csv")
    ]


def same(run, other):
    (weights, history), (others, other_history) = result(run), result(other)
    return history == other_history and all((a == b).all() for a, b in zip(weights, others, strict=True))


def test_run_folder_is_complete(trained, small):
    names = {path.name for path in trained.iterdir()}
    assert names >= {CONFIG, DONE, MODEL, "environment.json", "labels.txt", "history.csv",
        "training_curves.png",
    "report.html", "metrics_val.json",
                     "metrics_test.json", "confusion_matrix_test.png",
                     "mistakes_test.png",
                     "checkpoint"}  # fmt: skip
    assert all(path.stat().st_size > 5000 for path in trained.glob("*.png"))
    assert load_config(trained / CONFIG) == small
    assert (trained / "labels.txt").read_text().split() == list(small.data.classes)
    environment = json.loads((trained / "environment.json").read_text())
    assert environment["versions"]["keras"] == keras.__version__ and "git_commit" in environment
    assert "synthetic sample set" in (trained / "report.html").read_text()
    rows = read_csv(trained.parent / "results.csv")
    assert [(row["split"], row["stage"], row["count"], row["data"]) for row in rows[:2]] == [
        ("val", "keras", "20", "synthetic sample set"),
        ("test", "keras", "30",
        "synthetic sample set")]  # fmt: skip


def test_history_has_both_stages(trained):
    rows = read_csv(trained / "history.csv")
    assert [(row["stage"], row["epoch"]) for row in rows] == [("1", "1"), ("2", "1"), ("2", "2")]
    assert float(rows[0]["learning_rate"]) == pytest.approx(5e-4)
    assert float(rows[1]["learning_rate"]) == pytest.approx(1e-4, rel=0.01) and float(
        rows[2]["learning_rate"]
    ) == pytest.approx(1e-7, rel=0.01)


def test_best_model_is_the_best_of_the_history_and_scores_as_said(trained, small, sample_set):
    """The saved file, fed through prepare() as on the board, gives the metrics of the run."""
    from fer_hailo.training.data.dataset import load_dataset

    metrics = json.loads((trained / "metrics_val.json").read_text())
    assert metrics["accuracy"] == pytest.approx(
        max(float(row["val_accuracy"]) for row in read_csv(trained / "history.csv"))
    )
    data = load_dataset(small, None)
    model = keras.models.load_model(trained / MODEL)
    assert getattr(model, "optimizer", None) is None
    test = json.loads((trained / "metrics_test.json").read_text())
    inputs = np.stack(
        [normalise(prepare(face, small.preprocess), small.preprocess) for face in data.test.images]
    )
    predicted = softmax(model.predict(inputs, verbose=0)).argmax(1)
    assert np.abs((predicted == data.test.labels).mean() - test["accuracy"]) <= 1 / len(data.test)


@pytest.fixture
def cut(monkeypatch):
    """Start a run and stop it by Ctrl-C after the first epoch of stage 2."""
    told = callbacks.Tell.on_epoch_end

    def stop(self, epoch, logs=None):
        told(self, epoch, logs)
        if self.progress.stage == 2:
            raise KeyboardInterrupt

    def start(config, run):
        with monkeypatch.context() as patch:
            patch.setattr(callbacks.Tell, "on_epoch_end", stop)
            with pytest.raises(KeyboardInterrupt):
                loop.start(config, run)
        assert not (run / DONE).exists()
        return run

    return start


def test_same_seed_same_numbers_whatever_interrupts(trained, small, tmp_path, cut):
    """Resumed: equal to the uninterrupted run, bit for bit."""
    run = cut(small, tmp_path / "cut")
    progress = load_progress(run / "checkpoint" / "state.npz")
    assert (progress.stage, progress.epoch, len(progress.history)) == (2, 1, 2)
    resume(run, {"seed": "42"})
    assert (run / DONE).exists() and same(run, trained)


@pytest.mark.slow
def test_a_method_that_gathers_goes_on_where_it_was(small, tmp_path, cut):
    """Ada-DF's step and class distributions, its twin and the averages are part of the state; a run that
    leaves images out has a list of its own.
    """
    listed = tmp_path / "confirmed.txt"
    listed.write_text("\n".join(load_dataset(small, None).train.ids[::4]))
    config = small.change(method="ada_df_fusion", stage1_epochs=0, tensorboard=False, drop=str(listed))
    whole = loop.start(config, tmp_path / "whole")
    run = cut(config, tmp_path / "cut")
    assert json.loads((run / "environment.json").read_text())["dropped"]["images"] == 20
    own = (run / DROPPED).read_text()
    (run / DROPPED).write_text(own[:100])
    with pytest.raises(UserError, match="is not the list that this run began with"):
        resume(run, {})
    (run / DROPPED).write_text(own)
    listed.unlink()
    resume(run, {})
    assert same(run, whole)
    assert len(read_csv(run / "history.csv")) == 2


def test_order_does_not_depend_on_who_feeds(trained, small, tmp_path, monkeypatch):
    """TensorFlow gets a tf.data.Dataset, other backends the batches themselves: the same images in the same
    order.
    """
    monkeypatch.setattr(loop, "feed", lambda batches: batches)
    assert same(loop.start(small, tmp_path / "fed"), trained)


@pytest.mark.slow  # two such kills are in tests/fuzz/test_fuzz_kills.py
def test_kill_9_loses_at_most_an_epoch(command, trained, small, tmp_path):
    """Killed hard in the middle of stage 2, in a process of its own; `--resume` finds the run and ends where
    the other did.
    """
    runs = tmp_path / "fer2013_keras_hailo"
    run = runs / "20260101-000000_mobilenet_v3_small_s42"
    save_config(small, tmp_path / "c.yaml")
    environment = os.environ | PATHS
    process = subprocess.Popen(
        [*TRAIN, "--config", "c.yaml", "--out", str(run)],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stderr:
            if line.startswith("stage 1 epoch 1/1"):
                break
        time.sleep(0.5)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (run / DONE).exists() and load_progress(run / "checkpoint" / "state.npz").history
    resumed = command(TRAIN, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert newest_run(True, runs) == run and same(run, trained)


def test_sigterm_ends_with_a_line_that_says_how_to_go_on(small, tmp_path):
    save_config(small, tmp_path / "c.yaml")
    arguments = [*TRAIN, "--config", "c.yaml", "--out", "run"]
    process = subprocess.Popen(
        arguments, cwd=tmp_path, env=os.environ | PATHS, stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if line.startswith("stage 1: "):
            break
    process.terminate()
    rest = process.communicate()[1]
    assert process.returncode == 130 and "Traceback" not in rest
    assert (
        rest.splitlines()[-1]
        == "interrupted: every whole epoch is saved, go on with python train.py --resume run"
    )


def test_resume_refuses_another_configuration(trained, tmp_path, small):
    with pytest.raises(UserError, match="was trained with batch_size 32, not 64"):
        resume(trained, {"batch_size": "64"})
    with pytest.raises(UserError, match="is complete"):
        resume(trained, {})
    with pytest.raises(UserError, match="no run folder"):
        resume(tmp_path, {})


def test_resume_refuses_other_data(trained, small, tmp_path):
    from fer_hailo.training.data.sample import write_sample_set

    run = unfinished(trained, tmp_path)
    save_config(small.change(data=str(write_sample_set(tmp_path / "other", 20, 6, seed=9))), run / CONFIG)
    with pytest.raises(UserError, match="not the data that"):
        resume(run, {})


def test_damaged_state_is_named(trained, tmp_path):
    run = unfinished(trained, tmp_path)
    state = run / "checkpoint/state.npz"
    whole = bytearray(state.read_bytes())
    whole[len(whole) // 2] ^= 255  # inside a variable: the progress itself can be read
    state.write_bytes(whole)
    with pytest.raises(UserError, match="is damaged"):
        resume(run, {})
    state.write_bytes(b"PK\3\4 half a file")
    with pytest.raises(UserError, match="is damaged"):
        resume(run, {})


@pytest.mark.slow
def test_full_disk_keeps_the_last_epoch_and_resumes(small, trained, tmp_path, monkeypatch):
    run, whole = tmp_path / "full", callbacks.save_state

    def full(path, progress, variables):
        if progress.stage == 2 and progress.epoch == 1:
            with files.written(path) as beside:
                beside.write_bytes(b"half")
                raise OSError(errno.ENOSPC, "No space left on device", str(beside))
        whole(path, progress, variables)

    monkeypatch.setattr(callbacks, "save_state", full)
    with pytest.raises(OSError, match="No space"):
        loop.start(small, run)
    monkeypatch.undo()
    left = load_progress(run / "checkpoint/state.npz")
    assert (left.stage, left.epoch, len(left.history)) == (2, 0, 1)
    assert [path.name for path in (run / "checkpoint").iterdir()] == ["state.npz"]
    resume(run, {})
    assert same(run, trained)


def test_full_disk_is_one_line(capsys):
    from fer_hailo.common import cli

    def main(argv):
        raise OSError(errno.ENOSPC, "No space left on device", "state.npz")

    assert cli.run(main, []) == 2
    assert capsys.readouterr().err.startswith("error: No space left on device (state.npz)")


def test_nan_loss_ends_the_run_and_keeps_what_was_good(small, tmp_path):
    run = tmp_path / "nan"
    with pytest.raises(UserError, match="loss became nan in stage 2.*--stage2-lr"):
        loop.start(small.change(stage2_lr=10.0, stage2_floor_lr=10.0, clipnorm=0.0,
            optimizer="adamw",
        weight_decay=1.0, stage2_epochs=40,
                           stage2_warmup_epochs=0, train_batch_norm=False, ema=0.0), run)  # fmt: skip
    assert np.isfinite(
        np.concatenate([w.ravel() for w in keras.models.load_model(run / MODEL).get_weights()])
    ).all()
    assert not (run / DONE).exists() and load_progress(run / "checkpoint/state.npz").history


def test_mistakes_leave_no_run_folder(inside, sample_set, tmp_path):
    small = [
        f"--{name}={SMALL[name.replace('-', '_')]}"
        for name in ("input-size", "stage1-epochs", "stage2-epochs", "stage2-warmup-epochs")
    ]
    (tmp_path / "file").write_text("x")
    for arguments, said in [
        (["--data", "nowhere"], "no data at nowhere"),
        # Before the data is read, which takes a minute for the first time
        (["--data", "nowhere", "--arch", "resnet"], "unknown arch 'resnet'"),
        (["--data", "nowhere", "--weights", "no.h5"], "no weights at no.h5"),
        (["--config", "finetune"], "no recipe at finetune (did you mean configs/finetune.yaml?)"),
        (["--config", "configs/releasd.yaml"], "(did you mean configs/released.yaml?)"),
        (["fer2013.zip"], "unknown argument fer2013.zip (see --help)"),
        (
            [
                "--data",
                str(sample_set),
                "--method",
                "lnsu",
                "--weights",
                "none",
                "--head-units",
                "8",
                "--head-dropout",
                "0,0",
            ],
            "one dense layer",
        ),
        (
            ["--data", str(sample_set), "--method", "lnsu", "--arch", "dan"],
            "lnsu is for networks with the common head",
        ),
        (["--stage1-epoch", "3"], "did you mean --stage1-epochs?"),
        (["--resume", "--smoke"], "give it alone"),
        (["--resume"], "no unfinished run"),
        (["--data", str(sample_set), "--out", "file"], "file is not an empty folder"),
        (["--data", str(sample_set), "--out", "file/below"], "error: Not a directory"),
    ]:
        assert said in error_line(inside("train.py", *([] if "--resume" in arguments else small), *arguments))
    left = [path for path in tmp_path.rglob("*") if path.name == CONFIG]
    assert left == []


def test_out_folder_that_is_not_empty_is_refused(small, trained):
    with pytest.raises(UserError, match="is not an empty folder"):
        start(small, trained)
    assert (trained / DONE).exists()


REAL = pytest.param("mixed_bfloat16", "mobilenet_v3_small", marks=pytest.mark.slow)


@pytest.mark.parametrize(("precision", "arch"), [REAL, ("mixed_bfloat16", "tiny"), ("mixed_float16", "tiny")])
def test_mixed_precision_saves_a_float32_model(small, tmp_path, precision, arch):
    shorter = {"stage1_epochs": 0, "stage2_epochs": 1, "stage2_warmup_epochs": 0, "unfreeze_layers": 4}
    run = loop.start(small.change(precision=precision, arch=arch, **shorter), tmp_path / "half")
    model = keras.models.load_model(run / MODEL)
    assert {w.dtype for w in model.weights} == {"float32"} and {
        layer.dtype_policy.name for layer in model.layers
    } == {"float32"}
    assert keras.config.dtype_policy().name == "float32"
    scaled = isinstance(
        make_optimizer(small.change(precision=precision), 2, 10), keras.optimizers.LossScaleOptimizer
    )
    assert scaled == (precision == "mixed_float16")  # without it small gradients vanish in half precision


@pytest.mark.slow
def test_early_stopping_outlives_the_process(small, tmp_path, monkeypatch):
    """Stage 1 learns nothing, so it stops after its second epoch; cut right there, the resumed run goes on to
    stage 2 and ends where the uninterrupted one does.
    """
    config = small.change(
        stage1_epochs=9,
        stage1_patience=1,
        stage1_lr=1e-9,
        stage2_epochs=1,
        stage2_warmup_epochs=0,
        unfreeze_layers=4,
    )
    whole = loop.start(config, tmp_path / "whole")
    assert [(row["stage"], row["epoch"]) for row in read_csv(whole / "history.csv")] == [
        ("1", "1"),
        ("1", "2"),
        ("2", "1"),
    ]
    told = callbacks.Tell.on_epoch_end

    def stop(self, epoch, logs=None):
        told(self, epoch, logs)
        if self.progress.finished:
            raise KeyboardInterrupt

    monkeypatch.setattr(callbacks.Tell, "on_epoch_end", stop)
    with pytest.raises(KeyboardInterrupt):
        loop.start(config, tmp_path / "cut")
    monkeypatch.undo()
    left = load_progress(tmp_path / "cut/checkpoint/state.npz")
    assert (left.stage, left.epoch, left.finished, left.wait) == (1, 2, True, 1)
    resume(tmp_path / "cut", {})
    assert same(tmp_path / "cut", whole)


def unfinished(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    (run / DONE).unlink()
    return run


def test_resume_of_a_run_in_progress_is_refused(trained, tmp_path, small):
    run = unfinished(trained, tmp_path).rename(tmp_path / "20261128-120000_tiny_s2")
    save_config(small.change(data="gone"), run / CONFIG)  # which is told before the data are read
    with files.locked(run / ".lock"), pytest.raises(UserError, match="in use by another process"):
        resume(run, {})
    earlier = shutil.copytree(run, tmp_path / "20261128-110000_tiny_s1")
    assert newest_run(False, tmp_path) == run
    with files.locked(run / ".lock"):
        assert newest_run(False, tmp_path) == earlier


def test_resume_finds_data_that_moved_and_needs_no_initial_weights(trained, tmp_path, small, sample_set):
    run = unfinished(trained, tmp_path)
    save_config(small.change(data="gone", weights="gone.h5"), run / CONFIG)
    moved = shutil.copytree(sample_set, tmp_path / "moved")
    with pytest.raises(UserError, match="no data at gone"):
        resume(run, {})
    resume(run, {"data": str(moved), "head_units": "16", "stage2_epochs": "2"})
    assert same(run, trained)
    assert len(json.loads((run / "environment.json").read_text())["resumed"]) == 1


def test_tensorboard_log_where_there_is_tensorboard(trained):
    pytest.importorskip("tensorboard")
    assert {path.parent.parent.name for path in (trained / "tensorboard").rglob("events*")} == {
        "stage1",
        "stage2",
    }


def test_no_notice_without_tensorboard(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert not loop._has_tensorboard()
    assert capsys.readouterr().err == ""


def test_a_run_that_was_cut_before_it_began_does_not_stand_in_the_way(small, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "environment.json").write_text("{")
    with pytest.raises(UserError, match="unknown arch"):  # further than "is not an empty folder"
        start(small.change(arch="resnet"), run)
    (run / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not an empty folder"):
        start(small, run)


def test_runs_of_one_folder_share_the_decoded_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shared = RUNS / "cache"
    assert (
        cache_of(RUNS / "a")
        == cache_of(RUNS / "experiment_x" / "a_s1")
        == cache_of(RUNS.absolute() / "b")
        == shared
    )
    assert cache_of(tmp_path / "elsewhere" / "a") == tmp_path / "elsewhere" / "cache"
