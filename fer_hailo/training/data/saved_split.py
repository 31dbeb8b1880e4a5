"""Write the split of a configuration as folders of images, for other programs, other people, or this one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.common.files import write_csv, write_text
from fer_hailo.common.progress import track
from fer_hailo.common.runs import SYNTHETIC
from fer_hailo.training.data.dataset import Dataset, Part
from fer_hailo.training.data.entry import SIDES
from fer_hailo.training.data.sources import SYNTHETIC_MARK

MANIFEST, COLUMNS = "manifest.csv", ["file", "split", "class", "id"]


def save_split(dataset: Dataset, folder: Path) -> str:
    """Write train/, val/ and test/<class>/<class>_00000.png and manifest.csv. Returns what was written.

    The images are those of the cache, of the configuration's source_size; id is what the data set calls them.
    Raises UserError where the folder holds anything.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder} is not an empty folder: name another one for the split")
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    names = (*dataset.names, *dataset.extra_names)
    try:
        rows = [row for side in SIDES for row in _write_side(_of_side(dataset, side), side, names, beside)]
        write_csv(beside / MANIFEST, COLUMNS, rows)
        if dataset.name == SYNTHETIC:
            write_text(beside / SYNTHETIC_MARK, "Drawn faces, not photographs.\n")
        if folder.exists():
            folder.rmdir()
        beside.replace(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    counts = ", ".join(f"{sum(row['split'] == side for row in rows):,} {side}" for side in SIDES)
    return f"written: {folder} ({counts}) and {folder / MANIFEST}"


def _of_side(dataset: Dataset, side: str) -> Part:
    return dataset.lessons() if side == "train" else getattr(dataset, side)


def _write_side(part: Part, side: str, names: tuple[str, ...], folder: Path) -> list[dict]:
    """The rows of the manifest."""
    import cv2

    rows, counts = [], [0] * len(names)
    order = np.argsort(part.ids, kind="stable")
    for place in track(order, len(order), f"writing {side}"):
        label = int(part.labels[place])
        file = f"{side}/{names[label]}/{names[label]}_{counts[label]:05d}.png"
        counts[label] += 1
        image = part.images[int(place)]
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        _, png = cv2.imencode(".png", image if image.ndim == 2 else image[..., ::-1])
        (folder / file).write_bytes(png.tobytes())
        rows.append({"file": file, "split": side, "class": names[label], "id": str(part.ids[place])})
    return rows
