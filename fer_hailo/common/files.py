"""Writing files so that a fault half-way leaves what was there: write beside, then rename; and a lock between
processes.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fer_hailo.common.errors import UserError, one_line
from fer_hailo.common.reading import DAMAGED, read_text, read_whole

LONG = 230  # bytes of a file's name, of the 255 that it may have, that leave no room for more


@contextlib.contextmanager
def written(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside `path` (same suffix); rename it onto `path` when the block ends well, else
    remove it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    long = len(os.fsencode(path.name)) > LONG
    stem = hashlib.sha256(os.fsencode(path.stem)).hexdigest()[:32] if long else path.stem
    beside = path.with_name(f".{stem}.{os.getpid()}{path.suffix}")
    try:
        yield beside
        with open(beside, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text atomically."""
    with written(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


def to_json(value: object, **layout: Any) -> str:
    """A value as JSON that every reader takes: NaN and infinity, which JSON does not have, become null.

    layout: as json.dumps takes it.
    """
    try:
        return json.dumps(value, allow_nan=False, **layout)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False, **layout)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path | str, value: object) -> None:
    """Write a value as indented JSON atomically, see `to_json`."""
    write_text(path, to_json(value, indent=2) + "\n")


def write_csv(path: Path | str, columns: list[str], rows: list[dict]) -> None:
    """Write rows (dictionaries; absent columns stay empty) as CSV atomically."""
    with written(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path | str) -> list[dict]:
    """Read a CSV file as a list of dictionaries of strings."""
    return list(csv.DictReader(io.StringIO(read_text(path), newline="")))


@contextlib.contextmanager
def locked(path: Path | str, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on `path` (an empty file made for it). The system frees it when the process
    dies.

    Without `wait`, raises UserError when another process holds it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        try:
            import fcntl
        except ImportError:  # Windows
            import msvcrt

            file.seek(0)
            windows: Any = msvcrt
            lock = lambda: windows.locking(file.fileno(), windows.LK_LOCK if wait else windows.LK_NBLCK, 1)  # noqa: E731
        else:
            lock = lambda: fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)  # noqa: E731
        try:
            lock()
        except OSError:
            raise UserError(
                f"{path.parent} is in use by another process: wait for it, or choose another folder"
            ) from None
        yield  # closing the file releases it


def in_use(path: Path) -> bool:
    """Whether another process holds the lock on `path`."""
    if not path.exists():
        return False
    try:
        with locked(path, wait=False):
            return False
    except UserError:
        return True


def read_yaml(path: Path | str, what: str) -> dict:
    """Read a YAML file of 'key: value' lines; an empty one gives {}.

    `what` it is, for the UserError where it cannot be read, is larger than 1 MiB, or gives a key twice.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """As PyYAML's, which takes the last of two values that a key is given."""

        def construct_mapping(self, node, deep=False):
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            twice = next((key for number, key in enumerate(keys) if key in keys[:number]), None)
            if twice is not None:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{twice} is given twice", node.start_mark
                )
            return super().construct_mapping(node, deep)

    try:
        values = yaml.load(read_whole(path, 1 << 20).decode("utf-8"), Loader) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {what} {path}: {error}") from None
    except (yaml.YAMLError, *DAMAGED) as error:
        raise UserError(f"{path} is not YAML: {one_line(error, 200)}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold 'key: value' lines, it holds a {type(values).__name__}")
    return values
