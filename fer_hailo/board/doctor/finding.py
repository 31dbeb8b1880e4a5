"""What the doctor says."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, FAIL = "OK", "WARN", "FAIL"
COPY = "copy the whole deploy folder again, and name it with --model"


@dataclass(frozen=True)
class Finding:
    """level: OK, WARN (works, or may) or FAIL. fix: the one thing to do, for all but OK."""

    level: str
    what: str
    found: str
    fix: str = ""


def split(message: str) -> tuple[str, str]:
    """What is wrong, and what to do about it: the two parts of a UserError's line."""
    wrong, colon, fix = message.rpartition(": ")
    return (wrong, fix) if colon else (message, COPY)
