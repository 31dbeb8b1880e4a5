"""The released models, INT8 throughout, and other packages that ship their weights, on the same images of
FER2013's test side, in one run.

    python bench/peers.py [--data PATH] [--results FILE] [--model FILE ...] [--limit N]

Each peer runs in an environment of its own, made at the first call in .venv-peers/ (face-api needs Node.js),
and computes as its package does; its name says in which precision. All get the 48x48 faces and prepare them
in their own way (bench/peer.py); those of seven classes answer with the likeliest of ours. After all faces
were scored, rounds over all contenders time a hundred faces each, so that other work on the machine touches
all alike: one face, one thread, from its bytes to probabilities; medians of the rounds. Accuracy less that of
fer's TFLite comes with its paired 95 % interval.

Rows go to the results file; tools/results_table.py and tools/plot_pareto.py make tables and plot from those
of the newest run in docs/results.csv. `make bench-peers` does all three.
"""

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.contenders import PEERS, REFERENCE, Answers, Contender, own
from bench.peer import TIMED
from fer_hailo.board.comparison import paired_interval
from fer_hailo.common.cli import Parser, run
from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.common.metrics import compute_metrics
from fer_hailo.common.results import Row, add_rows, row_of
from fer_hailo.common.runs import RUNS
from fer_hailo.deploy.bundle import INT8
from fer_hailo.training.data.dataset import Dataset, load_dataset

OURS = [RUNS / folder / INT8 for folder in ("released", "released_minimalistic")]


def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    dataset = load_dataset(Config.of(data=arguments.data), RUNS / "cache")
    contenders = [*(own(path, dataset.names) for path in arguments.model), *PEERS]
    test = dataset.part("test")
    chosen = spread(len(test.labels), arguments.limit)
    faces, labels = np.asarray(test.images)[chosen], np.asarray(test.labels)[chosen]
    scored = scores(contenders, faces, dataset.names)
    times = in_turns(list(scored), faces[:TIMED], dataset.names, arguments.rounds)
    rows = measured(scored, times, dataset, labels)
    print(
        f"{dataset.name}, test: {len(faces):,} images; one thread, one face at a time, {os.cpu_count()} cores"
    )
    print(_table(rows))
    if arguments.limit is None:
        add_rows(arguments.results, rows)
        print(f"rows in {arguments.results}")
    return 1 if len(scored) < len(contenders) else 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fer2013", help="FER2013: folder, zip or CSV [fer2013]")
    parser.add_argument(
        "--results",
        type=Path,
        default=RUNS / "results.csv",
        metavar="FILE",
        help=f"where rows go [{RUNS}/results.csv]",
    )
    parser.add_argument(
        "--model",
        nargs="+",
        type=Path,
        default=OURS,
        help="ours: INT8 TFLite files beside their manifest.json [the released]",
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of timing [5]")
    parser.add_argument("--limit", type=int, metavar="N", help="only N images, and no rows: a trial")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1 or (arguments.limit is not None and arguments.limit < 1):
        raise UserError("--rounds and --limit must be 1 or more")
    return arguments


def spread(count: int, limit: int | None) -> np.ndarray:
    """Places of at most `limit` of `count` images, evenly: they lie class by class."""
    return np.linspace(0, count - 1, min(count, limit or count)).round().astype(int)


def scores(
    contenders: list[Contender], faces: np.ndarray, labels: tuple[str, ...]
) -> dict[Contender, Answers]:
    """The answers of those that can be run here; why another cannot goes to standard error."""
    found = {}
    for contender in contenders:
        try:
            found[contender] = contender.ask(faces, labels)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
    return found


def in_turns(
    contenders: list[Contender], faces: np.ndarray, labels: tuple[str, ...], rounds: int
) -> np.ndarray:
    """Milliseconds, float (rounds, contenders): each is asked once a round."""
    return np.array(
        [[contender.ask(faces, labels).milliseconds for contender in contenders] for _ in range(rounds)]
    )


def measured(
    scored: dict[Contender, Answers], times: np.ndarray, dataset: Dataset, labels: np.ndarray
) -> list[Row]:
    """A row of each. labels: of the faces that were scored.

    All have one date: it tells which rows are of one run.
    """
    test, now = dataset.part("test"), time.strftime("%Y-%m-%dT%H:%M:%S")
    rows = []
    for (contender, answers), milliseconds in zip(scored.items(), times.T, strict=True):
        row = row_of(
            compute_metrics(
                answers.probabilities,
                labels,
                dataset.names,
                data=dataset.name,
                split="test",
                sha256=test.sha256(),
            ),
            run=contender.name,
            stage=contender.stage,
            latency_ms=float(np.median(milliseconds)),
            parameters=answers.parameters,
            input_size=contender.input_size,
            size_bytes=contender.size_bytes,
        )
        if REFERENCE in scored:
            ratio = float(np.median(milliseconds / times[:, list(scored).index(REFERENCE)]))
            row = compared(row, answers, scored[REFERENCE], labels, ratio)
        rows.append(replace(row, date=now))
    return rows


def compared(row: Row, answers: Answers, reference: Answers, labels: np.ndarray, ratio: float) -> Row:
    """The row, with what sets it apart from the reference on the same images."""
    right, before = (each.probabilities.argmax(axis=1) == labels for each in (answers, reference))
    gained, lost = int((right & ~before).sum()), int((before & ~right).sum())
    low, high = paired_interval(gained, lost, len(labels))
    return replace(
        row,
        reference=REFERENCE.name,
        difference=f"{(gained - lost) / len(labels):.6f}",
        difference_low=f"{low:.6f}",
        difference_high=f"{high:.6f}",
        time_ratio=f"{ratio:.3f}",
    )


def _table(rows: list[Row]) -> str:
    lines = [
        f"{'':<58}{'input':>6}{'parameters':>12}{'accuracy':>10}{'macro':>8}{'ms':>8}{'ratio':>8}   less fer"
    ]
    for row in rows:
        name = row.run if row.stage == "peer" else f"{row.run}, {row.stage}"
        numbers = f"{float(row.accuracy):>10.2%}{float(row.macro_recall):>8.2%}{float(row.latency_ms):>8.2f}"
        lines.append(f"{name:<58}{row.input_size:>6}{row.parameters:>12,}{numbers}{_less(row)}")
    return "\n".join(lines)


def _less(row: Row) -> str:
    if not row.reference:
        return ""
    less, low, high = (
        100 * float(value) for value in (row.difference, row.difference_low, row.difference_high)
    )
    return f"{float(row.time_ratio):>8.2f}   {less:+.2f} [{low:+.2f}, {high:+.2f}]"


if __name__ == "__main__":
    sys.exit(run(main))
