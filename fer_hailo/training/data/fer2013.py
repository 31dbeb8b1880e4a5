"""FER2013 as CSV files, on disk or in an archive, and FERPlus, which gives its images other labels."""

from __future__ import annotations

import csv
import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from fer_hailo.common.classes import FER2013
from fer_hailo.common.cli import nearest
from fer_hailo.common.errors import UserError, one_line
from fer_hailo.common.progress import say_once
from fer_hailo.common.reading import DAMAGED, check_regular
from fer_hailo.training.data.archives import Archive
from fer_hailo.training.data.entry import Entry
from fer_hailo.training.data.ferplus import FERPLUS, majority, read_votes
from fer_hailo.training.data.lists import FILE, LABEL

CODES = [str(number) for number in range(len(FER2013))]
SPLITS = {"Training": "train", "PublicTest": "test", "PrivateTest": "test"}
SIDE = 48
FERPLUS_CSV = "fer2013new.csv"
NEEDED = ("emotion", "pixels")
# Kaggle's, and the competition's two; the last, without Usage, is one side
FILES = ("fer2013.csv", "icml_face_data.csv", "train.csv")
HEADER = 4096  # bytes that hold the first line


class CsvSource:
    """fer2013.csv (emotion,pixels,Usage), icml_face_data.csv (the same with spaces, in another order), or
    train.csv (emotion,pixels), whose images are one side.
    """

    def __init__(self, path: Path, opened: Callable[[], IO[bytes]] | None = None):
        self.path = path
        self.name = path.stem
        self.entries: list[Entry] = []
        self._pixels: dict[str, str] = {}
        self._opened = opened or partial(_on_disk, path)
        try:
            if not opened:
                check_regular(path)
            with self._opened() as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
                self._load(csv.reader(file))
        except (*DAMAGED, tarfile.TarError) as error:
            raise UserError(f"{path} cannot be read as CSV: {one_line(error, 80)}") from None
        if not self.entries:
            raise UserError(f"{path} holds no rows")
        self.entries.sort(key=lambda entry: entry.id)

    def _load(self, rows: Iterator[list[str]]) -> None:
        header = _columns(next(rows, []))
        missing = [name for name in NEEDED if name not in header]
        if missing:
            if not (FILE.isdisjoint(header) or LABEL.isdisjoint(header)):
                place = f"point --data at its folder, {self.path.parent}"
                raise UserError(f"{self.path} is a list of images: {place}")
            raise UserError(
                f"{self.path} has no column {' or '.join(missing)}: it has {', '.join(header) or 'no header'}"
            )
        if "usage" not in header:
            say_once(f"{self.path}: without the column Usage its images are one side")
        emotion, pixels = (header.index(name) for name in NEEDED)
        for number, row in enumerate(rows, 2):
            if not row:
                continue
            if len(row) < len(header):
                raise UserError(f"{self.path} line {number} has {len(row)} of {len(header)} columns")
            code, kind = row[emotion].strip(), row[header.index("usage")].strip() if "usage" in header else ""
            if kind not in SPLITS and "usage" in header:
                raise UserError(
                    f"{self.path} line {number}: unknown Usage {kind[:20]!r}{nearest(kind, SPLITS)}"
                )
            if code not in CODES:
                raise UserError(
                    f"{self.path} line {number}: emotion must be 0 to {CODES[-1]}, got {code[:20]!r}"
                )
            label, split = FER2013[int(code)], SPLITS.get(kind, "")
            place = f"{split}/{label}/{kind}" if split else f"{label}/row"
            entry = Entry(f"{place}_{number - 2:05d}", label, split)
            self.entries.append(entry)
            self._pixels[entry.id] = row[pixels]

    def read(self, entry: Entry) -> np.ndarray:
        text = self._pixels[entry.id]
        try:
            values = np.array(text.split(), dtype=np.uint8)
        except (ValueError, OverflowError):
            raise ValueError("holds pixels that are not numbers from 0 to 255") from None
        if values.size != SIDE**2:
            raise ValueError(f"has {values.size} pixels, not {SIDE**2}")
        return values.reshape(SIDE, SIDE)

    def digest(self) -> str:
        with self._opened() as file:
            return _sha256(file)


class FerPlusSource(CsvSource):
    """Microsoft's fer2013new.csv beside fer2013.csv: the images of the one under the labels that the votes of
    the other give.
    """

    def __init__(self, path: Path):
        pixels = path.with_name("fer2013.csv")
        if not pixels.is_file():
            raise UserError(f"{path} holds votes only: put fer2013.csv, which has the images, beside it")
        super().__init__(pixels)
        self.name, self.votes_path, counts = "ferplus", path, read_votes(path)
        voted = (_as_voted(entry, counts.get(entry.id.rsplit("/", 1)[1])) for entry in self.entries)
        self.entries = [entry for entry in voted if entry]
        if not self.entries:
            raise UserError(f"{path} has no majority for any image of {pixels}: they are not of one data set")

    def digest(self) -> str:
        with open(self.votes_path, "rb") as file:
            votes = _sha256(file)
        return hashlib.sha256(f"{super().digest()} {votes}".encode()).hexdigest()


def csv_within(archive: Archive) -> CsvSource | None:
    """FER2013's CSV in an archive, whose images are those of the CSV on disk, cache and all; else None.

    Raises UserError where several could be meant.
    """
    found = [name for name in archive.names if name.lower().endswith(".csv") and _has_pixels(archive, name)]
    by_name = {PurePosixPath(name).name: name for name in reversed(found)}
    named = next((by_name[name] for name in FILES if name in by_name), None)
    if not named and len(found) > 1:
        raise UserError(f"{archive.path} holds several CSV files of images: unpack it and name one of them")
    member = named or (found[0] if found else None)
    if member is None:
        return None
    say_once(f"{archive.path}: its {member} is read")
    return CsvSource(archive.path / member, lambda: archive.open(member))


def _on_disk(path: Path) -> IO[bytes]:
    return open(path, "rb")


def _has_pixels(archive: Archive, name: str) -> bool:
    try:
        with archive.open(name) as file:
            line = file.readline(HEADER).decode("utf-8-sig")
    except (*DAMAGED, tarfile.TarError):
        return False
    return set(NEEDED) <= set(_columns(line.split(",")))


def _columns(header: list[str]) -> list[str]:
    return [name.strip().lower() for name in header]


def _sha256(file: IO[bytes]) -> str:
    total = hashlib.sha256()
    while chunk := file.read(2**20):
        total.update(chunk)
    return total.hexdigest()


def _as_voted(entry: Entry, counts: np.ndarray | None) -> Entry | None:
    if counts is None:
        return None
    label = majority(counts)
    return replace(entry, label=label, votes=tuple(counts[: len(FERPLUS)].tolist())) if label else None
