"""Images whose classes stand in a CSV: a column of file names, one of classes, and perhaps one of sides."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from fer_hailo.common.cli import nearest
from fer_hailo.common.errors import UserError
from fer_hailo.common.progress import say_once
from fer_hailo.common.reading import DAMAGED
from fer_hailo.training.data.entry import FOLDERS, Entry, side_of

# Columns; `pth` is that of AffectNet's copies on Kaggle
FILE = {"file", "filename", "file_name", "filepath", "image", "image_name", "image_path", "path", "pth"}
LABEL = {"label", "labels", "class", "class_name", "emotion", "expression", "target"}
SIDE = {"split", "side", "set", "subset", "partition", "usage"}


class _Files:
    """The images, found by what a list calls them."""

    def __init__(self, names: Sequence[str]):
        self._names, self._by_end = set(names), {}  # type: set[str], dict[str, list[str]]
        for name in names:
            self._by_end.setdefault(PurePosixPath(name).name, []).append(name)

    def find(self, called: str, folder: PurePosixPath) -> str:
        """Seen from the list's folder, from the top, or by a name that only one file has; else empty."""
        called = called.strip().replace("\\", "/")
        for name in (str(folder / called), called):
            if name in self._names:
                return name
        ends = self._by_end.get(PurePosixPath(called).name, [])
        return ends[0] if len(ends) == 1 else ""


def listed(
    names: Sequence[str], images: Sequence[str], read: Callable[[str], bytes], where: Path
) -> dict[str, tuple[str, Entry]]:
    """{id: (file, entry)} by all lists among the files; empty where there is none.

    The side of an image is what its row says, else its list's name (train_labels.csv), else its folder.
    Raises UserError for a list that cannot be read, an unknown side, or an image under two classes.
    """
    found: dict[str, tuple[str, Entry]] = {}
    files, missing = _Files(images), []
    lists: dict[str, None] = {}  # in their order
    for name in sorted(name for name in names if name.lower().endswith(".csv")):
        for line, called, label, side in _rows(read, name, where):
            file = files.find(called, PurePosixPath(name).parent)
            if not file:
                missing.append(called)
                continue
            entry = Entry(file, label, _side(side, name, file, f"{where}: {name} line {line}"))
            if found.setdefault(file, (file, entry))[1] != entry:
                raise UserError(f"{where}: {name} line {line}: {called} was listed before, otherwise")
            lists[name] = None
    if found:
        rest = f"; {len(missing):,} images that are listed are not there, as {missing[0]}" if missing else ""
        say_once(f"{where}: classes by {', '.join(lists)}{rest}")
    sides = {entry.split for _, entry in found.values()}
    if "" in sides and len(sides) > 1:
        raise UserError(f"{where}: of some listed images it is not known whether they are train or test")
    return found


def _rows(read: Callable[[str], bytes], name: str, where: Path) -> Iterator[tuple[int, str, str, str]]:
    """Line number, file, class and side ("" without such a column); nothing of a CSV that is no list."""
    try:
        text = read(name).decode("utf-8-sig")
    except DAMAGED as error:  # it may be anything
        say_once(f"{where}: {name} is passed over, as it cannot be read: {error}")
        return
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
        header = [column.strip().lower() for column in next(rows, [])]
        file, label, side = (
            next((place for place, column in enumerate(header) if column in known), -1)
            for known in (FILE, LABEL, SIDE)
        )
        if file < 0 or label < 0:
            return
        for row in rows:
            if not row:
                continue
            if len(row) < len(header):
                raise UserError(
                    f"{where}: {name} line {rows.line_num} has {len(row)} of {len(header)} columns"
                )
            yield rows.line_num, row[file], row[label].strip().lower(), row[side] if side >= 0 else ""
    except DAMAGED as error:
        raise UserError(f"{where}: {name} cannot be read: {error}") from None


def _delimiter(text: str) -> str:
    """What parts the columns: where Excel writes decimal commas it takes semicolons."""
    first = text.partition("\n")[0]
    return max(",;\t", key=first.count)


def _side(said: str, name: str, file: str, place: str) -> str:
    if said.strip():
        side = side_of(said) or side_of({"PublicTest": "test", "PrivateTest": "test"}.get(said.strip(), ""))
        if not side:
            raise UserError(f"{place}: unknown side {said[:20]!r}{nearest(said.lower(), FOLDERS)}")
        return side
    words = [*re.split(r"[\W_]+", PurePosixPath(name).stem), *PurePosixPath(file).parent.parts[::-1]]
    return next(filter(None, map(side_of, words)), "")
