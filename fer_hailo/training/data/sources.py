"""Where images come from: a folder, an archive, or FER2013's CSV files.

How they lie there: fer_hailo.training.data.layouts.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from fer_hailo.common.classes import canonical, class_names
from fer_hailo.common.cli import nearest
from fer_hailo.common.errors import UserError
from fer_hailo.common.groups import FIVE_CLASSES
from fer_hailo.common.reading import read_whole
from fer_hailo.common.runs import SYNTHETIC
from fer_hailo.training.data.archives import Archive, open_archive
from fer_hailo.training.data.entry import Entry, Source
from fer_hailo.training.data.fer2013 import FERPLUS_CSV, FILES, CsvSource, FerPlusSource, csv_within
from fer_hailo.training.data.layouts import SUFFIXES, arrange

MOST_TOLD = 5  # of odd files, a line each
PACKED = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
ARCHIVES = ("archive.zip", "fer2013.zip", *FILES, "fer2013.tar", "fer2013.tar.gz", "fer2013.tgz")
SYNTHETIC_MARK = "SYNTHETIC.txt"  # the sample set carries it, so that no output takes it for real faces


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
        path = _in_folder(path)
    if path.name.lower() == FERPLUS_CSV:
        return FerPlusSource(path)
    archive = open_archive(path)
    if archive:
        return _within(archive)
    if path.suffix.lower() == ".csv":
        return CsvSource(path)
    raise UserError(f"{path} is neither a folder nor a .zip, .tar, .csv or cache .npz")


def _in_folder(path: Path) -> Path:
    """The archive or CSV in a folder, or one folder down: of a usual name, else the only archive there is."""
    places = (path, *sorted(place for place in path.iterdir() if place.is_dir()))
    found = [place / name for place in places for name in ARCHIVES if (place / name).is_file()]
    if found:
        return found[0]
    others = [file for place in places for file in sorted(place.iterdir()) if _is_archive(file)]
    if len(others) == 1:
        return others[0]
    if not others and (images := [file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES]):
        seen = min(images).relative_to(path).as_posix()
        raise UserError(
            f"{path} holds images, as {seen}, but no class folders that belong together: expected "
            "train/<class>/*.jpg, or <class>/*.jpg with --resplit"
        )
    if others:
        raise UserError(f"{path} holds several archives: point --data at one, as in --data {others[0]}")
    raise UserError(
        f"{path} holds no images: get FER2013 (see fer2013/README.md) or point --data at a folder, zip or "
        f"CSV; a folder holds train/<class>/*.jpg, class folders, or one of {', '.join(ARCHIVES)}"
    )


def _is_archive(file: Path) -> bool:
    return file.is_file() and file.name.lower().endswith(PACKED)


def load_filtered_image_paths(
    data: Path | str, classes: Sequence[str] = FIVE_CLASSES
) -> tuple[list[str], np.ndarray, list[str]]:
    """List the images of some classes.

    Returns (ids, labels, names): ids as in the source (`train/angry/x.jpg`), labels int64 (N,) indexing
    names, names the classes in alphabetical order. Raises UserError for a class without images.
    """
    names = sorted(classes)
    entries = open_source(data).entries
    ours, _ = class_names(entry.label for entry in entries)
    require_classes(ours.values(), names, data)
    numbers = {canonical(name): number for number, name in enumerate(names)}
    chosen = [entry for entry in entries if ours[entry.label] in numbers]
    return [entry.id for entry in chosen], np.array([numbers[ours[e.label]] for e in chosen]), names


def require_classes(found: Iterable[str], wanted: Iterable[str], where: Path | str) -> None:
    """Raise UserError unless every wanted class was found. found: all that there are, as this project calls
    them.
    """
    found = sorted(set(found))
    for name in wanted:
        if canonical(name) not in found:
            raise UserError(
                f"class '{name}' has no images in {where}{nearest(canonical(name), found)}: it holds "
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


class ArchiveSource:
    """A zip or tar in one of the layouts, read in place."""

    def __init__(self, archive: Archive):
        self._archive, self.path = archive, archive.path
        self.name = archive.path.name.split(".")[0] if archive.path.suffix != ".zip" else archive.path.stem
        self._files, self.entries = arrange(archive.names, self._file, archive.path)

    def read(self, entry: Entry) -> bytes:
        return self._file(self._files[entry.id])

    def _file(self, name: str) -> bytes:
        return self._archive.read(name)

    def digest(self) -> str:
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _within(archive: Archive) -> Source:
    """The images of an archive, or of FER2013's CSV in it."""
    images = ArchiveSource(archive)
    if images.entries:
        return images
    rows = csv_within(archive)
    if rows is None:
        inner = [name for name in archive.names if name.lower().endswith(PACKED)]
        rest = f", and {inner[0]}: unpack that one" if inner else ""
        raise UserError(f"{archive.path} holds no images in class folders (train/<class>/*.jpg){rest}")
    return rows
