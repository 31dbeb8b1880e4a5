"""Write the results tables of README.md and docs/results.md from docs/results.csv.

    python tools/results_table.py

The first and the recalls are of the newest run of bench/peers.py, joined with the validation scores of the
same model's conversion; that of the other networks is of the runs that NETWORKS names.
"""

import argparse
import re
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fer_hailo.common.cli import Parser, run
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import write_text
from fer_hailo.common.results import FLOAT_STEM, Row, read_rows
from fer_hailo.common.runs import NAME

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- {}: tools/results_table.py -->\n", "<!-- end of {} -->\n"
STAGES = {"tflite": "float32", "tflite-int8": "INT8", FLOAT_STEM: "INT8, first block float32"}
NETWORKS = (  # what, how it was trained, its runs in docs/results.csv (several: seeds)
    ("DenseNet-121", "from scratch, 10 epochs", ("densenet121_48",)),
    ("ResNet-18", "from scratch, 14 epochs", ("resnet18_64",)),
    ("NASNetMobile", "from scratch, 6 epochs", ("nasnet_48",)),
    ("DDAMFN", "from scratch, 10 epochs", ("ddamfn_48",)),
    ("Ada-DF", "from scratch, 4 epochs", ("ada_df_48",)),
    ("DAN", "from scratch, 6 epochs", ("dan_48",)),
    ("soft vote of the first three", "shares fitted on validation", ("ensemble_20261122-002043",)),
    (
        "soft vote of four MobileNetV3Small",
        "the released one, its twin, its ancestors",
        ("ensemble_20261121-220713",),
    ),
    ("MobileNetV3Small", "from ImageNet's weights, 1 + 8 epochs", ("alone_s1", "alone_s2")),
    (
        "MobileNetV3Small, taught",
        "the same, by the released model, the best of all",
        ("taught_s1", "taught_s2"),
    ),
    ("MobileNetV3Small, one dense layer", "from ImageNet's weights, 1 + 8 epochs", ("plain_s1", "plain_s2")),
    ("MobileNetV3Small, LNSU-Net's losses", "the same, --method lnsu", ("lnsu_s1", "lnsu_s2")),
    (
        "MobileNetV3Small, one dense layer",
        "from ImageNet's weights, 1 + 8 epochs",
        ("plain_64_s1", "plain_64_s2", "plain_64_s3"),
    ),
    (
        "MobileNetV3Small, Ada-DF's targets",
        "the same, --method ada_df_fusion",
        tuple(f"ada_df_fusion_64_s{i}" for i in (1, 2, 3)),
    ),
)
PLACES = {  # document: its tables
    "README.md": ("results", "recalls", "networks"),
    "docs/results.md": ("results", "recalls", "networks"),
}
HEADER = ("", "input", "parameters", "validation", "test", "macro recall, test", "one CPU thread")


def main(argv: list[str] | None = None) -> None:
    Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args(argv)
    rows = read_rows(ROOT / "docs" / "results.csv")
    for place in PLACES:
        write_text(ROOT / place, with_tables((ROOT / place).read_text(encoding="utf-8"), rows, place))


def with_tables(text: str, rows: list[Row], place: str) -> str:
    """The text of a document of PLACES with its tables made anew."""
    makers = {"results": table, "recalls": recalls, "networks": networks}
    for name in PLACES[place]:
        begin, end = BEGIN.format(name), END.format(name)
        if begin not in text or end not in text:
            raise UserError(f"{place} has no place for the {name}, between {begin.strip()} and {end.strip()}")
        before, rest = text.split(begin)
        text = before + begin + makers[name](rows) + end + rest.split(end)[1]
    return text


def table(rows: list[Row]) -> str:
    """Markdown: ours first, then the peers."""
    held = on_validation(rows)
    lines = []
    for key, row in by_model(rows).items():
        validation = _percent(held[key].accuracy) if key in held else ""
        size, parameters, time = (
            f"{row.input_size} px",
            f"{int(row.parameters):,}",
            f"{float(row.latency_ms):.2f} ms",
        )
        lines.append(
            (_bold(*key), size, parameters, validation, _accuracy(row), _percent(row.macro_recall), time)
        )
    return markdown(HEADER, lines)


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
        shares = [_percent(found[name]) if name in found else "" for name in classes]
        scores = [_percent(getattr(row, name)) for name in ("macro_recall", "macro_f1")]
        lines.append((_bold(*key), side, *shares, _accuracy(row), *scores))
    return markdown(("recall", "on", *classes, "all", "macro", "macro F1"), lines)


def networks(rows: list[Row]) -> str:
    """Markdown: the other networks; of several seeds mean and standard deviation."""
    lines = []
    for name, how, runs in NETWORKS:
        sides = [
            [row for row in rows if row.run in runs and row.stage == "keras" and row.split == side]
            for side in ("val", "test")
        ]
        if any({row.run for row in side} != set(runs) for side in sides):
            raise UserError(f"docs/results.csv has no validation or test row of {' or '.join(runs)}")
        scores = [_over_seeds(side, "accuracy") for side in sides] + [_over_seeds(sides[1], "macro_recall")]
        lines.append(
            (
                name,
                how + (f", {len(runs)} seeds" if len(runs) > 1 else ""),
                f"{sides[0][0].input_size} px",
                *scores,
            )
        )
    return markdown(("", "trained", "input", "validation", "test", "macro recall, test"), lines)


def _over_seeds(rows: list[Row], score: str) -> str:
    latest = {row.run: row for row in rows}
    if len(latest) == 1:
        return _accuracy(rows[-1]) if score == "accuracy" else _percent(getattr(rows[-1], score))
    values = [100 * float(getattr(row, score)) for row in latest.values()]
    return f"{statistics.mean(values):.1f} % ± {statistics.stdev(values):.1f}"


def markdown(header: tuple, lines: list[tuple]) -> str:
    return "".join("| " + " | ".join(line) + " |\n" for line in (header, ("---",) * len(header), *lines))


def on_validation(rows: list[Row]) -> dict[tuple[str, str], Row]:
    """The validation row of each run and stage, the latest."""
    return {(row.run, row.stage): row for row in rows if row.split == "val"}


def by_model(rows: list[Row]) -> dict[tuple[str, str], Row]:
    """Run and stage of what the newest run of bench/peers.py measured: ours first."""
    newest = {(row.run, row.stage): row for row in of_one_run(rows)}
    return dict(sorted(newest.items(), key=lambda item: item[0][1] == "peer"))


def of_one_run(rows: list[Row]) -> list[Row]:
    """The rows of the newest run of bench/peers.py: only they name their parameters, and all have one
    date.
    """
    measured = [row for row in rows if row.parameters]
    return [row for row in measured if row.date == max(other.date for other in measured)]


def model_name(run: str, stage: str) -> str:
    """What a row is of, for people: network and arithmetic; a peer's own name."""
    if stage == "peer":
        return run
    arch = re.split(r"_s\d+$", run.split("_", 1)[1])[0] if NAME.fullmatch(run) else run
    return f"{arch}, {STAGES.get(stage, stage)}"


def _bold(run: str, stage: str) -> str:
    return run if stage == "peer" else f"**{model_name(run, stage)}**"


def _percent(fraction: str) -> str:
    return f"{100 * float(fraction):.1f} %"


def _accuracy(row: Row) -> str:
    low, high = (f"{100 * float(getattr(row, name)):.1f}" for name in ("accuracy_low", "accuracy_high"))
    return f"{_percent(row.accuracy)} [{low}, {high}]"


if __name__ == "__main__":
    sys.exit(run(main))
