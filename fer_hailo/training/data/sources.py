"""Where images come from: a folder, a zip, or FER2013's CSV files.

How they lie there: fer_hailo.training.data.layouts.
"""

from __future__ import annotations

import csv
import hashlib
import os
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from fer_hailo.common.cli import nearest
from fer_hailo.common.errors import UserError
from fer_hailo.common.groups import FIVE_CLASSES
from fer_hailo.common.reading import DAMAGED, check_regular, read_whole
from fer_hailo.common.runs import SYNTHETIC
from fer_hailo.training.data.entry import Entry, Source
from fer_hailo.training.data.ferplus import FERPLUS, majority, read_votes
from fer_hailo.training.data.layouts import arrange

# The order of FER2013's emotion column
CSV_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
MOST_TOLD = 5  # of odd files, a line each
CODES = [str(number) for number in range(len(CSV_CLASSES))]
CSV_SPLITS = {"Training": "train", "PublicTest": "test", "PrivateTest": "test"}
CSV_SIDE = 48
FERPLUS_CSV = "fer2013new.csv"
ARCHIVES = ("archive.zip", "fer2013.zip", "fer2013.csv", "icml_face_data.csv")
SYNTHETIC_MARK = "SYNTHETIC.txt"  # the sample set carries it, so that no output takes it for real faces
LARGEST_MEMBER = 64 * 2**20
LARGEST_ARCHIVE = 16 * 2**30
LARGEST_RATIO = 200  # JPEG and PNG hardly shrink in a zip; a bomb shrinks a thousandfold


def open_source(path: Path | str) -> Source:
    """Open a data set. Raises UserError when there is none at `path`, or it cannot be trusted."""
    path = Path(path)
    if not path.exists():
        raise UserError(
            f"no data at {path}: get FER2013 (see fer2013/README.md) or point --data at a folder, zip or CSV"
        )
    if path.is_dir():
        source = FolderSource(path)
        if source.entries:
            return source
        inside = [path / name for name in ARCHIVES if (path / name).is_file()]
        if not inside:
            raise UserError(
                f"{path} holds no images: expected train/<class>/*.jpg, class folders, or one of "
                f"{', '.join(ARCHIVES)}"
            )
        path = inside[0]
    if path.name.lower() == FERPLUS_CSV:
        return FerPlusSource(path)
    if path.suffix.lower() == ".csv":
        return CsvSource(path)
    if path.suffix.lower() == ".zip":
        return ZipSource(path)
    raise UserError(f"{path} is neither a folder nor a .zip, .csv or cache .npz")


def load_filtered_image_paths(
    data: Path | str, classes: Sequence[str] = FIVE_CLASSES
) -> tuple[list[str], np.ndarray, list[str]]:
    """List the images of some classes.

    Returns (ids, labels, names): ids as in the source (`train/angry/x.jpg`), labels int64 (N,) indexing
    names, names the classes in alphabetical order. Raises UserError for a class without images.
    """
    names = sorted(classes)
    entries = open_source(data).entries
    require_classes({entry.label for entry in entries}, names, data)
    chosen = [entry for entry in entries if entry.label in names]
    return [entry.id for entry in chosen], np.array([names.index(entry.label) for entry in chosen]), names


def require_classes(found: Iterable[str], wanted: Iterable[str], where: Path | str) -> None:
    """Raise UserError unless every wanted class was found."""
    found = sorted(set(found))
    for name in wanted:
        if name not in found:
            raise UserError(
                f"class '{name}' has no images in {where}{nearest(name, found)}: it holds "
                f"{', '.join(found) or 'none'}"
            )


class FolderSource:
    """A folder in one of the layouts."""

    def __init__(self, path: Path):
        self.path = path
        self.name = SYNTHETIC if (path / SYNTHETIC_MARK).exists() else path.name
        self._files, self.entries = arrange(_names(path), self._file, path)

    def read(self, entry: Entry) -> bytes:
        return self._file(self._files[entry.id])

    def _file(self, name: str) -> bytes:
        try:
            return read_whole(self.path / name)
        except UserError as error:
            raise ValueError(str(error)) from None

    def digest(self) -> str:
        total = hashlib.sha256()
        for entry in self.entries:
            total.update(f"{entry.id}\0{entry.label}\0{' '.join(map(str, entry.votes))}".encode())
            total.update(hashlib.sha256(self.read(entry)).digest())
        return total.hexdigest()


def _names(folder: Path) -> list[str]:
    """The files in a folder and below it, relative to it, with /; those that cannot be read as images are
    told, and left out: links that lead nowhere, pipes, devices, names that are not UTF-8. A folder that a
    link leads back to counts once.
    """
    names: list[str] = []
    odd: list[str] = []
    seen: set[tuple[int, int]] = set()
    for place, below, files in os.walk(folder, followlinks=True):
        here = os.stat(place)
        if (here.st_dev, here.st_ino) in seen:
            below.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        for file in (Path(place, file) for file in files):
            name = file.relative_to(folder).as_posix()
            (names if file.is_file() and _is_utf8(name) else odd).append(name)
    for name in odd[:MOST_TOLD]:
        print(
            f"{folder}: {ascii(name)[1:-1]} is passed over: it is no file with a readable name",
            file=sys.stderr,
        )
    if len(odd) > MOST_TOLD:
        print(f"{folder}: and {len(odd) - MOST_TOLD:,} more", file=sys.stderr)
    return names


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


class ZipSource:
    """A zip in one of the layouts, read in place."""

    def __init__(self, path: Path):
        self.path = path
        self.name = path.stem
        try:
            self.archive = zipfile.ZipFile(path)
        except DAMAGED as error:
            raise UserError(f"{path} is not a whole zip archive ({error}): download it again") from None
        members = self.archive.infolist()
        self._check(members)
        self._files, self.entries = arrange(
            [m.filename for m in members if not m.is_dir()], self._member, path
        )
        if not self.entries:
            raise UserError(f"{path} holds no images in class folders (train/<class>/*.jpg)")

    def _check(self, members: list[zipfile.ZipInfo]) -> None:
        for member in members:
            parts = PurePosixPath(member.filename.replace("\\", "/"))
            if parts.is_absolute() or ".." in parts.parts or ":" in "".join(parts.parts[:1]):
                raise UserError(f"{self.path} holds the unsafe path {member.filename!r}: it was refused")
            if member.file_size > LARGEST_MEMBER or member.file_size > LARGEST_RATIO * max(
                member.compress_size, 1024
            ):
                raise UserError(
                    f"{self.path} expands absurdly ({member.filename!r} to {member.file_size:,} bytes): it "
                    "was refused"
                )
        total = sum(member.file_size for member in members)
        if total > LARGEST_ARCHIVE:
            raise UserError(f"{self.path} expands absurdly ({total:,} bytes in all): it was refused")

    def read(self, entry: Entry) -> bytes:
        return self._member(self._files[entry.id])

    def _member(self, name: str) -> bytes:
        try:
            return self.archive.read(name)
        except DAMAGED as error:
            raise ValueError(f"damaged in the archive: {error}") from None

    def digest(self) -> str:
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


class CsvSource:
    """fer2013.csv (emotion,pixels,Usage) or icml_face_data.csv (the same with spaces, in another order)."""

    def __init__(self, path: Path):
        self.path = path
        self.name = path.stem
        self.entries: list[Entry] = []
        self._pixels: dict[str, str] = {}
        try:
            check_regular(path)
            with open(path, newline="", encoding="utf-8-sig") as file:
                self._load(csv.reader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{path} cannot be read as CSV: {error}") from None
        if not self.entries:
            raise UserError(f"{path} holds no rows")
        self.entries.sort(key=lambda entry: entry.id)

    def _load(self, rows: Iterator[list[str]]) -> None:
        header = [name.strip().lower() for name in next(rows, [])]
        missing = [name for name in ("emotion", "pixels", "usage") if name not in header]
        if missing:
            raise UserError(
                f"{self.path} has no column {' or '.join(missing)}: it has {', '.join(header) or 'no header'}"
            )
        emotion, pixels, usage = (header.index(name) for name in ("emotion", "pixels", "usage"))
        for number, row in enumerate(rows, 2):
            if not row:
                continue
            if len(row) < len(header):
                raise UserError(f"{self.path} line {number} has {len(row)} of {len(header)} columns")
            code, kind = row[emotion].strip(), row[usage].strip()
            if kind not in CSV_SPLITS:
                raise UserError(
                    f"{self.path} line {number}: unknown Usage {kind!r}{nearest(kind, CSV_SPLITS)}"
                )
            if code not in CODES:
                raise UserError(
                    f"{self.path} line {number}: emotion must be 0 to {CODES[-1]}, got {code[:20]!r}"
                )
            label, split = CSV_CLASSES[int(code)], CSV_SPLITS[kind]
            entry = Entry(f"{split}/{label}/{kind}_{number - 2:05d}", label, split)
            self.entries.append(entry)
            self._pixels[entry.id] = row[pixels]

    def read(self, entry: Entry) -> np.ndarray:
        text = self._pixels[entry.id]
        try:
            values = np.array(text.split(), dtype=np.uint8)
        except (ValueError, OverflowError):
            raise ValueError("holds pixels that are not numbers from 0 to 255") from None
        if values.size != CSV_SIDE**2:
            raise ValueError(f"has {values.size} pixels, not {CSV_SIDE**2}")
        return values.reshape(CSV_SIDE, CSV_SIDE)

    def digest(self) -> str:
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


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
            votes = hashlib.file_digest(file, "sha256").hexdigest()
        return hashlib.sha256(f"{super().digest()} {votes}".encode()).hexdigest()


def _as_voted(entry: Entry, counts: np.ndarray | None) -> Entry | None:
    if counts is None:
        return None
    label = majority(counts)
    return replace(entry, label=label, votes=tuple(counts[: len(FERPLUS)].tolist())) if label else None
