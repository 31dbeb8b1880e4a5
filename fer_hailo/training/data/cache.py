"""All images of a source as one uint8 array, decoded once and kept in two files named after the content:
KEY.images.npy, which is mapped into memory, not read, and KEY.npz, all that is known about them.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from fer_hailo.common.arrays import map_array
from fer_hailo.common.decode import decode
from fer_hailo.common.errors import UserError, one_line
from fer_hailo.common.files import written
from fer_hailo.common.preprocess import PreprocessSpec, to_source
from fer_hailo.common.progress import track
from fer_hailo.common.reading import DAMAGED
from fer_hailo.training.data.duplicates import exact_groups, near_pairs
from fer_hailo.training.data.entry import Entry, Source
from fer_hailo.training.data.ferplus import FERPLUS
from fer_hailo.training.data.pairs import kept_pairs
from fer_hailo.training.data.sources import open_source

VERSION = 2
IMAGES = ".images.npy"
BLOCK = 256
KINDS = {"exact": "i", "near": "i", "sizes": "i", "votes": "f"}  # NumPy's; the rest are texts
MOST_BAD = 0.1  # above this part the data set itself is wrong, not a few images


@dataclass(frozen=True)
class Pictures:
    """A data set in memory, before cleaning and selection: every class, every split.

    images: uint8 (N, S, S) or (N, S, S, 3), mapped from disk where a cache was given. ids, labels, splits:
    str (N,); split is train, test or empty. votes: float32 (N, 8), people who chose each class of FERPLUS;
    zeros where nobody was asked. sizes: int32 (N, 2), height and width of the files. exact: int64 (N,), equal
    for pixel-identical images. near: int64 (P, 2), pairs of near duplicates by the configured rule. bad: str
    (B, 2), id and reason of the files that could not be read. name: what the data set is called. key: SHA-256
    of source content and preprocessing.
    """

    images: np.ndarray
    ids: np.ndarray
    labels: np.ndarray
    splits: np.ndarray
    votes: np.ndarray
    sizes: np.ndarray
    exact: np.ndarray
    near: np.ndarray
    bad: np.ndarray
    name: str
    key: str


def load_pictures(
    data: Path | str, spec: PreprocessSpec, cache: Path | str | None, copies: str = "thumbnail"
) -> Pictures:
    """Read a data set, from its cache file in the folder `cache` when that holds it, else by decoding it (and
    keep it there).

    copies: the rule that names near duplicates, as in Config. `data` may also be a cache file KEY.npz itself,
    with KEY.images.npy beside it, so that a machine without OpenCV or the archive can train.
    """
    given = Path(data).suffix == ".npz" and Path(data).is_file()
    pictures, path = (_read(Path(data), spec), Path(data)) if given else _from_source(data, spec, cache)
    if copies == "thumbnail":
        return pictures
    return replace(pictures, near=kept_pairs(pictures.images, pictures.exact, pictures.key, path))


def _from_source(
    data: Path | str, spec: PreprocessSpec, cache: Path | str | None
) -> tuple[Pictures, Path | None]:
    """The images, and the path of their cache file."""
    source = open_source(data)
    shape = f"{spec.source_shape}".encode()
    key = hashlib.sha256(b"1\0%s\0%s" % (source.digest().encode(), shape)).hexdigest()
    path = Path(cache) / f"{key[:16]}.npz" if cache else None
    if path and path.exists():
        with contextlib.suppress(UserError):  # a damaged cache costs time, not the run
            found = _read(path, spec)
            if _is_of(found, source.entries):
                return replace(found, name=source.name), path  # another name may hold the same images
        path.unlink(missing_ok=True)
    place = (len(source.entries), *spec.source_shape)
    if not path:
        return _decode_all(source, spec, key, np.empty(place, np.uint8)), None
    with written(path.with_suffix(IMAGES)) as beside:
        mapped = _on_disk(beside, place)
        pictures = _decode_all(source, spec, key, mapped)
        mapped.flush()
        pictures = replace(pictures, images=np.empty(0, np.uint8))
        del mapped  # closes the file, which Windows would not rename otherwise
    _write(path, pictures)
    return _read(path, spec), path


def _is_of(pictures: Pictures, entries: Sequence[Entry]) -> bool:
    """Whether these are the images of the entries, as they are read today: of one archive an earlier program
    may have taken fewer.
    """
    known = {entry.id: (entry.label, entry.split) for entry in entries}
    found = [pictures.ids, pictures.labels, pictures.splits]
    own = {id: (label, split) for id, label, split in zip(*(part.tolist() for part in found), strict=True)}
    for id in pictures.bad[:, 0].tolist():
        known.pop(id, None)
    return own == known


def _on_disk(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """A new uint8 array in a file of its full size."""
    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    if hasattr(os, "posix_fallocate"):  # a full disk is an error now, and not the end of the process later
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _decode_all(source: Source, spec: PreprocessSpec, key: str, images: np.ndarray) -> Pictures:
    """images: uint8, a place for each entry, which the images are put into."""

    def one(entry: Entry) -> tuple[np.ndarray | None, tuple[int, ...], str]:
        try:
            data = source.read(entry)
            picture = decode(data) if isinstance(data, bytes) else data
            return to_source(picture, spec), picture.shape[:2], ""
        except (ValueError, OSError) as error:
            return None, (), str(error)

    entries = source.entries
    good: list[int] = []
    sizes: list[tuple[int, ...]] = []
    bad: list[tuple[str, str]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # In blocks: what is decoded must not pile up where the disk is slower.
        parts = (pool.map(one, entries[start : start + BLOCK]) for start in range(0, len(entries), BLOCK))
        results = track(itertools.chain.from_iterable(parts), len(entries), f"decoding {source.name}")
        for i, (image, size, problem) in enumerate(results):
            if image is None:
                bad.append((entries[i].id, problem))
            else:
                images[len(good)] = image
                good.append(i)
                sizes.append(size)
    if len(bad) > max(MOST_BAD * len(entries), 3) or not good:
        raise UserError(
            f"{len(bad):,} of {len(entries):,} images of {source.name} cannot be read, the first: "
            f"{bad[0][0]} {bad[0][1]}"
        )
    images = images[: len(good)]
    return Pictures(
        images=images,
        ids=np.array([entries[i].id for i in good]),
        labels=np.array([entries[i].label for i in good]),
        splits=np.array([entries[i].split for i in good]),
        votes=np.array([entries[i].votes or [0] * len(FERPLUS) for i in good], dtype=np.float32),
        sizes=np.array(sizes, dtype=np.int32),
        exact=exact_groups(images),
        near=near_pairs(images),
        bad=np.array(bad, dtype=str).reshape(-1, 2),
        name=source.name,
        key=key,
    )


def _write(path: Path, pictures: Pictures) -> None:
    known = {f.name: getattr(pictures, f.name) for f in fields(Pictures) if f.name != "images"}
    with written(path) as beside:
        np.savez_compressed(beside, version=VERSION, **known)


def _check(values: dict[str, np.ndarray]) -> None:
    """Raise one of DAMAGED where what is known about the images is not what `_write` wrote."""
    count = len(values["ids"])
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("ids", "labels", "splits", "exact"), (count,))
    shapes |= {"votes": (count, len(FERPLUS)), "sizes": (count, 2)}
    shapes |= {name: (len(values[name]), 2) for name in ("near", "bad")}
    for name, shape in shapes.items():
        found, kind = values[name], KINDS.get(name, "U")
        if found.shape != shape or found.dtype.kind != kind:
            raise ValueError(f"{name} is {found.dtype} of shape {found.shape}")
        if kind == "U":
            codes = np.frombuffer(found.astype(found.dtype.newbyteorder("=")).tobytes(), np.uint32)
            if len(codes) and codes.max() > sys.maxunicode:
                raise ValueError(f"{name} has letters that Unicode does not have")
    for name in ("exact", "near"):
        if ((values[name] < 0) | (values[name] >= count)).any():
            raise ValueError(f"{name} names images that are not there")


def _read(path: Path, spec: PreprocessSpec) -> Pictures:
    try:
        with np.load(path, allow_pickle=False) as file:
            version = int(file["version"])
            values = {
                f.name: file[f.name] for f in fields(Pictures) if version == VERSION and f.name != "images"
            }
        if values:
            _check(values)
    except DAMAGED as error:
        raise UserError(f"{path} is not a data cache of this project ({one_line(error, 80)})") from None
    if version != VERSION:
        raise UserError(
            f"{path} is a data cache of version {version}, this program reads {VERSION}: make it again"
        )
    try:
        images = map_array(path.with_suffix(IMAGES))
    except DAMAGED as error:
        raise UserError(
            f"{path} needs its images, {path.with_suffix(IMAGES).name}, beside it ({one_line(error, 80)})"
        ) from None
    if not images.ndim or len(images) < len(values["ids"]) or images.dtype != np.uint8:
        raise UserError(f"{path.with_suffix(IMAGES)} does not belong to {path.name}: copy both again")
    if images.shape[1:] != spec.source_shape:
        raise UserError(
            f"{path} holds images of shape {images.shape[1:]}, the configuration asks for {spec.source_shape}"
        )
    known = {**values, "name": str(values["name"]), "key": str(values["key"])}
    return Pictures(images=images[: len(values["ids"])], **known)
