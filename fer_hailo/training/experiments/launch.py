"""Run the cells, each as `fer-hailo train` in a process of its own: one that fails takes no other with it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from fer_hailo.common.calls import install
from fer_hailo.common.config import save_config
from fer_hailo.common.errors import UserError, one_line
from fer_hailo.common.resources import importable
from fer_hailo.common.runs import CONFIG
from fer_hailo.training.experiments.plan import CellRun

TRAIN = [sys.executable, "-m", "fer_hailo", "train"]
Failed = list[tuple[CellRun, str]]


def here(runs: Sequence[CellRun], jobs: int, cores: int) -> Failed:
    """Run on this machine, `jobs` at a time with `cores` threads each. Returns what failed, and why."""
    children: list[subprocess.Popen] = []
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(train, *_order(run), cores, children): run for run in runs}
        try:
            return _gather(((waiting[done], done.result) for done in as_completed(waiting)), len(runs))
        except KeyboardInterrupt:
            for other in waiting:
                other.cancel()
            for child in children:
                child.terminate()  # as Ctrl-C: it ends with the last whole epoch saved
            raise KeyboardInterrupt("every whole epoch is saved: give the same command again") from None


def with_ray(runs: Sequence[CellRun], cores: int, gpus: int) -> Failed:
    """Run on the Ray cluster of $RAY_ADDRESS, or on one that is started here; each run with `cores` and
    `gpus` of it.
    """
    try:
        import ray
    except ImportError:
        raise UserError(f"Ray is not installed: {install('ray')}") from None

    try:
        ray.init(logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"no Ray cluster at $RAY_ADDRESS: {one_line(error, 160)}") from None
    try:
        most = {kind: max(node["Resources"].get(kind, 0) for node in ray.nodes()) for kind in ("CPU", "GPU")}
        if cores > most["CPU"] or gpus > most["GPU"]:
            raise UserError(
                f"no machine of the cluster has {cores} cores and {gpus} GPUs: the largest has "
                f"{most['CPU']:g} and {most['GPU']:g}"
            )
        remote = ray.remote(num_cpus=cores, num_gpus=gpus, max_retries=0)(train)
        waiting = {remote.remote(*_order(run), cores): run for run in runs}

        def finished():
            left = list(waiting)
            while left:
                (done, *_), left = ray.wait(left)
                yield waiting[done], partial(ray.get, done)

        return _gather(finished(), len(runs))
    finally:
        ray.shutdown()


def train(
    command: list[str], log: str, folder: str, cores: int, children: list | None = None
) -> tuple[int, str]:
    """Run a command in `folder`, its output going to `log`.

    Returns its exit status and its last line. children: gets the process.
    """
    threads = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    environment = os.environ | importable() | dict.fromkeys(threads, str(cores))
    # Several on one GPU must not each take all of its memory.
    environment |= {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    with open(log, "a", encoding="utf-8") as file:
        child = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT)
        if children is not None:
            children.append(child)
        status = child.wait()
    lines = Path(log).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return status, lines[-1][:200] if lines else ""


def _order(run: CellRun) -> tuple[list[str], str, str]:
    """The command, the log, the folder to be in. A begun run goes on."""
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    if (run.folder / CONFIG).is_file():
        command = [*TRAIN, "--resume", str(run.folder), "--data", run.config.data.source]
    else:
        recipe = run.folder.with_name(f"{run.folder.name}.yaml")
        save_config(run.config, recipe)
        command = [*TRAIN, "--config", str(recipe), "--out", str(run.folder)]
    return command, str(run.log.absolute()), str(Path.cwd())


def _gather(results: Iterator[tuple[CellRun, Callable]], count: int) -> Failed:
    """results: each run with what gives its status and last line.

    A worker that is lost is a run that failed.
    """
    failed = []
    for number, (run, result) in enumerate(results, 1):
        try:
            status, last = result()
        except Exception as error:  # Ray's and the system's own
            status, last = "lost", one_line(error, 200)
        outcome = f"failed ({status}): {last}" if status else "done"
        print(f"[{number}/{count}] {run.folder.name}: {outcome}", file=sys.stderr, flush=True)
        if status:
            failed.append((run, last))
    return failed
