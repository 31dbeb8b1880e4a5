"""Write README's results table from docs/results.csv.

    python tools/results_table.py

The rows are those of the newest run of bench/peers.py, joined with the validation accuracy of the same model's conversion.
"""

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fer_hailo.cli import Parser, run
from fer_hailo.errors import UserError
from fer_hailo.files import read_csv, write_text
from fer_hailo.runs import NAME

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- results: tools/results_table.py -->\n", "<!-- end of results -->\n"
STAGES = {"tflite": "float32", "tflite-int8": "INT8"}
HEADER = ("", "input", "parameters", "validation", "test", "macro recall, test", "one CPU thread")


def main(argv: list[str] | None = None) -> None:
    Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args(argv)
    readme = ROOT / "README.md"
    write_text(readme, with_table(readme.read_text(encoding="utf-8"), read_csv(ROOT / "docs" / "results.csv")))


def with_table(text: str, rows: list[dict]) -> str:
    """The README with its table made anew."""
    if BEGIN not in text or END not in text:
        raise UserError(f"README.md has no place for the table, between {BEGIN.strip()} and {END.strip()}")
    before, rest = text.split(BEGIN)
    return before + BEGIN + table(rows) + END + rest.split(END)[1]


def table(rows: list[dict]) -> str:
    """Markdown: ours first, then the peers."""
    newest = {(row["run"], row["stage"]): row for row in of_one_run(rows)}
    held = {(row["run"], row["stage"]): row for row in rows if row["split"] == "val"}
    lines = [HEADER, ("---",) * len(HEADER)]
    for key, row in sorted(newest.items(), key=lambda item: item[0][1] == "peer"):
        low, high = (f"{100 * float(row[name]):.1f}" for name in ("accuracy_low", "accuracy_high"))
        validation = f"{100 * float(held[key]['accuracy']):.1f} %" if key in held else ""
        name = key[0] if key[1] == "peer" else f"**{model_name(*key)}**"
        test, recall = f"{100 * float(row['accuracy']):.1f} % [{low}, {high}]", f"{100 * float(row['macro_recall']):.1f} %"
        size, parameters, time = f"{row['input_size']} px", f"{int(row['parameters']):,}", f"{float(row['latency_ms']):.2f} ms"
        lines.append((name, size, parameters, validation, test, recall, time))
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def of_one_run(rows: list[dict]) -> list[dict]:
    """The rows of the newest run of bench/peers.py: only they name their parameters, and all have one date."""
    measured = [row for row in rows if row.get("parameters")]
    return [row for row in measured if row["date"] == max(other["date"] for other in measured)]


def model_name(run: str, stage: str) -> str:
    """What a row is of, for people: network and arithmetic; a peer's own name."""
    if stage == "peer":
        return run
    arch = re.split(r"_s\d+$", run.split("_", 1)[1])[0] if NAME.fullmatch(run) else run
    return f"{arch}, {STAGES.get(stage, stage)}"


if __name__ == "__main__":
    sys.exit(run(main))
