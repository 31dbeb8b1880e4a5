"""Frameworks' own notes before our first line: held back while a framework is loaded, or first used.

TensorFlow, JAX and LiteRT print from C++ before any setting of theirs is read. So standard error's descriptor
leads to a file meanwhile, and afterwards what is no such note is shown; all of it is where the import fails,
or where the program dies in it. Only our own programs do this: who imports fer_hailo keeps the descriptor.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

from fer_hailo.common.streams import Unheard

LEVEL = "TF_CPP_MIN_LOG_LEVEL"  # of TensorFlow and JAX: 0 shows all, 2 errors only
FRAMEWORKS = {"tensorflow", "jax", "ai_edge_litert", "ai_edge_quantizer"}
# absl's lines (letter, then day and time; earlier the day first), LiteRT's, and the one that goes on with
# another
NOTE = re.compile(
    rb"[IWE]\d{4} \d\d:\d\d:|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWE] |INFO: "
    rb"|WARNING: All log messages before absl|To enable the following instructions"
)


class _Hold:
    """Standard error's descriptor, led to a file for as long as someone holds it.

    The file is shown by a process of its own once this one has ended, in whatever way: an abort or a kill
    leaves no time for that here. In ordinary times it is empty.
    """

    def __init__(self) -> None:
        self._lock, self._depth, self._shown = threading.Lock(), 0, -1
        path = Path(tempfile.mkstemp(prefix="fer-hailo-")[1])
        self._path, self._file = path, os.open(path, os.O_WRONLY | os.O_APPEND)
        self._witness = subprocess.Popen(
            ["/bin/sh", "-c", 'read _; cat "$0" >&2; rm -f "$0"', path],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True, cwd="/",
        )  # fmt: skip

    def begin(self) -> None:
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                sys.stderr.flush()
                self._shown = os.dup(2)
                Unheard.descriptor = self._shown  # our own messages
                os.dup2(self._file, 2)

    def end(self, failed: bool) -> None:
        """failed: show all. Of several that hold, the last one's counts."""
        with self._lock:
            self._depth -= 1
            if self._depth:
                return
            sys.stderr.flush()
            os.dup2(self._shown, 2)
            Unheard.descriptor = 2
            os.close(self._shown)
            lines = self._path.read_bytes().splitlines(keepends=True)
            os.ftruncate(self._file, 0)
            with contextlib.suppress(OSError):
                os.write(2, b"".join(line for line in lines if failed or not NOTE.match(line)))

    @property
    def active(self) -> bool:
        return self._depth > 0


_hold: _Hold | None = None
_told = 0  # how many want to read the notes: the SDK's log does


def start(debug: bool) -> None:
    """Be quiet in this program from now on, unless `debug`, or the user's own $TF_CPP_MIN_LOG_LEVEL below 2,
    asks for the notes. Where no file can be made for them they are shown.
    """
    global _hold
    os.environ.setdefault(LEVEL, "0" if debug else "2")
    if debug or os.environ[LEVEL] in ("0", "1") or _hold:
        return
    logging.getLogger("tensorflow").addFilter(_no_advice)
    with contextlib.suppress(OSError):
        _hold = _Hold()
        sys.meta_path.insert(0, _Finder())


def _no_advice(record: logging.LogRecord) -> bool:
    """Not TensorFlow's advice to programmers, a paragraph long, when several networks are scored in a row."""
    return "triggered tf.function retracing" not in str(record.msg)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Within, frameworks' notes on standard error are held back; all else is shown at the end."""
    hold = None if _told else _hold
    if hold is None:
        yield
        return
    hold.begin()
    failed = False
    try:
        yield
    except Exception:
        failed = True
        raise
    finally:
        hold.end(failed)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Within, nothing is held back."""
    global _told
    _told += 1
    try:
        yield
    finally:
        _told -= 1


class _Finder(MetaPathFinder):
    """Finds what the others find, and lets frameworks be quiet as they are loaded."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] not in FRAMEWORKS or (_hold and _hold.active):
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec and spec.loader:
            # Of this object only: each module has a loader of its own
            spec.loader.exec_module = _quietly(spec.loader.exec_module)  # type: ignore[method-assign]
        return spec


def _quietly(load: Any) -> Any:
    def loaded(module: Any) -> None:
        with held():
            load(module)
            if module.__name__ == "tensorflow" and os.environ.get("KERAS_BACKEND", "") in ("", "tensorflow"):
                # Its first look for devices, which takes none of their memory; a failure shows at its use
                with contextlib.suppress(Exception):
                    module.config.list_physical_devices()

    return loaded
