"""Run a grid of configurations and seeds, and sum it up.

fer-hailo experiments FILE.yaml                 go through the cells; the same command goes on after an
interruption fer-hailo experiments FILE.yaml --jobs 2        two runs at once, each with its share of the
cores fer-hailo experiments FILE.yaml --launcher ray  on a Ray cluster, whose machines see this folder
fer-hailo experiments FILE.yaml --summary       only the table of what is there

FILE.yaml:
  base: configs/finetune.yaml        # a recipe, may be absent
  common: {input_size: 64}           # for all cells
  cells: {alone: {}, taught: {teacher: [RUN]}}      # named changes; the first is compared with
  grid: {stage2_lr: [0.001, 0.002]}  # and/or all combinations
  seeds: [1, 2, 3]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fer_hailo.common.cli import command_parser
from fer_hailo.common.errors import UserError
from fer_hailo.common.resources import find
from fer_hailo.common.runs import RUNS


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("experiments", __doc__)
    parser.add_argument("file", type=find, metavar="FILE.yaml", help="the grid")
    parser.add_argument("--data", help="where the data lies, instead of what the recipe says")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help=f"folder of the runs and the table [{RUNS}/experiment_NAME]"
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at once on this machine [1]")
    parser.add_argument(
        "--cores", type=int, help="cores for each run [those of this machine by --jobs; 1 with ray]"
    )
    parser.add_argument("--gpus", type=int, default=0, help="GPUs for each run, with ray [0]")
    parser.add_argument("--launcher", choices=("local", "ray"), default="local", help="where runs go [local]")
    parser.add_argument("--summary", action="store_true", help="train nothing")
    arguments = parser.parse_args(argv)
    ray = arguments.launcher == "ray"
    cores = (
        (1 if ray else max(1, (os.cpu_count() or 1) // max(1, arguments.jobs)))
        if arguments.cores is None
        else arguments.cores
    )
    if arguments.jobs < 1 or cores < 1 or arguments.gpus < 0:
        raise UserError("--jobs and --cores must be 1 or more, --gpus 0 or more")

    from fer_hailo.training.experiments import launch, plan, summary

    out = arguments.out or RUNS / f"experiment_{arguments.file.stem}"
    grid = plan.read_grid(arguments.file, out, {"data": arguments.data} if arguments.data else {})
    failed = []
    if not arguments.summary:
        todo = [cell_run for cell_run in grid.runs if not cell_run.done]
        print(f"{len(grid.runs)} runs, {len(grid.runs) - len(todo)} of them done", file=sys.stderr)
        failed = (
            launch.with_ray(todo, cores, arguments.gpus) if ray else launch.here(todo, arguments.jobs, cores)
        )
    print(summary.write_summary(grid))
    for cell_run, reason in failed:
        print(f"error: {cell_run.folder.name} failed: {reason} (see {cell_run.log})", file=sys.stderr)
    return 1 if failed else 0
