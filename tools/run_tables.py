"""The tables of README.md and docs/ that are of single runs in docs/results.csv; see tools/results_table.py.

tools/table_lines.py says which runs.
"""

import statistics
from collections.abc import Callable
from functools import partial

from fer_hailo.common.errors import UserError
from fer_hailo.common.results import FLOAT_STEM, Row
from fer_hailo.common.runs import NAME
from fer_hailo.training.experiments.summary import SCORES, as_markdown, cell_row
from tools.markdown import accuracy, markdown, percent, points
from tools.table_lines import BEST, FINISHED, NETWORKS, PUBLISHED, QUANTISED, RECIPES, SCRATCH, SYSTEMS, TWIN


def networks(rows: list[Row]) -> str:
    """The other networks; of several seeds mean and standard deviation."""
    lines = []
    for name, how, runs in NETWORKS:
        sides = [[row_of(rows, run, side) for run in runs] for side in ("val", "test")]
        scores = [_over_seeds(side, "accuracy") for side in sides] + [_over_seeds(sides[1], "macro_recall")]
        seeds = f", {len(runs)} seeds" if len(runs) > 1 else ""
        lines.append((name, how + seeds, f"{sides[0][0].input_size} px", *scores))
    return markdown(("", "trained", "input", "validation", "test", "macro recall, test"), lines)


def finished(rows: list[Row]) -> str:
    lines = []
    for name, recipe, time, scores in FINISHED:
        values = _scores(rows, scores) if isinstance(scores, str) else scores
        lines.append((name, recipe, time, *_digits(values)))
    return markdown(("run", "recipe", "time", "validation", "macro recall", "test"), lines)


def recipes(rows: list[Row]) -> str:
    lines = []
    for *words, run in RECIPES:
        scores = [run, ""]
        if NAME.fullmatch(run):
            scores = [percent(row_of(rows, run, side).accuracy) for side in ("val", "test")]
        lines.append((*words, *scores))
    return markdown(("recipe", "what it is", "time", "validation", "test"), lines)


def sizes(rows: list[Row]) -> str:
    """The runs called size_..."""
    runs = sorted({row.run for row in rows if row.run.startswith("size_")}, key=lambda run: int(run[5:]))
    lines = [
        (words, *(percent(row_of(rows, run, side).accuracy) for run in runs))
        for words, side in (("validation", "val"), ("test", "test"))
    ]
    return markdown(("", *(f"{run[5:]} px" for run in runs)), lines)


def scratch(rows: list[Row]) -> str:
    lines = [(name, *words, *_digits(_scores(rows, run)[::2])) for name, run, *words in SCRATCH]
    return markdown(("", "input", "epochs", "time", "an epoch", "validation", "test"), lines)


def systems(rows: list[Row]) -> str:
    """The research systems; INT8 is of before 2026-11-28, with a first block in float32."""
    lines = []
    for name, run, *words in SYSTEMS:
        held = [row for row in rows if (row.run, row.stage, row.split) == (run, FLOAT_STEM, "val")]
        int8 = percent(held[-1].accuracy, 2) if held else "not tried"
        lines.append((name, *words, *_digits(_scores(rows, run)), int8))
    header = ("", "epochs", "an epoch", "validation", "macro recall", "test", "its INT8, validation")
    return markdown(header, lines)


def published(rows: list[Row]) -> str:
    """What the research systems are said to reach, and what ours reach."""
    lines = []
    for name, theirs, runs, others, how in PUBLISHED:
        sides = [_mean(rows, runs, side) for side in ("val", "test")] if runs else []
        own = [percent(value) for value in sides] or ["", ""]
        if others:
            own[0] += f", {points(sides[0] - _mean(rows, others, 'val'))} points"
        lines.append((name, theirs, *own, how))
    return markdown(("", "published, RAF-DB", "ours, validation", "ours, test", "how"), lines)


def quantised(rows: list[Row]) -> str:
    """Accuracy / macro recall, in %, of the released networks before and after each step to 8 bits."""
    lines = []
    for name, source, loss in QUANTISED:
        if source[0] in (BEST, TWIN):
            run, stage = source
            sides = [row_of(rows, run, side, stage) for side in ("val", "test")]
            cells = [
                f"{100 * float(row.accuracy):.2f} / {100 * float(row.macro_recall):.2f}" for row in sides
            ]
        else:
            cells = list(source)
        lines.append((name, *cells, loss))
    return markdown(("", "validation", "test", "loss [95 %, paired]"), lines)


def paired(cells: tuple[str, ...], seeds: tuple[int, ...], rows: list[Row]) -> str:
    """Cells of an experiment, whose runs are called CELL_sSEED, as fer_hailo.experiments writes them."""
    scores = {
        cell: {
            name: {seed: float(getattr(row_of(rows, f"{cell}_s{seed}", split), key)) for seed in seeds}
            for name, (split, key) in SCORES.items()
        }
        for cell in cells
    }
    first = scores[cells[0]]
    return as_markdown([cell_row(cell, scores[cell], first) for cell in cells], cells[0]) + "\n"


def row_of(rows: list[Row], run: str, split: str, stage: str = "keras") -> Row:
    """The latest score of a run's model. Raises UserError where there is none."""
    found = [row for row in rows if (row.run, row.stage, row.split) == (run, stage, split)]
    if not found:
        raise UserError(f"docs/results.csv has no {split} row of {run}, {stage}")
    return found[-1]


def _scores(rows: list[Row], run: str) -> tuple[float, float, float]:
    """Validation, its macro recall, test."""
    held, tested = row_of(rows, run, "val"), row_of(rows, run, "test")
    return float(held.accuracy), float(held.macro_recall), float(tested.accuracy)


def _digits(values: tuple[float, ...]) -> list[str]:
    """Accuracies with two digits, the macro recall between them with one."""
    return [percent(value, 1 if len(values) == 3 and i == 1 else 2) for i, value in enumerate(values)]


def _mean(rows: list[Row], runs: tuple[str, ...], split: str) -> float:
    return statistics.mean(float(row_of(rows, run, split).accuracy) for run in runs)


def _over_seeds(rows: list[Row], score: str) -> str:
    if len(rows) == 1:
        return accuracy(rows[0]) if score == "accuracy" else percent(getattr(rows[0], score))
    values = [float(getattr(row, score)) for row in rows]
    return f"{percent(statistics.mean(values))} ± {100 * statistics.stdev(values):.1f}"


TABLES: dict[str, Callable[[list[Row]], str]] = {
    "networks": networks,
    "finished": finished,
    "recipes": recipes,
    "sizes": sizes,
    "scratch": scratch,
    "systems": systems,
    "published": published,
    "quantised": quantised,
    "taught": partial(paired, ("alone", "taught"), (1, 2)),
    "lnsu": partial(paired, ("plain", "lnsu"), (1, 2)),
    "fusion": partial(paired, ("plain_64", "ada_df_fusion_64"), (1, 2, 3)),
}
