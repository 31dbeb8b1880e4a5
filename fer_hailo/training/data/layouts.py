"""How data sets lay out their files: class folders (FER2013 as Kaggle packs it, CAER-S, one's own), RAF-DB,
AffectNet, FERPlus.

Each function takes the names of all files, POSIX paths, and how to read one. It returns {id: file} and the
entries, sorted by id, or None where the layout is another. The same serve folders and archives. Class names
come out in lower case, as the data set has them: fer_hailo.training.data.pictures knows what they mean.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from fer_hailo.common.classes import AFFECTNET, EXPRESSIONS, RAF_DB, canonical, numbering
from fer_hailo.common.cli import nearest
from fer_hailo.common.errors import UserError
from fer_hailo.common.progress import say_once, track
from fer_hailo.common.reading import DAMAGED
from fer_hailo.training.data.entry import FOLDERS, Entry, side_of
from fer_hailo.training.data.ferplus import FERPLUS, majority
from fer_hailo.training.data.lists import listed

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif"}
RAF_DB_LIST = "list_patition_label.txt"  # so it is spelt
AFFECTNET_SPLITS = {"train_set": "train", "val_set": "test"}  # its own test side was never published
FERPLUS_SPLITS = {"FER2013Train": "train", "FER2013Valid": "test", "FER2013Test": "test"}
CAER_S = {"anger", "disgust", "fear", "happy", "neutral", "sad", "surprise"}
MOST_TOLD = 3  # of folders that are not used
Layout = tuple[dict[str, str], list[Entry]]
Read = Callable[[str], bytes]


def arrange(names: Sequence[str], read: Read, where: Path) -> Layout:
    """The layout of a folder or zip.

    Raises UserError where a data set's own lists cannot be read. No entries: none was recognised.
    """
    shown = [
        name
        for name in names
        if not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
    ]
    for layout in (raf_db, affectnet, ferplus):
        found = layout(shown, read, where)
        if found:
            return found
    images = [name for name in shown if PurePosixPath(name).suffix.lower() in SUFFIXES]
    found = class_folders(images, where)
    labels = {entry.label for entry in found[1]}
    if images and not numbering(labels)[0] and EXPRESSIONS.isdisjoint(map(canonical, labels)):
        by_list = listed(shown, images, read, where)
        if by_list:
            return _sorted(by_list)
        lists = [name for name in shown if name.lower().endswith(".csv")]
        if lists and len(labels) < 2:
            say_once(f"{where}: {lists[0]} is no list of images: it lacks a column file, or label, or both")
    if labels and len(images) > len(found[1]):
        _tell_unused(sorted(set(images) - set(found[0].values())), bool(found[1][0].split), where)
    sides = sorted({PurePosixPath(name).parts[-2] for name in images if _is_flat(PurePosixPath(name))})
    if sides and not found[1]:
        raise UserError(
            f"{where} has images in {' and '.join(sides)}, and no class folders there: the list of their "
            f"classes is missing, RAF-DB's {RAF_DB_LIST} or a CSV with the columns file and label"
        )
    return found


def _tell_unused(images: Sequence[str], split: bool, where: Path) -> None:
    """Images outside the folders of classes; split: of sides. A side may be misspelt."""
    places = "train/<class>/ and test/<class>/" if split else "<class>/"
    folders = sorted({path.parent.parent.name or path.parent.name for path in map(PurePosixPath, images)})
    named = [
        f"{folder}/{nearest(folder.lower(), FOLDERS) if split and not side_of(folder) else ''}"
        for folder in folders
        if folder
    ]
    rest = f", as those in {', '.join(named[:MOST_TOLD])}" if named else ""
    print(f"{where}: {len(images):,} images outside {places} are not used{rest}", file=sys.stderr)


def class_folders(images: Sequence[str], where: Path) -> Layout:
    """<split>/<class>/picture or <class>/picture; a split is what `side_of` knows, and no class.

    Folders above and images outside are passed over.
    """
    inside = [path for path in map(PurePosixPath, images) if len(path.parts) > 1 and not _is_flat(path)]
    split = any(_side_above(path) for path in inside)
    tops = {path.parts[:-2] for path in inside}
    found: dict[str, tuple[str, Entry]] = {}
    for path in inside:
        side = _side_above(path)
        if side if split else len(tops) == 1:
            parts = path.parts[-3:] if split else path.parts[-2:]
            entry = Entry("/".join(parts), path.parts[-2].lower(), side)
        else:
            continue
        if entry.id in found:
            raise UserError(
                f"{where}: {found[entry.id][0]} and {path} are two images of one name: keep one copy of the "
                "data set"
            )
        found[entry.id] = (str(path), entry)
    if {entry.label for _, entry in found.values()} == CAER_S:  # whose cache keys hold FER2013's name for it
        found = {
            id: (file, Entry(id, "angry" if e.label == "anger" else e.label, e.split))
            for id, (file, e) in found.items()
        }
    return _sorted(found)


def _is_flat(path: PurePosixPath) -> bool:
    """Whether an image lies in a folder of train, validation or test itself."""
    return len(path.parts) > 1 and bool(side_of(path.parts[-2]))


def _side_above(path: PurePosixPath) -> str:
    """The side of the folder above an image's own."""
    return side_of(path.parts[-3]) if len(path.parts) > 2 else ""


def raf_db(names: Sequence[str], read: Read, where: Path) -> Layout | None:
    """RAF-DB's basic part: list_patition_label.txt ("train_00001.jpg 5") and the aligned images
    (train_00001_aligned.jpg).
    """
    lists = [name for name in names if PurePosixPath(name).name == RAF_DB_LIST]
    if not lists:
        return None
    aligned = {
        PurePosixPath(name).stem: name for name in names if PurePosixPath(name).stem.endswith("_aligned")
    }
    found, missing = {}, 0
    for number, line in enumerate(_text(read, lists[0], where).splitlines(), 1):
        if not line.strip():
            continue
        name, _, code = line.strip().partition(" ")
        stem, split = PurePosixPath(name).stem, name.split("_")[0]
        if split not in ("train", "test") or code.strip() not in map(str, range(1, len(RAF_DB) + 1)):
            raise UserError(
                f"{where}: {RAF_DB_LIST} line {number} must be like 'train_00001.jpg 5', it is {line[:60]!r}"
            )
        file = aligned.get(f"{stem}_aligned")
        missing += file is None
        if file:  # who lays them into train and valid means it
            side = side_of(PurePosixPath(file).parent.name) or split
            found[f"{split}/{stem}"] = (file, Entry(f"{split}/{stem}", RAF_DB[int(code) - 1], side))
    return _checked(found, missing, "RAF-DB", where)


def affectnet(names: Sequence[str], read: Read, where: Path) -> Layout | None:
    """AffectNet's manually annotated part: train_set and val_set, each with images/0.jpg and
    annotations/0_exp.npy.
    """
    ending = "_exp.npy"
    marks = [
        path
        for path in map(PurePosixPath, names)
        if path.name.endswith(ending) and path.parts[-2:-1] == ("annotations",)
    ]
    marks = [path for path in marks if len(path.parts) > 2 and path.parts[-3] in AFFECTNET_SPLITS]
    if not marks:
        return None
    images = {
        (path.parts[-3], path.stem): str(path)
        for path in map(PurePosixPath, names)
        if len(path.parts) > 2 and path.parts[-2] == "images"
    }
    found, missing = {}, 0
    for path in track(marks, len(marks), "reading AffectNet's annotations"):
        code = _number(read, str(path), where)
        if not 0 <= code < len(AFFECTNET):  # what follows is no expression
            continue
        folder, stem = path.parts[-3], path.name.removesuffix(ending)
        split = AFFECTNET_SPLITS[folder]
        file = images.get((folder, stem))
        missing += file is None
        if file:
            found[f"{split}/{stem}"] = (file, Entry(f"{split}/{stem}", AFFECTNET[code], split))
    return _checked(found, missing, "AffectNet", where)


def ferplus(names: Sequence[str], read: Read, where: Path) -> Layout | None:
    """FERPlus as Microsoft's script writes it: FER2013Train, FER2013Valid and FER2013Test, each with
    label.csv and images.
    """
    lists = [path for path in map(PurePosixPath, names) if path.name == "label.csv" and path.parts[-2:-1]]
    lists = [path for path in lists if path.parts[-2] in FERPLUS_SPLITS]
    if not lists:
        return None
    files, found, missing = set(names), {}, 0
    for path in lists:
        split = FERPLUS_SPLITS[path.parts[-2]]
        for number, row in enumerate(_rows(_text(read, str(path), where)), 1):
            if not row:
                continue
            votes = _votes(row[2:12])
            if len(votes) != 10:
                raise UserError(f"{where}: {path} line {number} must hold an image, a box and ten votes")
            label = majority(votes)
            file = str(path.parent / row[0].strip())
            missing += file not in files
            if label and file in files:
                id = f"{split}/{path.parts[-2]}/{PurePosixPath(file).stem}"
                found[id] = (file, Entry(id, label, split, tuple(votes[: len(FERPLUS)])))
    return _checked(found, missing, "FERPlus", where)


def _rows(text: str) -> Iterator[list[str]]:
    try:
        yield from csv.reader(io.StringIO(text))
    except csv.Error:
        yield ["unreadable"]


def _votes(cells: Sequence[str]) -> list[float]:
    """The counts in some cells; empty where one is no number of people."""
    try:
        votes = [float(cell) for cell in cells]
    except ValueError:
        return []
    return votes if all(0 <= vote < 1000 for vote in votes) else []


def _checked(found: dict[str, tuple[str, Entry]], missing: int, name: str, where: Path) -> Layout:
    if not found:
        raise UserError(f"{where} holds the lists of {name}, and none of their images")
    if missing:
        print(f"{where}: {missing:,} images that {name} lists are not there", file=sys.stderr)
    return _sorted(found)


def _sorted(found: dict[str, tuple[str, Entry]]) -> Layout:
    ids = sorted(found)
    return {id: found[id][0] for id in ids}, [found[id][1] for id in ids]


def _text(read: Read, name: str, where: Path) -> str:
    try:
        return read(name).decode("utf-8-sig")
    except DAMAGED as error:
        raise UserError(f"{where}: {name} cannot be read: {error}") from None


def _number(read: Read, name: str, where: Path) -> int:
    try:
        return int(str(np.load(io.BytesIO(read(name)), allow_pickle=False)))
    except DAMAGED as error:
        raise UserError(f"{where}: {name} holds no number: {error}") from None
