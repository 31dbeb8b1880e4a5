"""The bare training step on this machine's CPU by backend, precision and threads, side by side in one run.

    python bench/cpu_backends.py [--torch PYTHON]

Every set-up has a process of its own; all wait while one of them trains for some seconds, in turn, round by round. PyTorch runs in an
environment that the first call makes in .venv-peers/ (gigabytes), or in the one whose Python --torch names.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.environments import environment
from fer_hailo.cli import Parser, run
from fer_hailo.errors import UserError

STEP = Path(__file__).with_name("cpu_step.py")
NETWORKS = (("mobilenet_v3_small", 128), ("dlib_resnet", 112))
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "ignore"}
ONE = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


@dataclass(frozen=True)
class SetUp:
    """A line of the table: backend, what cpu_step.py is told, variables of its environment, the networks it is for."""

    name: str
    backend: str
    options: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    only: str = ""


HALF = ("--precision", "mixed_bfloat16")
SETUPS = (
    SetUp("TensorFlow", "tensorflow"),
    SetUp("TensorFlow, without oneDNN", "tensorflow", variables=(("TF_ENABLE_ONEDNN_OPTS", "0"),)),
    SetUp("TensorFlow, one thread", "tensorflow", variables=tuple(ONE.items())),
    SetUp("TensorFlow, bfloat16", "tensorflow", HALF),
    SetUp("TensorFlow, XLA", "tensorflow", ("--xla",)),
    SetUp("JAX", "jax"),
    SetUp("PyTorch, as Keras has it", "torch"),
    SetUp("PyTorch, as train.py runs it", "torch", ("--kernels",)),
    SetUp("the same, one thread", "torch", ("--kernels",), tuple(ONE.items())),
    SetUp("the same, bfloat16", "torch", ("--kernels", *HALF)),
    SetUp("PyTorch without Keras", "torch", ("--plain",), only="mobilenet_v3_small"),
)


class Worker:
    """A set-up's process, warm and waiting. Raises UserError where it does not come so far."""

    def __init__(self, setup: SetUp, python: str, arguments: list[str]):
        variables = os.environ | QUIET | {"KERAS_BACKEND": setup.backend} | dict(setup.variables)
        self.process = subprocess.Popen(
            [python, str(STEP), *arguments, *setup.options], env=variables, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            self.parameters = self._answer()["parameters"]
        except BaseException:
            self.close()
            raise

    def train(self) -> dict[str, float]:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _answer(self) -> dict[str, float]:
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):  # libraries may say something
                return json.loads(line)
        last = self.process.stderr.read().strip().splitlines()[-1:]
        raise UserError(last[0] if last else f"ended with exit status {self.process.wait()}")


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", metavar="PYTHON", help="Python of an environment with PyTorch and Keras [.venv-peers/keras_torch's]")
    parser.add_argument("--arch", help="time this network alone [MobileNetV3Small at 128 px, dlib_resnet at 112 px]")
    parser.add_argument("--size", type=int, default=128, help="its input's side, pixels [128]")
    parser.add_argument("--batch", type=int, default=64, help="images a step [64]")
    parser.add_argument("--rounds", type=int, default=5, help="rounds [5]")
    parser.add_argument("--seconds", type=float, default=2, help="that each set-up trains in a round [2]")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1 or arguments.batch < 2 or arguments.seconds <= 0:
        raise UserError("--rounds must be 1 or more, --batch 2 or more, --seconds above 0")
    pythons = {"tensorflow": sys.executable, "jax": sys.executable, "torch": _torch(arguments.torch)}
    for arch, size in ((arguments.arch, arguments.size),) if arguments.arch else NETWORKS:
        compare(arch, size, arguments, pythons)


def _torch(python: str | None) -> str | None:
    try:
        return python or environment("keras_torch")
    except UserError as error:
        print(f"PyTorch is left out: {error}", file=sys.stderr)
        return None


def compare(arch: str, size: int, arguments: argparse.Namespace, pythons: dict[str, str | None]) -> None:
    """Print the table of one network."""
    numbers = [f"--{name}={value}" for name, value in (("size", size), ("batch", arguments.batch), ("seconds", arguments.seconds))]
    with contextlib.ExitStack() as stack:
        workers = {}
        for setup in SETUPS:
            if setup.only not in ("", arch) or not pythons[setup.backend]:
                continue
            try:
                workers[setup.name] = Worker(setup, pythons[setup.backend], [f"--arch={arch}", *numbers])
                stack.callback(workers[setup.name].close)
            except UserError as error:
                print(f"{setup.name} is left out: {error}", file=sys.stderr)
        times = {name: [] for name in workers}
        for number in range(arguments.rounds):
            print(f"{arch}: round {number + 1} of {arguments.rounds}", file=sys.stderr)
            for name, worker in workers.items():
                times[name].append(worker.train())
        print(f"\n{arch}, {size} px, batch {arguments.batch}, {os.cpu_count()} cores, median of {arguments.rounds} rounds")
        print(table(times, {name: worker.parameters for name, worker in workers.items()}))


def table(times: dict[str, list[dict[str, float]]], parameters: dict[str, int]) -> str:
    """Images a second, their lowest and highest, the median of the rounds' ratios to the first line, images a second of one core's time."""
    lines = [f"{'':<30}{'images/s':>9}{'lowest':>8}{'highest':>8}{'ratio':>7}{'a core-second':>15}{'parameters':>12}"]
    first = np.array([each["speed"] for each in next(iter(times.values()), [])])
    for name, rounds in times.items():
        speed = np.array([each["speed"] for each in rounds])
        economy, ratio = np.median([each["economy"] for each in rounds]), np.median(speed / first)
        span = f"{np.median(speed):>9.1f}{speed.min():>8.1f}{speed.max():>8.1f}"
        lines.append(f"{name:<30}{span}{ratio:>7.2f}{economy:>15.1f}{parameters[name]:>12,}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run(main))
