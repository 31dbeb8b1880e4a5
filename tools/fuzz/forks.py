"""A process that has loaded the libraries of a side, training or sdk, and runs commands in copies of itself,
which may be killed: loading TensorFlow anew would take most of the time of each kill.

Each line of standard input is JSON: folder to run in, command and arguments, and when the copy is killed:
`after` seconds of its life, at its `event`-th change of a file below the folder, or never. The answer is
JSON, too: status (as subprocess tells it), seconds, events, and the end of what was printed.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import TextIO

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def main(side: str) -> None:
    answers = _loaded(side)
    for line in sys.stdin:
        wish = json.loads(line)
        log, counted = Path(wish["folder"]) / "log.txt", Path(wish["folder"]) / "events.txt"
        start = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _run(wish, log, counted)
        status = _wait(pid, wish.get("after"))
        events = int(counted.read_text() or 0) if counted.exists() else 0
        found = {"status": status, "seconds": time.monotonic() - start, "events": events}
        said = log.read_text(errors="replace")[-2000:]
        print(json.dumps(found | {"said": said}), file=answers, flush=True)


def _loaded(side: str) -> TextIO:
    """Load what the commands of a side import. Returns the output for answers alone."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if side == "sdk":
        _load_double()
        return answers
    for name in ("tiny", "fer_hailo.training.start", "fer_hailo.training.convert.conversion"):
        importlib.import_module(name)  # the first registers the smallest network
    from fer_hailo.training.evaluate import plots

    # Plots take most of a small run, and nothing is made of them
    plots.save_figure = lambda figure, path: path.touch()
    return answers


def _load_double() -> None:
    """The SDK's double, and let it write the same date into its files each time."""
    import hef_writer
    from hailo_sdk_client.runner import har

    importlib.import_module("fer_hailo.sdk.chain")
    har.time = hef_writer.time = SimpleNamespace(time=lambda: 1_700_000_000.0)


def _run(wish: dict, log: Path, counted: Path) -> None:
    """Of the copy: run the command, and end."""
    status = 1
    try:
        os.chdir(wish["folder"])
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, 1)
        os.dup2(target, 2)
        events = _Events(wish["folder"], wish.get("event"))
        sys.addaudithook(events)
        from fer_hailo.common.cli import run

        command, *arguments = wish["arguments"]
        status = run(importlib.import_module(f"fer_hailo.commands.{command}").main, arguments)
        counted.write_text(str(events.count))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


class _Events:
    """Counts what changes files below a folder, and kills the process at one of them."""

    def __init__(self, folder: str, last: int | None):
        self._folder, self._last, self.count = folder, last, 0

    def __call__(self, event: str, arguments: tuple) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
        if not (writes or event in CHANGES) or not isinstance(arguments[0], (str, bytes, os.PathLike)):
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if not path.startswith(self._folder + os.sep):
            return
        self.count += 1
        if self.count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


def _wait(pid: int, after: float | None) -> int:
    """The status of the copy, killed after some seconds."""
    end = None if after is None else time.monotonic() + after
    while True:
        done, status = os.waitpid(pid, 0 if end is None else os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if end and time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            end = None
        time.sleep(0.005)


if __name__ == "__main__":
    main(sys.argv[1])
