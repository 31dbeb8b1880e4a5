"""All pictures of a source as one uint8 array, decoded once and kept in a file named after the content."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from fer_hailo.data.decode import decode
from fer_hailo.data.duplicates import exact_groups, near_pairs
from fer_hailo.data.sources import Entry, Source, open_source
from fer_hailo.errors import UserError
from fer_hailo.files import written
from fer_hailo.preprocess import PreprocessSpec, to_source
from fer_hailo.progress import track

VERSION = 1
MOST_BAD = 0.1  # above this part the data set itself is wrong, not a few pictures


@dataclass(frozen=True)
class Pictures:
    """A data set in memory, before cleaning and selection: every class, every split.

    images: uint8 (N, S, S) or (N, S, S, 3). ids, labels, splits: str (N,); split is train, test or empty.
    sizes: int32 (N, 2), height and width of the files. exact: int64 (N,), equal for pixel-identical pictures.
    near: int64 (P, 2), pairs of near duplicates. bad: str (B, 2), id and reason of the files that could not be read.
    name: what the data set is called. key: SHA-256 of source content and preprocessing.
    """

    images: np.ndarray
    ids: np.ndarray
    labels: np.ndarray
    splits: np.ndarray
    sizes: np.ndarray
    exact: np.ndarray
    near: np.ndarray
    bad: np.ndarray
    name: str
    key: str


def load_pictures(data: Path | str, spec: PreprocessSpec, cache: Path | str | None) -> Pictures:
    """Read a data set, from its cache file in the folder `cache` when that holds it, else by decoding it (and keep it there).

    `data` may also be a cache file itself, so that a machine without OpenCV or the archive can train.
    """
    if Path(data).suffix == ".npz" and Path(data).is_file():
        return _read(Path(data), spec)
    source = open_source(data)
    shape = f"{spec.source_shape}".encode()
    key = hashlib.sha256(b"%d\0%s\0%s" % (VERSION, source.digest().encode(), shape)).hexdigest()
    path = Path(cache) / f"{key[:16]}.npz" if cache else None
    if path and path.exists():
        try:
            return replace(_read(path, spec), name=source.name)  # another name may hold the same pictures
        except UserError:  # a damaged cache costs time, not the run
            path.unlink()
    pictures = _decode_all(source, spec, key)
    if path:
        _write(path, pictures)
    return pictures


def _decode_all(source: Source, spec: PreprocessSpec, key: str) -> Pictures:
    def one(entry: Entry):
        try:
            data = source.read(entry)
            picture = decode(data) if isinstance(data, bytes) else data
            return to_source(picture, spec), picture.shape[:2], ""
        except (ValueError, OSError) as error:
            return None, None, str(error)

    entries = source.entries
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(track(pool.map(one, entries), len(entries), f"decoding {source.name}"))
    good = [i for i, (image, _, _) in enumerate(results) if image is not None]
    bad = [(entries[i].id, results[i][2]) for i in range(len(entries)) if results[i][0] is None]
    if len(bad) > max(MOST_BAD * len(entries), 3) or not good:
        raise UserError(f"{len(bad):,} of {len(entries):,} pictures of {source.name} cannot be read, the first: {bad[0][0]} {bad[0][1]}")
    images = np.stack([results[i][0] for i in good])
    return Pictures(
        images=images,
        ids=np.array([entries[i].id for i in good]),
        labels=np.array([entries[i].label for i in good]),
        splits=np.array([entries[i].split for i in good]),
        sizes=np.array([results[i][1] for i in good], dtype=np.int32),
        exact=exact_groups(images),
        near=near_pairs(images),
        bad=np.array(bad, dtype=str).reshape(-1, 2),
        name=source.name,
        key=key,
    )


def _write(path: Path, pictures: Pictures) -> None:
    with written(path) as beside:
        np.savez_compressed(beside, version=VERSION, **{f.name: getattr(pictures, f.name) for f in fields(Pictures)})


def _read(path: Path, spec: PreprocessSpec) -> Pictures:
    try:
        with np.load(path, allow_pickle=False) as file:
            values = {f.name: file[f.name] for f in fields(Pictures)}
            version = int(file["version"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is not a data cache of this project ({error})") from None
    if version != VERSION:
        raise UserError(f"{path} is a data cache of version {version}, this program reads {VERSION}: make it again")
    if values["images"].shape[1:] != spec.source_shape:
        raise UserError(f"{path} holds pictures of shape {values['images'].shape[1:]}, the configuration asks for {spec.source_shape}")
    return Pictures(**{**values, "name": str(values["name"]), "key": str(values["key"])})
