"""The tables of README.md and docs/ that are of single runs in docs/results.csv; see tools/results_table.py.

What a table says beside the scores (recipe, epochs, time) stands here, as do the scores of scratch runs,
whose rows were not kept.
"""

import statistics
from collections.abc import Callable
from functools import partial

from fer_hailo.common.errors import UserError
from fer_hailo.common.results import FLOAT_STEM, Row
from fer_hailo.training.experiments.summary import SCORES, as_markdown, cell_row
from tools.markdown import accuracy, markdown, percent, points

FIRST, BEST_128 = "20261121-101737_mobilenet_v3_small_s42", "20261121-170224_mobilenet_v3_small_s42"
FINISHED = (  # what, recipe, time, its run or its scores: validation, macro recall, test
    ("finetune", "configs/finetune.yaml: 96 px, 24 epochs", "28 min", FIRST),
    (
        "seed",
        "the defaults, 8 + 30 epochs: 128 px, 60 layers",
        "33 min",
        "20261121-084815_mobilenet_v3_small_s42",
    ),
    ("short_64", "finetune at 64 px, batch 128, 14 epochs", "7 min", (0.7410, 0.691, 0.7352)),
    ("votes_64", "short_64 with FER+ votes", "13 min, one core", (0.7439, 0.687, 0.7410)),
    (
        "votes_128",
        "finetune's model, 3 more epochs at 128 px with votes",
        "7 min, one core",
        (0.7980, 0.745, 0.7963),
    ),
    (
        "best_128",
        "configs/best_128.yaml: finetune's model, 25 epochs at 128 px, votes, fear and sadness",
        "50 min",
        BEST_128,
    ),
    (
        "size_160",
        "best_128's model, 2 epochs at 160 px, the five classes alone, see below",
        "5 min",
        "size_160",
    ),
    (
        "**best**",
        "configs/best.yaml: best_128's model, 8 epochs at 160 px",
        "26 min",
        "20261121-192600_mobilenet_v3_small_s42",
    ),
    (
        "twin_128",
        "ReLU twin, best_128's kernels cropped, taught by best_128, 14 epochs at 128 px on the five classes",
        "20 min",
        "20261121-175430_mobilenet_v3_small_minimalistic_s42",
    ),
    (
        "**twin**",
        "configs/twin.yaml: ReLU twin, best's kernels cropped, taught by best, 12 epochs at 160 px, fear and "
        "sadness too",
        "36 min",
        "20261121-195913_mobilenet_v3_small_minimalistic_s42",
    ),
)
SCRATCH = (  # what, its run, input, epochs, time, an epoch
    ("DenseNet-121", "densenet121_48", "48 px", "10", "41 min", "4.1 min"),
    ("NASNetMobile", "nasnet_48", "48 px", "6", "22 min", "3.6 min"),
    ("ResNet-18", "resnet18_64", "64 px", "14", "35 min", "2.5 min"),
    ("soft vote of the three", "ensemble_20261122-002043", "48 px", "", "", ""),
)
SYSTEMS = (  # what, its run, epochs, an epoch
    ("DAN", "dan_48", "6", "7 min"),
    ("Ada-DF", "ada_df_48", "4", "9 min"),
    ("DDAMFN", "ddamfn_48", "10", "4 min"),
)
PUBLISHED = (  # what, its score on RAF-DB, our runs, those that they are compared with, how
    ("DAN", "89.70 %", ("dan_48",), (), "from scratch, 48 px, 6 epochs"),
    ("DDAMFN", "91.35 % (++ 92.34)", ("ddamfn_48",), (), "from scratch, 48 px, 10 epochs"),
    ("Ada-DF", "90.04 %", ("ada_df_48",), (), "from scratch, 48 px, 4 epochs"),
    ("POSTER", "92.05 %", (), (), "too large: 7.9 G multiply-adds an image"),
    ("POSTER V2", "92.21 %", (), (), "too large: 8.6 G"),
    (
        "LNSU-Net's losses",
        "92.7 % (Swin-T)",
        ("lnsu_s1", "lnsu_s2"),
        ("plain_s1", "plain_s2"),
        "MobileNetV3Small, 64 px, 1 + 8 epochs, two paired seeds",
    ),
    (
        "Ada-DF's targets",
        "",
        tuple(f"ada_df_fusion_64_s{i}" for i in (1, 2, 3)),
        tuple(f"plain_64_s{i}" for i in (1, 2, 3)),
        "MobileNetV3Small, 64 px, 1 + 8 epochs, three paired seeds",
    ),
)
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


def row_of(rows: list[Row], run: str, split: str) -> Row:
    """The latest score of a run's Keras model. Raises UserError where there is none."""
    found = [row for row in rows if (row.run, row.stage, row.split) == (run, "keras", split)]
    if not found:
        raise UserError(f"docs/results.csv has no {split} row of {run}")
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
    "sizes": sizes,
    "scratch": scratch,
    "systems": systems,
    "published": published,
    "taught": partial(paired, ("alone", "taught"), (1, 2)),
    "lnsu": partial(paired, ("plain", "lnsu"), (1, 2)),
    "fusion": partial(paired, ("plain_64", "ada_df_fusion_64"), (1, 2, 3)),
}
