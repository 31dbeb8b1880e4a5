"""What a user does about an import that failed: a package that this Python lacks, or a library that the
system lacks.
"""

from __future__ import annotations

import re
import sys

from fer_hailo.common.calls import install, running

EXTRAS = {"run": "board", "evaluate": "board", "compile": "sdk"}  # of the others: train
# pip's OpenCV needs them, and a system without a desktop, as Raspberry Pi OS Lite, has none
LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libglib-2.0.so.0": "libglib2.0-0",
}


def remedy(error: ImportError, command: str | None = None) -> str | None:
    """Cause and cure in one line; None where the cause is none of these, but a fault of the program.

    command: that which needs the package; None: the one that runs.
    """
    if cure := library(str(error)):
        missing = str(error).partition(":")[0]
        return f"{error.name or 'a package'} cannot be imported ({missing} is missing): {cure}"
    name = (error.name or "").partition(".")[0]
    ours = name in ("", "fer_hailo") or name in sys.stdlib_module_names
    if ours or not isinstance(error, ModuleNotFoundError):
        return None
    command = running() if command is None else command
    cure = install(EXTRAS.get(command, "train")) if command else f"pip install {name}"
    return (
        f"this Python ({sys.executable}) has no {name}: {cure}, or first activate the environment that has "
        "it (source .venv/bin/activate)"
    )


def library(said: str) -> str:
    """How to install the system's library whose absence an import tells; empty where it tells none."""
    found = re.match(r"(?:ImportError: )?(\S+\.so[.\d]*): cannot open shared object file", said)
    return f"sudo apt install {LIBRARIES[found[1]]}" if found and found[1] in LIBRARIES else ""
