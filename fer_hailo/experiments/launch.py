"""Run the cells, each as `python train.py` in a process of its own: one that fails takes no other with it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from fer_hailo.config import save_config
from fer_hailo.errors import UserError
from fer_hailo.experiments.plan import CellRun
from fer_hailo.runs import CONFIG

TRAIN = [sys.executable, str(Path(__file__).parents[2] / "train.py")]
INTERRUPTED = 130
Failed = list[tuple[CellRun, str]]


def here(runs: Sequence[CellRun], jobs: int, cores: int) -> Failed:
    """Run on this machine, `jobs` at a time with `cores` threads each. Returns what failed, and why."""
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(train, *_order(run), cores): run for run in runs}
        try:
            return _gather(((waiting[done], done.result()) for done in as_completed(waiting)), len(runs))
        except KeyboardInterrupt:  # the children of this terminal got it too, and end with a saved epoch
            for other in waiting:
                other.cancel()
            raise KeyboardInterrupt("every whole epoch is saved: give the same command again") from None


def with_ray(runs: Sequence[CellRun], cores: int) -> Failed:
    """Run on the Ray cluster of $RAY_ADDRESS, or on one that is started here; `cores` of it for each run."""
    try:
        import ray
    except ImportError:
        raise UserError("Ray is not installed: pip install -e '.[ray]'") from None

    ray.init(logging_level="error", log_to_driver=False)
    try:
        remote = ray.remote(num_cpus=cores, max_retries=0)(train)
        waiting = {remote.remote(*_order(run), cores): run for run in runs}

        def finished():
            left = list(waiting)
            while left:
                (done, *_), left = ray.wait(left)
                yield waiting[done], ray.get(done)

        return _gather(finished(), len(runs))
    finally:
        ray.shutdown()


def train(command: list[str], log: str, folder: str, cores: int) -> tuple[int, str]:
    """Run a command in `folder`, its output going to `log`. Returns its exit status and its last line."""
    environment = os.environ | {name: str(cores) for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")}
    with open(log, "a", encoding="utf-8") as file:
        status = subprocess.run(command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT).returncode
    lines = Path(log).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return status, lines[-1][:200] if lines else ""


def _order(run: CellRun) -> tuple[list[str], str, str]:
    """The command, the log, the folder to be in. A begun run goes on."""
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    if (run.folder / CONFIG).is_file():
        command = [*TRAIN, "--resume", str(run.folder), "--data", run.config.data]
    else:
        recipe = run.folder.with_name(f"{run.folder.name}.yaml")
        save_config(run.config, recipe)
        command = [*TRAIN, "--config", str(recipe), "--out", str(run.folder)]
    return command, str(run.log.absolute()), str(Path.cwd())


def _gather(results, count: int) -> Failed:
    failed = []
    for number, (run, (status, last)) in enumerate(results, 1):
        if status == INTERRUPTED:
            raise KeyboardInterrupt
        outcome = f"failed ({status}): {last}" if status else "done"
        print(f"[{number}/{count}] {run.folder.name}: {outcome}", file=sys.stderr, flush=True)
        if status:
            failed.append((run, last))
    return failed
