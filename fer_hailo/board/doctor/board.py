"""Where facts come from: files below a root, and commands, so that tests can build a board."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

Command = Callable[[list[str]], "tuple[int, str] | None"]
LIMIT_S = 20


@dataclass(frozen=True)
class Board:
    """root: of the file system. folder: the current one, for HailoRT's log. command: runs one, giving exit
    status and output, None where it is not installed.
    """

    root: Path = Path("/")
    folder: Path = Path()
    command: Command = field(default_factory=lambda: run_command)

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def text(self, name: str) -> str:
        """The text of a file; empty where it cannot be read."""
        try:
            return self.path(name).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
        except OSError:
            return ""

    def says(self, *arguments: str) -> str:
        """What a command prints where it succeeds, else nothing."""
        status, text = self.command(list(arguments)) or (1, "")
        return text.strip() if status == 0 else ""


def run_command(arguments: list[str]) -> tuple[int, str] | None:
    """Exit status and output (both streams) of a command; 124 where it takes more than 20 s; None where it is
    not installed.
    """
    try:
        done = subprocess.run(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return 124, f"no answer within {LIMIT_S} s"
    except OSError:
        return None
    return done.returncode, done.stdout
