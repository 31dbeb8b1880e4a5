"""The process that reads damaged files: what makes it die, hang or swell is a fault of the file's reader."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import resource
import sys
from pathlib import Path
from typing import TextIO

from fer_hailo.common.errors import UserError

MOST = 600  # characters of the one line
ROOM = 12 << 30  # bytes of addresses: a reader that asks for more gets MemoryError, and other work goes on


def outcome_of(reader, path: Path, named: bool) -> str:
    """ "read", "refused", or what is wrong with how a file was read or refused."""
    try:
        text = reader(path)
    except UserError as error:
        line = str(error)
        mark = path.name.split("__")[0]  # of this file alone
        short = len(line) <= MOST + 4 * len(str(path))
        right = line.isprintable() and (mark in line or not named) and short
        return "refused" if right else f"refused with {line[:300]!r}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"{type(error).__name__}: {str(error)[:200]}{_place(error)}"
    strange = next((line for line in text.split("\n") if not line.isprintable()), None)
    return "read" if strange is None else f"describes it with {strange[:200]!r}"


def outcome_of_all(name: str, path: Path) -> str:
    """Of all readers of a format: the first fault; else "read" where one of them read it, else "refused"."""
    from tools.fuzz.formats import FORMATS

    outcomes = {}
    for reader in FORMATS[name].readers:
        outcome = outcome_of(reader, path, FORMATS[name].named)
        if outcome not in ("read", "refused"):
            return f"{reader.__name__}: {outcome}"
        outcomes[outcome] = None
    return "read" if "read" in outcomes else "refused"


def _place(error: BaseException) -> str:
    """Where in the library it was raised, or last passed."""
    trace, place = error.__traceback__, ""
    while trace:
        file = trace.tb_frame.f_code.co_filename
        place = f" ({Path(file).name}:{trace.tb_lineno})" if "fer_hailo" in file else place
        trace = trace.tb_next
    return place


def peak_bytes() -> int:
    """The most memory that this process has held. (getrusage's begins with the parent's.)"""
    with contextlib.suppress(OSError), open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def main() -> None:
    """Answer each line "FORMAT PATH" of standard input with one of JSON: outcome, and peak memory."""
    answers = _private_output()
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (ROOM, resource.RLIM_INFINITY))
    for line in sys.stdin:
        name, _, path = line.rstrip("\n").partition(" ")
        outcome = outcome_of_all(name, Path(path))
        print(json.dumps({"outcome": outcome, "peak": peak_bytes()}), file=answers, flush=True)


def _private_output() -> TextIO:
    """The output for answers alone: what libraries print goes nowhere."""
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    return answers


if __name__ == "__main__":
    main()
