"""The standard streams, where they are closed, full, or read by nobody; and how a program ends."""

from __future__ import annotations

import io
import os
import sys
import threading


class Unheard(io.FileIO):
    """Standard error, that gives up what cannot be written.

    descriptor: where it is, while 2 leads elsewhere (fer_hailo/common/quiet.py).
    """

    descriptor = 2

    def write(self, data, /) -> int:
        try:
            return os.write(self.descriptor, data)
        except OSError:  # a full disk, or a reader that has ended
            return len(data)


def prepare() -> None:
    """Let no work fail for want of messages, whatever standard error is, and let no file be taken for a
    standard stream that is closed, as by `2>&-`.

    The null device gets a closed one's place: else the next file that is opened gets it, and what libraries
    print. `sys.stdout` stays None, so that what writes predictions can refuse to.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
    encoding = sys.stderr.encoding if sys.stderr else "utf-8"
    unheard = io.BufferedWriter(Unheard(2, "w", closefd=False))
    sys.stderr = io.TextIOWrapper(unheard, encoding, "backslashreplace", line_buffering=True)


def settle() -> None:
    """Write out what standard output still holds. What cannot be written is given up: else it would fail once
    more, with a traceback, when Python ends.
    """
    try:
        if sys.stdout:  # None where it is closed
            sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def leave(status: int) -> None:
    """End the program here, with this exit status, where daemon threads still work; for Python's very end.

    A thread that comes out of OpenCV, or out of any C++, while Python takes itself down aborts the program
    (exit status 134), and a reader may be in there for as long as a camera's driver likes.
    """
    if any(thread.daemon for thread in threading.enumerate()):
        settle()
        sys.stderr.flush()
        os._exit(status)
