"""Readers of data sets and of tables beside them, as train calls them."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer_hailo.common.preprocess import PreprocessSpec
from tools.fuzz.reading import SAVED, said

SPEC = PreprocessSpec(48, 32, False)
CACHE = "a789061b55a83ff9"


def data_set(path: Path) -> str:
    """An archive or FER2013's CSV, with every image decoded."""
    from fer_hailo.training.data.cache import load_pictures

    return said(load_pictures(path, SPEC, None))


def cache(path: Path) -> str:
    """As `--data KEY.npz`, with the saved images beside."""
    with _folder(path) as folder:
        shutil.copy(path, folder / path.name)
        images = SAVED / "data" / f"{CACHE}.images.npy"
        (folder / path.name).with_suffix(".images.npy").symlink_to(images)
        return said(_used(folder / path.name))


def cached_images(path: Path) -> str:
    """As `--data KEY.npz`, with these images beside."""
    from fer_hailo.common.errors import UserError

    with _folder(path) as folder:
        shutil.copy(SAVED / "data" / f"{CACHE}.npz", folder / f"{CACHE}.npz")
        shutil.copy(path, folder / f"{CACHE}.images.npy")
        try:
            return said(_used(folder / f"{CACHE}.npz"))
        except UserError as error:
            raise UserError(str(error).replace(f"{CACHE}.images.npy", path.name)) from None


def dropped(path: Path) -> str:
    """As `train --drop FILE`, of the saved images."""
    return said(_used(SAVED / "data" / f"{CACHE}.npz", drop=str(path)))


def _used(path: Path, drop: str = "") -> object:
    """What training makes of it: classes, cleaning, split."""
    from fer_hailo.common.config import load_config
    from fer_hailo.training.data.dataset import load_dataset

    return load_dataset(load_config(SAVED / "run" / "config.yaml", {"data": str(path), "drop": drop}), None)


def votes(path: Path) -> str:
    from fer_hailo.training.data.ferplus import read_votes

    return said(read_votes(path))


def targets(path: Path) -> str:
    from fer_hailo.training.data.targets import read_targets

    return said(read_targets(path))


def answers(path: Path) -> str:
    """What the SDK's emulation answered, as evaluate reads it on the board."""
    from fer_hailo.deploy.answers import read_answers

    return said(read_answers(path))


def results(path: Path) -> str:
    """As `evaluate --merge FILE`."""
    from fer_hailo.common.results import merge

    with _folder(path) as folder:
        return said(merge(folder / "results.csv", path))


def listed(path: Path) -> str:
    """A folder of images with the CSV as the list of their classes."""
    from fer_hailo.training.data.sources import open_source

    with _folder(path) as folder:
        for name, content in _images():
            (folder / name).write_bytes(content)
        shutil.copy(path, folder / path.name)
        return said(open_source(folder).digest())


@functools.cache
def _images() -> tuple[tuple[str, bytes], ...]:
    from tools.fuzz.samples import png

    return tuple((f"{name}.png", png(shade)) for shade, name in enumerate("abcd"))


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """A temporary folder that is called after the damaged file, so that refusals name it."""
    folder = Path(tempfile.mkdtemp(suffix=path.name))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
