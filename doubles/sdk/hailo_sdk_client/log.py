"""The SDK's chatter: a logger with a handler of its own on standard error, prints, and lines that C++ writes
past Python.
"""

import logging
import os


class _Format(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"[{record.levelname.lower()}] {record.getMessage()}"


logger = logging.getLogger("hailo_sdk_client")
logger.propagate = False
logger.setLevel(logging.INFO)
_handler = logging.StreamHandler()  # keeps the stream that is standard error now
_handler.setFormatter(_Format())
logger.addHandler(_handler)


def native(line: str) -> None:
    """Write a line as the SDK's compiled parts do: to the file descriptor."""
    os.write(1, f"[info] {line}\n".encode())
