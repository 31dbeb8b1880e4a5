"""Archives that are read in place: zips and tars, known by what they hold, not by their names, and refused
where they would write elsewhere or expand absurdly.
"""

from __future__ import annotations

import importlib
import tarfile
import tempfile
import threading
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from fer_hailo.common.errors import UserError, one_line
from fer_hailo.common.progress import say_once
from fer_hailo.common.reading import DAMAGED, check_regular

LARGEST_MEMBER = 64 * 2**20
LARGEST_CSV = 2**31  # fer2013.csv has 300 MB
LARGEST_ARCHIVE = 16 * 2**30
LARGEST_RATIO = 200  # JPEG and PNG hardly shrink in a zip; a bomb shrinks a thousandfold
CHUNK = 2**20
# What files begin with
ZIP, SEVEN_ZIP, RAR = (b"PK\x03\x04", b"PK\x05\x06"), b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07"
# The module that unpacks them: a Python may have been built without one
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\0": "lzma"}
USTAR = slice(257, 262)
SUFFIXES = {"zip": (".zip",), "tar": (".tar", ".tgz", ".gz", ".tbz2", ".bz2", ".txz", ".xz")}


def _module(name: str, path: Path) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"{path} needs the module {name}, which this Python lacks: pack it as .zip") from None


class Archive(Protocol):
    """Files by their names, POSIX paths."""

    path: Path
    names: list[str]

    def read(self, name: str) -> bytes:
        """Raises ValueError for a damaged or too large one. Threads may read at once."""

    def open(self, name: str) -> IO[bytes]:
        """As a stream, for one thread."""


def open_archive(path: Path) -> Archive | None:
    """The archive at `path`; None where it is none.

    Raises UserError for one that is damaged, unsafe, or of a kind that cannot be read.
    """
    check_regular(path)
    with open(path, "rb") as file:
        start = file.read(512)
    suffix = path.suffix.lower()
    for kind, mark in (("7z", SEVEN_ZIP), ("rar", RAR)):
        if start.startswith(mark):
            raise UserError(f"{path} is a {kind} archive: unpack it, and name its folder")
    if start.startswith(ZIP):
        kind = "zip"
    elif start[USTAR] == b"ustar" or start.startswith(tuple(COMPRESSED)):
        kind = "tar"
    else:  # damaged, or an old tar
        kind = next((kind for kind, known in SUFFIXES.items() if suffix in known), "")
    if not kind:
        return None
    if suffix not in SUFFIXES[kind]:
        say_once(f"{path} is a {kind} archive, and is read as one")
    return ZipFiles(path) if kind == "zip" else TarFiles(path)


class ZipFiles:
    """A zip."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except DAMAGED as error:
            raise UserError(
                f"{path} is not a whole zip archive ({one_line(error, 80)}): download it again"
            ) from None
        members = self._zip.infolist()
        for member in members:
            _check(path, member.filename, member.file_size, member.compress_size)
        total = sum(member.file_size for member in members)
        if total > LARGEST_ARCHIVE:
            raise UserError(f"{path} expands absurdly ({total:,} bytes in all): it was refused")
        self.names = [member.filename for member in members if not member.is_dir()]

    def read(self, name: str) -> bytes:
        try:
            return self._zip.read(name)
        except DAMAGED as error:
            raise ValueError(f"damaged in the archive: {one_line(error, 80)}") from None

    def open(self, name: str) -> IO[bytes]:
        return self._zip.open(name)


class TarFiles:
    """A tar, of which a compressed one is unpacked into a temporary file: images are read in any order."""

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()
        try:
            self._file = _plain(path)
            self._tar = tarfile.open(fileobj=self._file, mode="r:")  # noqa: SIM115, as long as this
            members = self._tar.getmembers()
        except UserError:
            raise
        except (*DAMAGED, tarfile.TarError) as error:
            raise UserError(
                f"{path} is not a whole tar archive ({one_line(error, 80)}): download it again"
            ) from None
        for member in members:
            _check(path, member.name, member.size, member.size)
        # Links and devices are nothing to read. ./a is a
        files = [member for member in members if member.isreg() and not member.sparse]
        self._members = {str(PurePosixPath(member.name)): member for member in files}
        self.names = list(self._members)

    def read(self, name: str) -> bytes:
        member = self._members[name]
        with self._lock:
            self._file.seek(member.offset_data)
            content = self._file.read(member.size)
        if len(content) != member.size:
            raise ValueError("damaged in the archive: it ends too early")
        return content

    def open(self, name: str) -> IO[bytes]:
        stream = self._tar.extractfile(self._members[name])
        assert stream  # a regular file has one
        return stream


def _check(path: Path, name: str, size: int, packed: int) -> None:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in "".join(parts.parts[:1]):
        raise UserError(f"{path} holds the unsafe path {name!r}: it was refused")
    largest = LARGEST_CSV if parts.suffix.lower() == ".csv" else LARGEST_MEMBER
    inner = parts.name.lower().endswith((*SUFFIXES["tar"], ".zip"))  # told by name, never read
    if (size > largest and not inner) or size > LARGEST_RATIO * max(packed, 1024):
        raise UserError(f"{path} expands absurdly ({name!r} to {size:,} bytes): it was refused")


def _plain(path: Path) -> IO[bytes]:
    """The tar itself, unpacked where it is compressed."""
    with open(path, "rb") as file:
        start = file.read(8)
    name = next((name for mark, name in COMPRESSED.items() if start.startswith(mark)), None)
    if name is None:
        return open(path, "rb")
    unpack = _module(name, path).open
    most = min(LARGEST_ARCHIVE, LARGEST_RATIO * max(path.stat().st_size, 2**16))
    plain = tempfile.TemporaryFile()  # noqa: SIM115, as long as the archive
    with unpack(path) as packed:
        while chunk := packed.read(CHUNK):
            plain.write(chunk)
            if plain.tell() > most:
                raise UserError(f"{path} expands absurdly (to more than {most:,} bytes): it was refused")
    plain.seek(USTAR.start)
    if plain.read(5) != b"ustar":
        raise UserError(f"{path} is compressed, and no tar archive: unpack it, and name what it holds")
    plain.seek(0)
    return plain
