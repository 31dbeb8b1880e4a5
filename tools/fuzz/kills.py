"""Kill train, convert and compile (kill -9) at chosen moments, call them again, and compare what they made
with what an undisturbed run made, bit for bit.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import random
import select
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fer_hailo.common.files import write_json
from fer_hailo.common.progress import Line, duration
from tools.fuzz.reading import ROOT, SAVED

LONGEST = 900.0  # seconds that an undisturbed run may take
Digests = dict[str, str]


class Server:
    """A process of forks.py for a side: training or sdk."""

    def __init__(self, side: str):
        places = [str(ROOT), str(ROOT / "tests"), str(ROOT / "doubles" / "sdk")]
        variables = {"PYTHONPATH": os.pathsep.join(places), "FER_HAILO_SDK_DOUBLE": "{}"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tools.fuzz.forks", side], env=os.environ | variables,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def run(self, folder: Path, arguments: list[str], **when: float) -> dict:
        """Run the command in a folder. when: `after` or `event`, see forks.py."""
        assert self._process.stdin and self._process.stdout
        wish = {"folder": str(folder), "arguments": arguments} | when
        self._process.stdin.write(json.dumps(wish).encode() + b"\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], LONGEST)[0]:
            raise AssertionError(f"{arguments} takes more than {LONGEST:g} s")
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@dataclass(frozen=True)
class Target:
    """side: what must be loaded. prepare: fills an empty folder. first: the command and its arguments there.
    again: those with which a user goes on, or None where nothing is left to do. digests: of what it made.
    """

    side: str
    prepare: Callable[[Path], object]
    first: list[str]
    again: Callable[[Path], list[str] | None]
    digests: Callable[[Path], Digests]


def _prepare_training(folder: Path) -> None:
    shutil.copytree(SAVED / "data", folder / "data")
    text = (SAVED / "run" / "config.yaml").read_text().replace("tensorboard: true", "tensorboard: false")
    (folder / "recipe.yaml").write_text(text)


def _go_on_training(folder: Path) -> list[str] | None:
    run = folder / "run"
    if (run / "DONE").exists():
        return None
    return ["train", "--resume", "run"] if (run / "config.yaml").is_file() else TRAIN


def of_training(folder: Path) -> Digests:
    """The model's weights (Keras writes addresses in memory into the rest), the history but for its times,
    the scores.
    """
    run = folder / "run"
    with zipfile.ZipFile(run / "best_model_float32.keras") as archive:
        found = {"weights": archive.read("model.weights.h5")}
    rows = csv.DictReader(io.StringIO((run / "history.csv").read_text()))
    found["history.csv"] = json.dumps([row | {"seconds": ""} for row in rows]).encode()
    names = ("labels.txt", "config.yaml", "confidence.json", "metrics_val.json", "metrics_test.json", "DONE")
    return _digests(found | {name: (run / name).read_bytes() for name in names})


def _prepare_conversion(folder: Path) -> None:
    shutil.copytree(SAVED, folder, dirs_exist_ok=True)
    shutil.rmtree(folder / "run" / "deploy")


def of_conversion(folder: Path) -> Digests:
    """The bundle, its manifest but for dates and the name of the run's folder."""
    deploy = folder / "run" / "deploy"
    found = {path.name: path.read_bytes() for path in deploy.iterdir() if path.suffix != ".pyz"}
    manifest = json.loads(found.pop("manifest.json"))
    manifest["environment"] = manifest["sha256"] = manifest["name"] = None
    manifest["files"] = sorted(manifest["files"])
    return _digests(found | {"manifest.json": json.dumps(manifest, sort_keys=True).encode()})


def _prepare_compilation(folder: Path) -> None:
    shutil.copytree(SAVED / "run" / "deploy", folder / "deploy")


def _of_compilation(folder: Path) -> Digests:
    out = folder / "deploy" / "hailo8"
    names = ("model.har", "model_quantized.har", "model.hef", "int8_answers.npz", "effective.alls")
    return _digests({name: (out / name).read_bytes() for name in names})


def _digests(found: dict[str, bytes]) -> Digests:
    return {name: hashlib.sha256(content).hexdigest() for name, content in sorted(found.items())}


COMPILE = ["compile", "deploy", "--max-drop", "100"]
TRAIN = ["train", "--config", "recipe.yaml", "--out", "run"]
CONVERT = ["convert", "run"]
TARGETS = {
    "train": Target("training", _prepare_training, TRAIN, _go_on_training, of_training),
    "convert": Target("training", _prepare_conversion, CONVERT, lambda _: CONVERT, of_conversion),
    "compile": Target("sdk", _prepare_compilation, COMPILE, lambda _: COMPILE, _of_compilation),
}


@dataclass(frozen=True)
class Reference:
    """An undisturbed run: what it made, how many seconds it took, how often it changed a file."""

    digests: Digests
    seconds: float
    events: int


def undisturbed(target: Target, server: Server, runs: int = 2) -> Reference:
    """Of the last of some runs: the first one warms up."""
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place).resolve()
            target.prepare(folder)
            done = server.run(folder, target.first)
            assert done["status"] == 0, f"{target.first} undisturbed: {done['said']}"
            reference = Reference(target.digests(folder), done["seconds"], done["events"])
    return reference


def kill_once(target: Target, server: Server, reference: Reference, rng: random.Random) -> tuple[str, str]:
    """Kill a run at a moment of its time or at a change of a file, and go on until it is done.

    Returns the moment, and what went wrong: "" where all is as in the undisturbed run.
    """
    if rng.random() < 0.5:
        when: dict[str, float] = {"event": rng.randrange(1, reference.events + 1)}
    else:
        when = {"after": round(rng.uniform(0, reference.seconds), 3)}
    moment = ", ".join(f"{name} {value}" for name, value in when.items())
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve()
        target.prepare(folder)
        killed = server.run(folder, target.first, **when)
        if killed["status"] not in (0, -9):
            return moment, f"before the kill: {killed['said'][-300:]}"
        arguments = target.again(folder) if killed["status"] else None
        done = server.run(folder, arguments) if arguments else {"status": 0}
        if done["status"]:
            return moment, f"called again: {done['said'][-300:]}"
        found = target.digests(folder)
        differing = [name for name in reference.digests if found.get(name) != reference.digests[name]]
        return (
            moment,
            f"{', '.join(differing)} differ" if differing or found.keys() - reference.digests else "",
        )


def kill(count: int, seed: int, out: Path) -> int:
    """Kill the commands `count` times in turn. Returns an exit status; DIR/kills_SEED.json has the moments,
    from which an interrupted call goes on.
    """
    state = out / f"kills_{seed}.json"
    done: list[list[str]] = json.loads(state.read_bytes()) if state.is_file() else []
    sides = {side: Server(side) for side in ("training", "sdk")}
    servers = {command: sides[target.side] for command, target in TARGETS.items()}
    line, start, before = Line(), time.monotonic(), len(done)
    try:
        references = {command: undisturbed(TARGETS[command], server) for command, server in servers.items()}
        for number in range(len(done), count):
            command = list(TARGETS)[number % len(TARGETS)]
            rng = random.Random(f"{command} {seed} {number}")
            moment, fault = kill_once(TARGETS[command], servers[command], references[command], rng)
            done.append([command, moment, fault])
            write_json(state, done)
            left = (time.monotonic() - start) / (number + 1 - before) * (count - number - 1)
            line.show(f"kills: {number + 1} of {count}, {duration(left)} left")
    finally:
        for server in sides.values():
            server.close()
    return _tell(done)


def _tell(done: list[list[str]]) -> int:
    faults = [(number, one) for number, one in enumerate(done) if one[2]]
    for command in TARGETS:
        own = [one for one in done if one[0] == command]
        print(
            f"{command}: killed {len(own)} times, {sum(not one[2] for one in own)} gone on to the same bits"
        )
    for number, (command, moment, fault) in faults:
        print(f"  {command} {number} (killed {moment}): {fault}")
    return 1 if faults else 0
