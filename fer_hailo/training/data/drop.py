"""Images that a person has confirmed to be mislabelled: a file names them, and no training learns from them.

The file is a CSV with a column `digest` or `name`, as `fer-hailo train --data-report RUN` writes it, or a
list of names or digests, one a line. A digest is sha256: and the first 8 bytes of the SHA-256 of the decoded
pixels (fer_hailo.training.data.targets), so that it holds wherever the data lies and however its files are
called.
"""

from __future__ import annotations

import csv
import hashlib
import io
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError, one_line
from fer_hailo.common.files import write_text
from fer_hailo.common.reading import read_json, read_text, reading
from fer_hailo.common.runs import DROPPED, ENVIRONMENT
from fer_hailo.training.data.cache import Pictures
from fer_hailo.training.data.rows import Images
from fer_hailo.training.data.targets import image_digests

PREFIX = "sha256:"  # keeps a spreadsheet from taking 16 digits for a number


def digest_names(images: Images) -> np.ndarray:
    """str (N,): what images uint8 (N, S, S[, 3]) are called in such a file whatever their names."""
    return np.array([f"{PREFIX}{digest:016x}" for digest in image_digests(images).tolist()], "U23")


def read_drop(path: Path | str) -> dict[str, int]:
    """The names and digests in a file, each with its line. Raises UserError where it holds none."""
    with _reading(path):
        found = _entries(read_text(path, "utf-8-sig"))
    if not found:
        raise UserError(f"{path} names no image: keep a line in it, or leave drop out")
    return found


def _entries(text: str) -> dict[str, int]:
    lines = text.splitlines()
    heading = lines[0] if lines else ""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=";" if ";" in heading else ",")
    header = [word.strip().lower() for word in next(rows, [])]
    column = next((header.index(word) for word in ("digest", "name") if word in header), None)
    if column is None:
        return {line.strip(): number for number, line in enumerate(lines, 1) if line.strip()}
    return {row[column].strip(): rows.line_num for row in rows if any(map(str.strip, row))}


def named_images(path: Path | str, pictures: Pictures, groups: np.ndarray) -> np.ndarray:
    """Which images a file names, and their copies under the same label: bool (N,).

    groups: int64 (N,), equal for copies. Raises UserError where the file cannot be read, or names an image
    that the data do not hold.
    """
    wanted = read_drop(path)
    digests = digest_names(pictures.images) if any(map(_is_digest, wanted)) else pictures.ids
    hit = np.isin(pictures.ids, list(wanted)) | np.isin(digests, list(wanted))
    there = {*pictures.ids[hit].tolist(), *digests[hit].tolist(), *pictures.bad[:, 0].tolist()}
    for entry, line in wanted.items():
        if entry not in there:
            other = " (or they are read at another source_size, or in colour)" if _is_digest(entry) else ""
            raise UserError(
                f"{path} line {line}: {pictures.name} holds no image {one_line(entry, 80)!r}: the list is of "
                f"other data{other}"
            )
    names = np.unique(pictures.labels, return_inverse=True)[1]
    photographs = groups * (int(names.max()) + 1) + names
    return np.isin(photographs, photographs[hit])


def _is_digest(entry: str) -> bool:
    return entry.startswith(PREFIX)


def drop_text(config: Config) -> str:
    """The content of the file that a configuration names; empty where it names none."""
    if not config.data.drop:
        return ""
    with _reading(config.data.drop):
        return read_text(config.data.drop, "utf-8-sig")


def keep_drop(run: Path, text: str) -> dict[str, dict]:
    """Keep the content of the file in a run's folder, where its configuration finds it from then on.

    Returns what environment.json tells of it: {"dropped": {"sha256", "images"}}, how many are named; {} of
    none.
    """
    if not text:
        return {}
    write_text(run / DROPPED, text)
    return {"dropped": {"sha256": _sha256(text), "images": len(_entries(text))}}


def check_kept(run: Path) -> None:
    """Raise UserError where the list in a run's folder is not the one that it began with."""
    path = run / ENVIRONMENT
    with reading(path, "does not tell which images this run leaves out", "start this run again"):
        begun = read_json(path)["dropped"]["sha256"]
    with _reading(run / DROPPED):
        now = _sha256(read_text(run / DROPPED))
    if now != begun:
        raise UserError(f"{run / DROPPED} is not the list that this run began with: start it again")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _reading(path: Path | str) -> AbstractContextManager[None]:
    return reading(path, "cannot be read as a list of images", "name a CSV, or a list of one name a line")
