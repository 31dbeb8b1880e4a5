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

from fer_hailo.common.quiet import told
from fer_hailo.deploy.steps import Finding

LEVEL = "the SDK lowered the optimization level"
NO_GPU = "the SDK found no GPU"
REDUCED = "the SDK reduced the output bits of layers"
# What to look for, in the words of real logs (3.2x to 3.33), and what it means for the result. The groups are
# what is shown of each line; without any, the first line is.
SILENT = tuple(
    (re.compile(pattern, re.I), what)
    for pattern, what in (
        (r"reducing optimization level to (-?\d+).*", LEVEL),
        (
            r"no available gpu|no gpu (?:is )?(?:available|found|detected|chosen)|gpu is not available",
            NO_GPU,
        ),
        (r"\b(?:4[- ]?bit|a8_w4)\b", "the SDK chose 4-bit weights"),
        (
            r"calibration set (?:should be|seems to not be normalized)",
            "the calibration images are not in the range that the script takes",
        ),
        (r"using dataset with 64 entries for calibration", "the SDK calibrated on 64 images"),
        (r"fine-?tuning skipped", "the SDK skipped the fine-tuning"),
        (r"reducing output bits of (\S+ by \d+) bits", REDUCED),
        (
            r"single context flow failed|selected partition to (?:[2-9]|\d\d+) contexts",
            "the network needs several contexts",
        ),
        (r"mapping failed", "a mapping to the chip failed"),
    )
)
_RATIO = re.compile(r"(\S*output_layer\d+)\s+SNR:\s*(-?\d+(?:\.\d+)?)\s*dB", re.I)
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@contextlib.contextmanager
def captured(path: Path) -> Iterator[None]:
    """Append all that is written to standard output and error in the block to `path`, and show it too.

    Works on the file descriptors: the SDK prints from C++, from Python and from logging handlers of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab", buffering=0) as log, told(), contextlib.ExitStack() as stack:
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
    """What the log says that the user must know: a finding a cause, with the layers where the lines name
    them.
    """
    found: dict[tuple[str, int | None], Finding] = {}
    for line in dict.fromkeys(re.split(r"[\r\n]+", ESCAPES.sub("", text))):
        for pattern, what in SILENT:
            match = pattern.search(line)
            if not match:
                continue
            level = int(match[1]) if what == LEVEL else None
            shown = match[1] if level is None and pattern.groups == 1 else line.strip()
            known = found.get((what, level), Finding(what, "", 0, level))
            named = pattern.groups == 1 and level is None and known.line
            line_of = f"{known.line}, {shown}" if named else known.line or shown
            found[what, level] = replace(known, line=line_of[:300], count=known.count + 1)
            break
    return list(found.values())


def output_ratios(text: str) -> dict[str, float]:
    """Signal-to-noise ratio of each output that the log names, dB; the last that it says."""
    return {name: float(value) for name, value in _RATIO.findall(ESCAPES.sub("", text))}
