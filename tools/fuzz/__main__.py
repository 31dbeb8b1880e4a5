"""Read damaged files of every format, and kill commands half-way: nothing may end in a traceback, hang, swell
or be lost.

    python -m tools.fuzz [FORMAT ...] [--count 10000] [--seed 1] [--out DIR]
    python -m tools.fuzz --kills 100 [--seed 1] [--out DIR]

Interrupted, the same command goes on. The same seed gives the same files. Real HEF and HAR files are those of
shared/ beside the repository (FER_HAILO_SHARED). Files that show a fault stay in DIR.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from fer_hailo.common.cli import Parser, run
from fer_hailo.common.progress import duration
from tools.fuzz.campaign import Count, Worker, fuzz
from tools.fuzz.formats import FORMATS


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=f"of {', '.join(FORMATS)} [all]")
    parser.add_argument("--count", type=int, default=10_000, help="files of each format [10,000]")
    parser.add_argument("--seed", type=int, default=1, help="[1]")
    parser.add_argument("--kills", type=int, default=0, help="kill commands so often, instead")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"), help="[build/fuzz]")
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.formats if name not in FORMATS]
    if unknown:
        parser.error(f"unknown format {unknown[0]}: known are {', '.join(FORMATS)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.kills:
        from tools.fuzz.kills import kill

        return kill(arguments.kills, arguments.seed, arguments.out)
    faults = 0
    for name in arguments.formats or FORMATS:
        state = arguments.out / f"{name}_{arguments.seed}.json"
        with contextlib.closing(Worker()) as worker:
            total = fuzz(name, arguments.count, arguments.seed, arguments.out, worker, state)
        print(_line(name, total), flush=True)
        for number, fault in total.faults.items():
            print(f"  {name} {number}: {fault}")
        faults += sum(not fault.startswith(FORMATS[name].limit) for fault in total.faults.values())
    return 1 if faults else 0


def _line(name: str, total: Count) -> str:
    read, refused = (total.outcomes[outcome] for outcome in ("read", "refused"))
    return (
        f"{name}: {total.done:,} files, {read:,} read, {refused:,} refused, {len(total.faults)} faults; "
        f"{duration(total.spent)}, the slowest {total.slowest:.2f} s; "
        f"{total.peak >> 20} MiB above the start; {total.restarts} restarts"
    )


if __name__ == "__main__":
    sys.exit(run(main))
