"""Write the tables of README.md and docs/ that come from docs/results.csv, each where a document has a place
for it: between `<!-- NAME: tools/results_table.py -->` and `<!-- end of NAME -->`.

    python tools/results_table.py

`results`, `short` and `recalls` are of the newest run of bench/peers.py: ours, INT8 throughout, joined with
the validation scores of the same file's conversion, and the peers. The others are in tools/run_tables.py.
"""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fer_hailo.common.cli import Parser, run
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import write_text
from fer_hailo.common.results import FLOAT_STEM, Row, read_rows
from fer_hailo.common.runs import NAME
from tools import run_tables
from tools.markdown import accuracy, markdown, percent, points

ROOT = Path(__file__).parents[1]
PLACE = re.compile(r"<!-- ([\w ]+): tools/results_table.py -->\n")
END = "<!-- end of {} -->\n"
STAGES = {"tflite": "float32", "tflite-int8": "INT8", FLOAT_STEM: "INT8, first block float32"}
COMPARED = ("tflite-int8", "peer")  # the stages that tables and plot show
HEADER = (
    "",
    "input",
    "parameters",
    "validation",
    "test",
    "less fer",
    "macro recall, test",
    "one CPU thread",
    "time, of fer's",
)


def main(argv: list[str] | None = None) -> None:
    Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args(argv)
    rows, placed = read_rows(ROOT / "docs" / "results.csv"), set()
    for path in documents():
        text = path.read_text(encoding="utf-8")
        placed |= set(PLACE.findall(text))
        anew = with_tables(text, rows, path.name)
        if anew != text:
            write_text(path, anew)
    if absent := TABLES.keys() - placed:
        raise UserError(f"no document has a place for the table {', '.join(sorted(absent))}")


def documents() -> list[Path]:
    """What may hold such tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def with_tables(text: str, rows: list[Row], name: str) -> str:
    """The document of that name with its tables made anew.

    Raises UserError where a place has no end, or names no table.
    """
    for table_name in PLACE.findall(text):
        if table_name not in TABLES:
            raise UserError(f"{name} has a place for {table_name}: known are {', '.join(TABLES)}")
        begin, end = f"<!-- {table_name}: tools/results_table.py -->\n", END.format(table_name)
        before, rest = text.split(begin)
        if end not in rest:
            raise UserError(f"the place for {table_name} in {name} has no end: {end.strip()}")
        text = before + begin + TABLES[table_name](rows) + end + rest.split(end)[1]
    return text


def table(rows: list[Row]) -> str:
    """Markdown: ours first, then the peers."""
    held = on_validation(rows)
    lines = [
        (
            _bold(*key),
            f"{row.input_size} px",
            f"{int(row.parameters):,}",
            percent(held[key].accuracy) if key in held else "",
            accuracy(row),
            "" if row.run == row.reference or not row.difference else _difference(row),
            percent(row.macro_recall),
            f"{float(row.latency_ms):.2f} ms",
            f"{float(row.time_ratio):.2f}" if row.time_ratio else "",
        )
        for key, row in by_model(rows).items()
    ]
    return markdown(HEADER, lines)


def short(rows: list[Row]) -> str:
    """Markdown: ours and the most accurate peer, the columns that a first look needs."""
    found = by_model(rows)
    best = max(
        (row for (_, stage), row in found.items() if stage == "peer"), key=lambda row: float(row.accuracy)
    )
    lines = [
        (_bold(*key), accuracy(row), percent(row.macro_recall), f"{float(row.latency_ms):.2f} ms")
        for key, row in found.items()
        if key[1] != "peer" or row is best
    ]
    return markdown(("", "test", "macro recall", "one CPU thread"), lines)


def recalls(rows: list[Row]) -> str:
    """Markdown: recall of each class, on test and on validation."""
    held, tested = on_validation(rows), by_model(rows)
    sides = [(key, "test", row) for key, row in tested.items()] + [
        (key, "validation", held[key]) for key in tested if key in held
    ]
    classes = [pair.split("=")[0] for pair in next(iter(tested.values())).per_class_recall.split()]
    lines = []
    for key, side, row in sides:
        found = dict(pair.split("=") for pair in row.per_class_recall.split())
        shares = [percent(found[name]) if name in found else "" for name in classes]
        scores = [percent(getattr(row, name)) for name in ("macro_recall", "macro_f1")]
        lines.append((_bold(*key), side, *shares, accuracy(row), *scores))
    return markdown(("recall", "on", *classes, "all", "macro", "macro F1"), lines)


def on_validation(rows: list[Row]) -> dict[tuple[str, str], Row]:
    """The validation row of each run and stage, the latest."""
    return {(row.run, row.stage): row for row in rows if row.split == "val"}


def by_model(rows: list[Row]) -> dict[tuple[str, str], Row]:
    """Run and stage of what the newest run of bench/peers.py measured: ours first."""
    newest = {(row.run, row.stage): row for row in of_one_run(rows)}
    return dict(sorted(newest.items(), key=lambda item: item[0][1] == "peer"))


def of_one_run(rows: list[Row]) -> list[Row]:
    """The rows of the newest run of bench/peers.py: only they name their parameters, and all have one
    date. Ours that compute in float, of older runs, are left out.
    """
    measured = [row for row in rows if row.parameters]
    newest = max(row.date for row in measured)
    return [row for row in measured if row.date == newest and row.stage in COMPARED]


def model_name(run: str, stage: str) -> str:
    """What a row is of, for people: network and arithmetic; a peer's own name."""
    if stage == "peer":
        return run
    arch = re.split(r"_s\d+$", run.split("_", 1)[1])[0] if NAME.fullmatch(run) else run
    return f"{arch}, {STAGES.get(stage, stage)}"


def _bold(run: str, stage: str) -> str:
    return run if stage == "peer" else f"**{model_name(run, stage)}**"


def _difference(row: Row) -> str:
    low, high = (points(getattr(row, f"difference_{end}")) for end in ("low", "high"))
    return f"{points(row.difference)} [{low}, {high}]"


TABLES: dict[str, Callable[[list[Row]], str]] = {
    "results": table,
    "short": short,
    "recalls": recalls,
    **run_tables.TABLES,
}

if __name__ == "__main__":
    sys.exit(run(main))
