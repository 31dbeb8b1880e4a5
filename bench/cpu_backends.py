"""The bare training step on this machine's CPU by backend, precision and threads, side by side in one run.

    python bench/cpu_backends.py [--torch PYTHON]

Every set-up has a process of its own and trains in turn with the first, for some seconds each, round by
round: the ratios hold on a machine that does other work too. At most two are in memory. PyTorch runs in an
environment that the first call makes in .venv-peers/ (gigabytes), or in the one whose Python --torch names.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.environments import environment
from fer_hailo.common.cli import Parser, run
from fer_hailo.common.errors import UserError

STEP = Path(__file__).with_name("cpu_step.py")
NETWORKS = (("mobilenet_v3_small", 128), ("dlib_resnet", 112))
QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
    "JAX_PLATFORMS": "cpu",
    "PYTHONWARNINGS": "ignore",
}
PASSIVE = (("OMP_WAIT_POLICY", "passive"),)  # PyTorch's threads sleep where they wait for one another
ONE = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


@dataclass(frozen=True)
class SetUp:
    """A line of the table: backend, what cpu_step.py is told, variables of its environment, the networks it
    is for.
    """

    name: str
    backend: str
    options: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    only: str = ""


MOBILENET = NETWORKS[0][0]
HALF = ("--precision", "mixed_bfloat16")
SETUPS = (
    SetUp("TensorFlow", "tensorflow"),
    SetUp(
        "TensorFlow, without oneDNN",
        "tensorflow",
        variables=(("TF_ENABLE_ONEDNN_OPTS", "0"),),
        only=MOBILENET,
    ),
    SetUp("TensorFlow, one thread", "tensorflow", variables=tuple(ONE.items()), only=MOBILENET),
    SetUp("TensorFlow, bfloat16", "tensorflow", HALF),
    SetUp("PyTorch, as Keras has it", "torch", variables=PASSIVE),
    SetUp("PyTorch, as train.py runs it", "torch", ("--kernels",), PASSIVE),
    SetUp("the same, waiting awake", "torch", ("--kernels",)),
    SetUp("the same, one thread", "torch", ("--kernels",), tuple(ONE.items()), only=MOBILENET),
    SetUp("the same, bfloat16", "torch", ("--kernels", *HALF), PASSIVE),
    SetUp("PyTorch without Keras", "torch", ("--plain",), PASSIVE, only=MOBILENET),
    SetUp("TensorFlow, XLA", "tensorflow", ("--xla",), only=MOBILENET),
    SetUp("JAX", "jax"),
)


class Worker:
    """A set-up's process, warm and waiting. Raises UserError where it does not come so far."""

    def __init__(self, setup: SetUp, python: str, arguments: list[str]):
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by close)
        variables = os.environ | QUIET | {"KERAS_BACKEND": setup.backend} | dict(setup.variables)
        self.process = subprocess.Popen(
            [python, str(STEP), *arguments, *setup.options], env=variables, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said,
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
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.said.close()

    def _answer(self) -> dict[str, float]:
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):  # libraries may say something
                return json.loads(line)
        status = self.process.wait()
        self.said.seek(0)
        last = self.said.read().strip().splitlines()[-1:]
        raise UserError(last[0] if last else f"ended with exit status {status}")


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--torch",
        metavar="PYTHON",
        help="Python of an environment with PyTorch and Keras [.venv-peers/keras_torch's]",
    )
    parser.add_argument(
        "--arch", help="time this network alone [MobileNetV3Small at 128 px, dlib_resnet at 112 px]"
    )
    parser.add_argument("--size", type=int, default=128, help="its input's side, pixels [128]")
    parser.add_argument("--batch", type=int, default=64, help="images a step [64]")
    parser.add_argument("--rounds", type=int, default=3, help="rounds [3]")
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
    """Print the table of one network, line by line as it is measured."""
    numbers = [
        f"--{name}={value}"
        for name, value in (("size", size), ("batch", arguments.batch), ("seconds", arguments.seconds))
    ]

    def worker(setup: SetUp) -> Worker:
        return Worker(setup, pythons[setup.backend], [f"--arch={arch}", *numbers])

    print(
        f"\n{arch}, {size} px, batch {arguments.batch}, {os.cpu_count()} cores, median of {arguments.rounds} "
        "rounds"
    )
    print(
        f"{'':<30}{'images/s':>9}{'lowest':>8}{'highest':>8}{'ratio':>7}"
        f"{'a core-second':>15}{'parameters':>12}",
        flush=True,
    )
    first, *others = [setup for setup in SETUPS if setup.only in ("", arch)]
    with contextlib.closing(worker(first)) as reference:
        rounds = [reference.train() for _ in range(arguments.rounds)]
        print(line(first.name, rounds, rounds, reference.parameters), flush=True)
        for setup in others:
            if not pythons[setup.backend]:
                continue
            try:
                with contextlib.closing(worker(setup)) as other:
                    pairs = [(other.train(), reference.train()) for _ in range(arguments.rounds)]
                    print(line(setup.name, *zip(*pairs, strict=True), other.parameters), flush=True)
            except UserError as error:
                print(f"{setup.name:<30} left out: {error}", flush=True)


def line(name: str, rounds: Sequence[dict], reference: Sequence[dict], parameters: int) -> str:
    """Images a second with their lowest and highest, the median of the rounds' ratios to the first set-up,
    which trained in turn with this one, and images a second of one core's time.
    """
    speed, beside = (np.array([each["speed"] for each in side]) for side in (rounds, reference))
    economy = np.median([each["economy"] for each in rounds])
    span = f"{np.median(speed):>9.1f}{speed.min():>8.1f}{speed.max():>8.1f}"
    return f"{name:<30}{span}{np.median(speed / beside):>7.2f}{economy:>15.1f}{parameters:>12,}"


if __name__ == "__main__":
    sys.exit(run(main))
