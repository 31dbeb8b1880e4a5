"""The SDK's log: caught while it is shown, kept in a file, searched for what the SDK does without asking."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from fer_hailo.deploy.steps import Finding

# What to look for, and what it means for the result. A group gives the optimization level that is left.
SILENT = (
    (re.compile(r"reducing optimization level to (-?\d+).*", re.I), "the SDK lowered the optimization level"),
    (
        re.compile(
            r".*(no available gpu|no gpu (is )?(available|found|detected)|gpu is not available).*", re.I
        ),
        "the SDK found no GPU",
    ),
    (re.compile(r".*\b(4[- ]?bit|a8_w4)\b.*", re.I), "the SDK chose 4-bit weights"),
)
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@contextlib.contextmanager
def captured(path: Path) -> Iterator[None]:
    """Append all that is written to standard output and error in the block to `path`, and show it too.

    Works on the file descriptors: the SDK prints from C++, from Python and from logging handlers of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab", buffering=0) as log, contextlib.ExitStack() as stack:
        for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
            stack.enter_context(_teed(stream, number, log))
        yield


@contextlib.contextmanager
def _teed(stream, number: int, log) -> Iterator[None]:
    stream.flush()
    shown = os.dup(number)
    reader, writer = os.pipe()
    os.dup2(writer, number)
    os.close(writer)

    def copy() -> None:
        rest = b""
        while block := os.read(reader, 1 << 16):
            # Neither a closed terminal, nor a full disk, nor a log that was closed before a late writer may
            # stop the SDK from being read.
            with contextlib.suppress(OSError):
                os.write(shown, block)
            # Whole lines only: two streams write to one log. A progress bar ends its lines with \r.
            lines = rest + block
            end = max(lines.rfind(b"\n"), lines.rfind(b"\r")) + 1
            rest = lines[end:]
            with contextlib.suppress(OSError, ValueError):
                log.write(lines[:end])
        with contextlib.suppress(OSError, ValueError):
            log.write(rest)
        os.close(reader)
        os.close(shown)

    thread = threading.Thread(target=copy, daemon=True)
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            stream.flush()
        os.dup2(shown, number)  # closes the pipe's last writer, so that the thread ends
        # Unless a process that the SDK left behind holds it: the thread then goes on without us
        thread.join(timeout=1)


def findings(text: str) -> list[Finding]:
    """What the log says that the user must know."""
    found: dict[tuple[str, int | None], Finding] = {}
    for line in dict.fromkeys(re.split(r"[\r\n]+", ESCAPES.sub("", text))):
        for pattern, what in SILENT:
            if match := pattern.search(line):
                level = int(match[1]) if what.endswith("level") else None
                known = found.get((what, level), Finding(what, line.strip()[:300], 0, level))
                found[what, level] = replace(known, count=known.count + 1)
                break
    return list(found.values())
