"""Read facial expressions: train a classifier, convert it, compile it for a Hailo-8, and run it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fer_hailo import __version__
from fer_hailo.common.calls import PROGRAM
from fer_hailo.common.cli import Parser, command, nearest, run
from fer_hailo.common.errors import UserError

COMMANDS = {
    "train": "train a classifier on FER2013 or other data; go on with an interrupted run",
    "convert": "convert a trained model to TFLite, and make the deploy bundle",
    "compile": "compile a deploy bundle to a HEF, or rehearse that without the SDK",
    "evaluate": "score a model on a data set or a deploy bundle",
    "run": "read the expressions of faces in images, videos and from cameras",
    "ensemble": "join several runs into one model",
    "refine": "refine the labels of the training images by models' predictions",
    "experiments": "run a grid of configurations and seeds, and sum it up",
}


def main(argv: list[str] | None = None) -> int | None:
    """Run `fer-hailo COMMAND ...`. Returns its exit status; raises UserError for an unknown command."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in COMMANDS:
        return command(argv[0])(argv[1:])
    lines = "\n".join(f"  {name:<12} {what}" for name, what in COMMANDS.items())
    parser = Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} COMMAND ...",
        description=f"{__doc__}\n\ncommands ({PROGRAM} COMMAND --help tells all of one):\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    _, rest = parser.parse_known_args(argv)
    given = next((word for word in rest if not word.startswith("-")), None)
    if given is None:
        parser.parse_args(argv)  # an unknown option
        raise UserError(f"name a command: {', '.join(COMMANDS)} (see --help)")
    source = given.isdigit() or Path(given).exists()  # named where `run` was forgotten
    meant = f" (did you mean {PROGRAM} run {given}?)" if source else nearest(given, COMMANDS)
    raise UserError(f"unknown command {given}{meant}: {', '.join(COMMANDS)}")


def entry() -> int:
    """What the console command `fer-hailo` calls."""
    return run(main)


if __name__ == "__main__":
    sys.exit(entry())
