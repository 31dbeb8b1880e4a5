"""How a user calls the commands here: what help texts and messages name. Standard library only."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from fer_hailo.common.resources import checkout

PROGRAM = "fer-hailo"
SCRIPTS = {
    "train": "train.py",
    "convert": "convert_tflite.py",
    "compile": "compile_hef.py",
    "evaluate": "evaluate.py",
    "run": "run.py",
    "ensemble": "python -m fer_hailo.ensemble",
    "refine": "python -m fer_hailo.refine",
    "experiments": "python -m fer_hailo.experiments",
}


def tool(command: str) -> str:
    """A command as sentences name it: `fer-hailo convert`, or `convert_tflite.py` where a checkout is
    used.
    """
    if command == "compile" and Path(sys.argv[0]).suffix == ".pyz":
        return Path(sys.argv[0]).name
    return SCRIPTS[command] if checkout() and program() != PROGRAM else f"{PROGRAM} {command}"


def call(command: str) -> str:
    """As `tool`, ready to be typed: `fer-hailo convert`, or `python convert_tflite.py`."""
    name = tool(command)
    return f"python {name}" if name.endswith((".py", ".pyz")) else name


def calls(text: str) -> str:
    """A text in which each `fer-hailo COMMAND` is as `call` gives it."""
    return re.sub(rf"{PROGRAM} ({'|'.join(SCRIPTS)})\b", lambda found: call(found[1]), text)


def program() -> str:
    """The name of the running program: fer-hailo (also as `python -m fer_hailo`), train.py,
    compile_hef.pyz.
    """
    path = Path(sys.argv[0])
    as_module = (path.parent.name, path.name) == ("fer_hailo", "__main__.py")
    return PROGRAM if as_module or path.stem == PROGRAM else path.name


def running() -> str:
    """The command that this program is: run, train, ...; empty where it is none, and of compile_hef.pyz."""
    if program() == PROGRAM:
        return sys.argv[1] if sys.argv[1:2] and sys.argv[1] in SCRIPTS else ""
    return next((command for command, script in SCRIPTS.items() if script == program()), "")


def install(extra: str) -> str:
    """The command that installs the packages of an extra: `pip install 'fer-hailo[train]'`, or of a
    checkout.
    """
    return f"pip install -e '.[{extra}]'" if checkout() else f"pip install 'fer-hailo[{extra}]'"
