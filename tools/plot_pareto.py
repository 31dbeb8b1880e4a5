"""Draw docs/pareto.png from docs/results.csv: accuracy against input size, and against the milliseconds of
one CPU thread.

    python tools/plot_pareto.py

Left: validation accuracy of the runs called size_... (see docs/experiments.md), with 95 % intervals. Right:
test accuracy of what the newest run of bench/peers.py measured, ours INT8 throughout, and the Pareto front:
those that no other beats in both.
"""

import argparse
import sys
from pathlib import Path

from matplotlib.ticker import LogLocator, NullLocator

sys.path.insert(0, str(Path(__file__).parents[1]))

from fer_hailo.common.cli import Parser, run
from fer_hailo.common.palette import COLOURS, GREY
from fer_hailo.common.results import Row, read_rows
from fer_hailo.training.evaluate.plots import new_figure, save_figure
from tools.results_table import model_name, of_one_run

ROOT = Path(__file__).parents[1]
SIZES = "size_"


def main(argv: list[str] | None = None) -> None:
    Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args(argv)
    rows = read_rows(ROOT / "docs" / "results.csv")
    figure, (left, right) = new_figure(11, 5.4, columns=2)
    _sizes(left, rows)
    _speeds(right, rows)
    save_figure(figure, ROOT / "docs" / "pareto.png")


def front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (cost, gain): those for which no other costs at most as much and gains more, by rising cost."""
    best, kept = float("-inf"), []
    for cost, gain in sorted(points, key=lambda point: (point[0], -point[1])):
        if gain > best:
            best = gain
            kept.append((cost, gain))
    return kept


def _sizes(axis, rows: list[Row]) -> None:
    chosen = [
        row for row in rows if row.stage == "keras" and row.split == "val" and row.run.startswith(SIZES)
    ]
    latest = {int(row.input_size): row for row in chosen}
    sizes = sorted(latest)
    values, low, high = (
        [100 * float(getattr(latest[size], name)) for size in sizes]
        for name in ("accuracy", "accuracy_low", "accuracy_high")
    )
    spread = [[abs(value - end) for value, end in zip(values, ends, strict=True)] for ends in (low, high)]
    axis.errorbar(sizes, values, yerr=spread, capsize=3)
    axis.set(
        title="MobileNetV3Small, validation", xlabel="input size, pixels", ylabel="accuracy, %", xticks=sizes
    )


def _speeds(axis, rows: list[Row]) -> None:
    rows = {(row.run, row.stage): row for row in of_one_run(rows)}
    points = {key: (float(row.latency_ms), 100 * float(row.accuracy)) for key, row in rows.items()}
    for number, ((name, stage), (x, y)) in enumerate(
        sorted(points.items(), key=lambda point: -point[1][1]), 1
    ):
        peer = stage == "peer"
        words = f"{number}  {model_name(name, stage)}, {rows[name, stage].input_size} px"
        axis.plot(x, y, "s" if peer else "o", color=COLOURS[peer], markersize=6, label=words)
        axis.annotate(number, (x, y), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=8)
    axis.plot(
        *zip(*front(list(points.values())), strict=True),
        color=GREY,
        marker="",
        linestyle=":",
        drawstyle="steps-post",
        zorder=0,
    )
    axis.set(
        title="PublicTest, one face, one CPU thread",
        xlabel="milliseconds",
        ylabel="accuracy, %",
        xscale="log",
    )
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")  # 0.5, not 5 x 10^-1
    axis.xaxis.set_minor_locator(NullLocator())
    axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.14))


if __name__ == "__main__":
    sys.exit(run(main))
