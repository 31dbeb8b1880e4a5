"""What the tests share: a small sample set, a small configuration, the commands as a user calls them, and the
real data if there.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
PATHS = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# A shell that starts a command in the background lets it ignore Ctrl-C, and so all that it starts; some tests
# send one.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SMALL = {
    "arch": "tiny", "weights": "none", "input_size": 32, "unfreeze_layers": -1, "train_batch_norm": True,
    "batch_norm_momentum": 0.9,
    "ema": 0.9, "head_units": [16], "head_dropout": [0.1, 0.1], "stage1_epochs": 1, "stage2_epochs": 2,
    "stage2_warmup_epochs": 1,
    "rotation": 10.0, "shift": 0.1,
}  # fmt: skip


@pytest.fixture(scope="session")
def sample_set(tmp_path_factory) -> Path:
    from fer_hailo.training.data.sample import write_sample_set

    return write_sample_set(tmp_path_factory.mktemp("data") / "sample", train=20, test=6)


@pytest.fixture(scope="session")
def small(sample_set):
    """A configuration that trains through both stages in seconds, with everything on that could break a
    resumed run.
    """
    import tiny  # noqa: F401, registers the network

    from fer_hailo.common.config import load_config

    return load_config(None, SMALL | {"data": str(sample_set)})


@pytest.fixture(scope="session")
def trained(small, tmp_path_factory) -> Path:
    """A complete run of `small`."""
    from fer_hailo.training.fit.loop import start

    return start(small, tmp_path_factory.mktemp("runs") / "whole")


@pytest.fixture(scope="session")
def converted(trained) -> Path:
    """The deploy bundle of `trained`. Do not change it: copy it."""
    from fer_hailo.training.convert.conversion import convert

    place = os.getcwd()
    # Where there is one in the current folder, it gets a copy of the calibration set
    (trained.parent / "calib").mkdir()
    os.chdir(trained.parent)
    try:
        return convert(str(trained), {}, None, None, None)
    finally:
        os.chdir(place)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with FER2013 and ImageNet weights, which the project does not contain."""
    folder = Path(os.environ.get("FER_HAILO_SHARED", ROOT.parent / "shared"))
    if not (folder / "data" / "fer2013.zip").is_file():
        pytest.skip(f"no real data at {folder} (set FER_HAILO_SHARED)")
    return folder


@pytest.fixture
def command(tmp_path):
    """Run a script of the repository, or any command (a list), in an empty folder: gives the
    CompletedProcess, output as text.
    """

    def call(script: str | list[str], *arguments, **environment) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*([sys.executable, str(ROOT / script)] if isinstance(script,
            str) else script),
            *map(str, arguments)],
            cwd=tmp_path, env=os.environ | PATHS | environment, capture_output=True, text=True, timeout=400,
        )  # fmt: skip

    return call


@pytest.fixture
def undrawn(monkeypatch):
    """Empty files for plots, which take a sixth of a short run and have tests of their own."""
    from fer_hailo.training.evaluate import plots

    monkeypatch.setattr(plots, "save_figure", lambda figure, path: path.touch())


@pytest.fixture
def inside(tmp_path, monkeypatch, capfd):
    """As `command`, a script of the repository, in this process: the start of a new one takes longer than
    most of what is tested.
    """

    def call(script: str, *arguments) -> subprocess.CompletedProcess:
        module = importlib.import_module(script.removesuffix(".py"))
        monkeypatch.chdir(tmp_path)
        capfd.readouterr()
        try:
            status = module.run(module.main, [str(argument) for argument in arguments])
        except SystemExit as end:  # argparse
            status = end.code
        said = capfd.readouterr()
        return subprocess.CompletedProcess([script, *arguments], status, said.out, said.err)

    return call


def error_line(result: subprocess.CompletedProcess) -> str:
    """The one line that a user's mistake must give, on exit status 2 and without a traceback."""
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    return lines[0]


CHATTER = (
    "absl", "oneDNN", "cuInit", "cuda drivers", "XNNPACK", "rebuild TensorFlow", "INFO:", "Ignored output",
)  # fmt: skip


def assert_quiet(result: subprocess.CompletedProcess) -> None:
    """A command says what it has to say, and nothing of what frameworks say."""
    said = result.stdout + result.stderr
    assert said and not [word for word in CHATTER if word in said], said


def broken_pipe() -> int:
    """The end of a pipe that is written to, and that nobody reads: as of `| head`, once it has enough."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer
