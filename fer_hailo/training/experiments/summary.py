"""What an experiment showed: mean and standard deviation of each cell, and its difference from the first,
seed by seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.common.files import write_csv, write_text
from fer_hailo.common.metrics import read_metrics
from fer_hailo.common.palette import COLOURS
from fer_hailo.common.runs import ENVIRONMENT, data_key
from fer_hailo.training.evaluate.plots import new_figure, save_figure
from fer_hailo.training.experiments.plan import CellRun, Grid

SCORES = {
    "validation": ("val", "accuracy"),
    "validation macro": ("val", "macro_recall"),
    "test": ("test", "accuracy"),
}
COLUMNS = [
    "cell",
    "runs",
    *(f"{name} {what}" for name in SCORES for what in ("mean", "sd")),
    "difference",
    "low",
    "high",
]


def write_summary(grid: Grid) -> str:
    """Write summary.csv, summary.md and summary.png into the experiment's folder.

    Returns the table as Markdown.
    """
    _check_data(grid)
    scores = {cell: _scores(grid, cell) for cell in grid.cells}
    rows = [cell_row(cell, scores[cell], scores[grid.cells[0]]) for cell in grid.cells]
    write_csv(
        grid.out / "summary.csv",
        COLUMNS,
        [{key: "" if row[key] is None else row[key] for key in COLUMNS} for row in rows],
    )
    text = as_markdown(rows, grid.cells[0])
    write_text(grid.out / "summary.md", text + "\n")
    _plot(grid, scores)
    return text


def mean_and_deviation(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean, and standard deviation of a sample (None of fewer than two)."""
    return (float(np.mean(values)) if values else None), (
        float(np.std(values, ddof=1)) if len(values) > 1 else None
    )


def paired_difference(
    ours: dict[int, float], theirs: dict[int, float]
) -> tuple[float | None, float | None, float | None]:
    """Mean of ours less theirs over the seeds that both have, and Student's 95 % interval of it (None of
    fewer than two).
    """
    from scipy.stats import t

    gains = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    mean, deviation = mean_and_deviation(gains)
    if mean is None or deviation is None:
        return mean, None, None
    reach = float(t.ppf(0.975, len(gains) - 1)) * deviation / math.sqrt(len(gains))
    return mean, mean - reach, mean + reach


def _check_data(grid: Grid) -> None:
    keys: dict[tuple, CellRun] = {}
    for run in grid.runs:
        if run.done and (run.folder / ENVIRONMENT).is_file():
            keys.setdefault((run.config.preprocess.source_shape, data_key(run.folder)), run)
    shapes = [shape for shape, _ in keys]
    if len(set(shapes)) < len(shapes):  # another size of image has another key, and may be compared
        names = " and ".join(str(run.folder) for run in keys.values())
        raise UserError(f"{names} were trained on different data: there is nothing to compare")


def _scores(grid: Grid, cell: str) -> dict[str, dict[int, float]]:
    """{score: {seed: value}} of the runs that are complete."""
    found: dict[str, dict[int, float]] = {name: {} for name in SCORES}
    for run in grid.runs:
        for name, (split, key) in SCORES.items():
            path = run.folder / f"metrics_{split}.json"
            if run.cell == cell and run.done and path.is_file():
                found[name][run.config.seed] = getattr(read_metrics(path), key)
    return found


def cell_row(cell: str, scores: dict, first: dict) -> dict:
    """A row of COLUMNS. scores: {name of SCORES: {seed: fraction}}; first: those of the cell it is compared
    with, the same object where it is that cell.
    """
    row = {"cell": cell, "runs": len(scores["validation"])}
    for name, values in scores.items():
        row[f"{name} mean"], row[f"{name} sd"] = mean_and_deviation(list(values.values()))
    own = scores is first
    row["difference"], row["low"], row["high"] = (
        (None,) * 3 if own else paired_difference(scores["validation"], first["validation"])
    )
    return row


def as_markdown(rows: list[dict], first: str) -> str:
    """The rows as a table; first: the name of the cell that all are compared with."""
    header = ["cell", "runs", *SCORES, f"validation, less {first}"]
    lines = [header, ["---"] * len(header)]
    for row in rows:
        spread = "" if row["low"] is None else f" [{100 * row['low']:+.2f}, {100 * row['high']:+.2f}]"
        gain = "" if row["difference"] is None else f"{100 * row['difference']:+.2f}{spread}"
        lines.append(
            [
                row["cell"],
                str(row["runs"]),
                *(_cell(row[f"{name} mean"], row[f"{name} sd"]) for name in SCORES),
                gain,
            ]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(mean: float | None, deviation: float | None) -> str:
    if mean is None:
        return ""
    return f"{100 * mean:.2f} %" + ("" if deviation is None else f" ± {100 * deviation:.2f}")


def _plot(grid: Grid, scores: dict) -> None:
    """Each run a dot, each cell's mean a line, on validation."""
    figure, axis = new_figure(max(4, 1.6 * len(grid.cells)), 4)
    for place, cell in enumerate(grid.cells):
        values = [100 * value for value in scores[cell]["validation"].values()]
        axis.plot([place] * len(values), values, "o", color=COLOURS[0], alpha=0.7)
        if values:
            axis.hlines(np.mean(values), place - 0.25, place + 0.25, color=COLOURS[1], linewidth=2)
    axis.set(
        title=grid.name,
        ylabel="validation accuracy, %",
        xticks=range(len(grid.cells)),
        xlim=(-0.5, len(grid.cells) - 0.5),
    )
    axis.set_xticklabels(grid.cells, rotation=20, ha="right")
    save_figure(figure, grid.out / "summary.png")
