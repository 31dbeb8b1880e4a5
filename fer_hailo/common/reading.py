"""Reading files that a fault, another version or another program may have left: what cannot be used becomes
one line that names the file.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fer_hailo.common.errors import UserError, one_line, with_class

try:
    from lzma import LZMAError
except ImportError:  # a Python that was built without it reads no such archives

    class LZMAError(Exception):  # type: ignore[no-redef]
        """Never raised."""


# What parsers (JSON, YAML, CSV, zip, NumPy's, HDF5's), and the code that takes values out of what they give,
# raise over content that nobody foresaw
DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,  # and what zipfile and deep nesting raise, which derives from it
    MemoryError,
    SystemError,  # NumPy's, of texts with letters that Unicode does not have
    SyntaxError,
    csv.Error,
    LZMAError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
MOST_BYTES = 64 << 20  # of a file that is read whole; the records of a run have a thousandth of that


@contextlib.contextmanager
def reading(path: Path | str, fault: str, then: str) -> Iterator[None]:
    """Turn what a damaged or missing file gives rise to into "PATH FAULT (reason): THEN", a UserError.

    In the block stands all that reads the file and takes its content apart; a UserError passes.
    """
    try:
        yield
    except DAMAGED as error:
        reason = with_class(error, one_line(error, 80))
        raise UserError(f"{path} {fault} ({reason}): {then}") from error


def read_whole(path: Path | str, most: int = MOST_BYTES) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises UserError for a larger one, a device, a pipe; OSError where it cannot be read.
    """
    check_regular(path)
    with open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise UserError(f"{path} has more than {most >> 20} MiB: it is not what it should be")
    return content


def check_regular(path: Path | str) -> None:
    """Raise UserError for a device or a pipe, which may have no end; OSError for what is not there."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # which `open` has a better word for
        raise UserError(f"{path} is no regular file: name a file that can be read whole")


def read_text(path: Path | str, encoding: str = "utf-8") -> str:
    """As `read_whole`, decoded; its line ends are left as they are."""
    return read_whole(path).decode(encoding)


def read_json(path: Path | str) -> Any:
    """The value in a JSON file.

    Raises UserError as `read_whole` does, and one of DAMAGED for other content.
    """
    return json.loads(read_text(path))
