"""Write the tables of docs/robustness.md and draw docs/robustness.png, from docs/robustness.csv: the rows of
corruptions_val.csv and corruptions_test.csv, as `evaluate.py --corruptions` writes them. Drawn are the models
in 8 bits and the peers, on test.

    python tools/robustness_table.py
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fer_hailo.common.cli import Parser, run
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_csv, write_text
from fer_hailo.training.evaluate.plots import plot_corruptions
from tools.markdown import markdown
from tools.results_table import COMPARED, model_name

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- {}: tools/robustness_table.py -->\n", "<!-- end of {} -->\n"


def main(argv: list[str] | None = None) -> None:
    Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args(argv)
    path = DOCS / "robustness.md"
    rows = read_csv(DOCS / "robustness.csv")
    write_text(path, with_tables(path.read_text(encoding="utf-8"), rows))
    tested = [row for row in rows if row["split"] == "test" and row["stage"] in COMPARED]
    title = f"{tested[0]['data']}, test: accuracy on {int(tested[0]['count']):,} corrupted faces"
    plot_corruptions(DOCS / "robustness.png", curves(tested), title)


def with_tables(text: str, rows: list[dict]) -> str:
    """The document with its tables made anew, of each split that it has a place for."""
    for split in ("val", "test"):
        side = [row for row in rows if row["split"] == split]
        for name, make in ((f"losses {split}", losses), (f"accuracies {split}", accuracies)):
            begin, end = BEGIN.format(name), END.format(name)
            if begin in text:
                if not side or end not in text:
                    raise UserError(f"no rows of {split} in robustness.csv, or no {end.strip()}")
                before, rest = text.split(begin)
                text = before + begin + make(side) + end + rest.split(end)[1]
    return text


def losses(rows: list[dict]) -> str:
    """Markdown: accuracy on clean faces, then points lost by each corruption, the mean of its strengths."""
    models = _models(rows)
    clean = {model: _cells(rows, model, "clean")[0] for model in models}
    lines = [("clean, accuracy", *(f"{100 * float(clean[model]['accuracy']):.1f} %" for model in models))]
    for name in _corruptions(rows):
        means = [_mean_loss(_cells(rows, model, name)) for model in models]
        lines.append((_words(name), *(f"{mean:.1f}" for mean in means)))
    totals = [_mean_loss([row for row in rows if _is_of(row, model)]) for model in models]
    lines.append(("**mean loss**", *(f"**{total:.1f}**" for total in totals)))
    return markdown(("points lost", *models.values()), lines)


def accuracies(rows: list[dict]) -> str:
    """Markdown: accuracy in % at each strength."""
    models = _models(rows)
    lines = []
    for name in _corruptions(rows):
        cells = [_cells(rows, model, name) for model in models]
        shown = [" / ".join(f"{100 * float(row['accuracy']):.1f}" for row in own) for own in cells]
        lines.append((_words(name), " / ".join(row["amount"] for row in cells[0]), *shown))
    return markdown(("accuracy, %", "amounts", *models.values()), lines)


def curves(rows: list[dict]) -> dict[str, dict[str, list[float]]]:
    """Of each corruption and model the accuracies, fractions, at strength 0 (clean), 1, 2, 3."""
    shown: dict[str, dict[str, list[float]]] = {}
    for model, words in _models(rows).items():
        total = _mean_loss([row for row in rows if _is_of(row, model)])
        clean = _cells(rows, model, "clean")
        for name in _corruptions(rows):
            values = [float(row["accuracy"]) for row in [*clean, *_cells(rows, model, name)]]
            shown.setdefault(_words(name), {})[f"{words} (mean loss {total:.1f})"] = values
    return shown


def _models(rows: list[dict]) -> dict[tuple[str, str], str]:
    """What the tables call each (model, stage), in the order of the file."""
    keys = dict.fromkeys((row["model"], row["stage"]) for row in rows)
    return {key: model_name(key[0].split(", model_")[0], key[1]) for key in keys}


def _corruptions(rows: list[dict]) -> list[str]:
    return [name for name in dict.fromkeys(row["corruption"] for row in rows) if name != "clean"]


def _cells(rows: list[dict], model: tuple[str, str], name: str) -> list[dict]:
    return [row for row in rows if (row["model"], row["stage"], row["corruption"]) == (*model, name)]


def _is_of(row: dict, model: tuple[str, str]) -> bool:
    return (row["model"], row["stage"]) == model and row["corruption"] != "clean"


def _mean_loss(rows: list[dict]) -> float:
    """Points."""
    mean = 100 * sum(float(row["loss"]) for row in rows) / len(rows)
    return round(mean, 1) + 0.0  # no -0.0


def _words(name: str) -> str:
    return name.replace("_", " ")


if __name__ == "__main__":
    sys.exit(run(main))
