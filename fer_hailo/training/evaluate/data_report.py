"""What a data set holds: counts, damaged and odd files, duplicates, conflicting labels, train images that
stand in test.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fer_hailo.common.config import Config
from fer_hailo.common.files import write_csv, write_text
from fer_hailo.training.data.cache import Pictures
from fer_hailo.training.data.clean import blank, clean, conflicting, duplicate_groups
from fer_hailo.training.data.pictures import read_pictures
from fer_hailo.training.evaluate.plots import plot_grid

MANIFEST = [
    "id",
    "split",
    "label",
    "height",
    "width",
    "exact_group",
    "group",
    "blank",
    "conflict",
    "in_test",
    "kept",
    "problem",
]
SHOWN = 10
RULES = {
    "thumbnail": "also most in another encoding or light, few that were moved, none cropped or mirrored",
    "registered": "also in another encoding or light, moved, cropped by up to a tenth, turned by up to 5 "
    "degrees or mirrored",
}


def write_data_report(config: Config, cache: Path, folder: Path) -> str:
    """Write data_report.txt, manifest.csv (one row an image) and samples.png into `folder`. Returns the
    report's text.

    Judged over all classes of the data, before selection.
    """
    pictures = read_pictures(config, cache)
    keep, dropped = clean(pictures, config)
    groups = duplicate_groups(pictures)
    test = pictures.splits == "test"
    marks = {
        "blank": blank(pictures.images),
        "conflict": conflicting(pictures.labels, groups),
        "in_test": np.isin(groups, groups[test]) & ~test,
    }
    text = _text(pictures, groups, marks, keep, dropped, config.data.copies)
    write_text(folder / "data_report.txt", text + "\n")
    write_csv(folder / "manifest.csv", MANIFEST, _rows(pictures, groups, marks, keep))
    _samples(folder / "samples.png", pictures)
    return f"{text}\nwritten: {folder / 'data_report.txt'}, manifest.csv and samples.png"


def duplicate_counts(groups: np.ndarray, labels: np.ndarray) -> tuple[int, int, int]:
    """(groups of two or more, images in them, groups with more than one label)."""
    sizes = np.bincount(groups)
    several = sizes[groups] > 1
    return int((sizes > 1).sum()), int(several.sum()), len(np.unique(groups[conflicting(labels, groups)]))


def _text(
    pictures: Pictures, groups: np.ndarray, marks: dict, keep: np.ndarray, dropped: dict[str, int], rule: str
) -> str:
    splits = sorted(set(pictures.splits), reverse=True)
    lines = [
        f"{pictures.name}: {len(pictures.ids):,} readable images, {len(pictures.bad):,} corrupt",
        "",
        "images a class and split",
    ]
    lines.append(f"  {'':<12}" + "".join(f"{split or 'all':>10}" for split in splits))
    for label in sorted(set(pictures.labels)):
        counts = [int(((pictures.labels == label) & (pictures.splits == split)).sum()) for split in splits]
        lines.append(f"  {label:<12}" + "".join(f"{count:>10,}" for count in counts))
    lines += ["", "files"]
    lines.append(f"  blank: {int(marks['blank'].sum()):,}")
    lines.append(f"  not square: {int((pictures.sizes[:, 0] != pictures.sizes[:, 1]).sum()):,}")
    side = pictures.images.shape[1]
    lines.append(
        f"  smaller than {side} pixels (enlarged): {int((pictures.sizes.max(axis=1) < side).sum()):,}"
    )
    lines += [f"  corrupt: {id} {reason}" for id, reason in pictures.bad[:SHOWN]]
    if len(pictures.bad) > SHOWN:
        lines.append(f"  ... and {len(pictures.bad) - SHOWN:,} more, see manifest.csv")
    lines += ["", f"duplicates (exact: pixel-identical; near, by the rule {rule}: {RULES[rule]})"]
    lines.append(f"  {len(pictures.near):,} near pairs")
    for split in splits:
        side = pictures.splits == split
        for kind, numbers in (("exact", pictures.exact), ("exact or near", groups)):
            count, members, conflicts = duplicate_counts(numbers[side], pictures.labels[side])
            lines.append(
                f"  {split or 'all'}, {kind}: {members:,} images in {count:,} groups, {conflicts:,} groups "
                "with conflicting labels"
            )
    if "test" in splits and "train" in splits:
        test = pictures.splits == "test"
        for kind, numbers in (("exact", pictures.exact), ("exact or near", groups)):
            train_hits = np.isin(numbers, numbers[test]) & ~test
            test_hits = np.isin(numbers, numbers[~test]) & test
            lines.append(
                f"  {kind}: {train_hits.sum():,} train images also stand in test; {test_hits.sum():,} test "
                "images also stand in train"
            )
    lines += ["", "cleaning with this configuration drops"]
    lines += [f"  {reason}: {count:,}" for reason, count in dropped.items()]
    lines.append(f"  leaving {int(keep.sum()):,} images of all classes")
    return "\n".join(lines)


def _rows(pictures: Pictures, groups: np.ndarray, marks: dict, keep: np.ndarray) -> list[dict]:
    rows = []
    for i, id in enumerate(pictures.ids):
        flags = {name: int(mark[i]) for name, mark in marks.items()} | {"kept": int(keep[i])}
        numbers = {
            "exact_group": pictures.exact[i],
            "group": groups[i],
            "height": pictures.sizes[i, 0],
            "width": pictures.sizes[i, 1],
        }
        rows.append({"id": id, "split": pictures.splits[i], "label": pictures.labels[i], **numbers, **flags})
    return rows + [{"id": id, "kept": 0, "problem": reason} for id, reason in pictures.bad]


def _samples(path: Path, pictures: Pictures) -> None:
    rng, columns = np.random.default_rng(0), 10
    chosen, titles = [], []
    for label in sorted(set(pictures.labels)):
        own = np.flatnonzero(pictures.labels == label)
        picked = rng.choice(own, min(columns, len(own)), replace=False)
        chosen += list(picked)
        titles += [label] * len(picked)
    plot_grid(path, pictures.images[chosen], titles, pictures.name, columns)
