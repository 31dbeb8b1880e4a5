"""Several model scripts tried on one bundle: optimized and scored, not compiled, and compared on
validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_hailo.common.errors import UserError
from fer_hailo.common.reading import read_json
from fer_hailo.sdk.chain import TOO_MUCH_LOST, compile_bundle

FINAL = "har-int8"


def try_scripts(
    folder: Path,
    hw_arch: str,
    scripts: Sequence[Path],
    own: Sequence[Path],
    out: Path | None,
    most_lost: float,
    quick: int | None,
    strict: bool,
) -> int:
    """Run parse and optimization with each script, and print a table of what INT8 keeps with each.

    own: files whose lines stand below each script's. Results go to a folder a script, try_NAME; what is done
    already is not repeated, so that the same command goes on after an interruption. Returns 0, or 3 where
    every script loses more than `most_lost` points. Raises UserError where two scripts have one name.
    """
    names = [path.stem for path in scripts]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(
            f"--try got two scripts called {twice}: their results would share a folder, rename one"
        )
    base = out or folder / hw_arch
    rows, statuses = [], []
    for path in scripts:
        place = base / f"try_{path.stem}"
        files = [path, *own]
        statuses.append(
            compile_bundle(folder, hw_arch, files, None, place, most_lost, quick, strict, until="optimize")
        )
        rows.append(_row(path.stem, read_json(place / "compile_report.json")))
    head = ("script", "INT8, validation", "95 %", "macro recall", "lost", "level", "seconds")
    print(_table([head, *sorted(rows, key=lambda row: row[1], reverse=True)]))
    return 0 if 0 in statuses else TOO_MUCH_LOST


def _row(name: str, facts: dict[str, Any]) -> tuple[str, ...]:
    found, lost = facts["metrics"].get(FINAL, {}).get("val"), facts["verdict"]["lost"]
    if found is None:
        return name, "-", "-", "-", "-", "-", "-"
    low, high = found["accuracy_ci95"]
    return (
        name,
        f"{found['accuracy']:.2%}",
        f"{low:.2%} to {high:.2%}",
        f"{found['macro_recall']:.2%}",
        "-" if lost is None else f"{lost:.2f}",
        facts["settings"].get("optimization_level", "-").split(" ")[0],
        f"{sum(facts['seconds'].values()):.0f}",
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
