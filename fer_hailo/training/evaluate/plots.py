"""Matplotlib images of a run: confusion matrix, history, the worst mistakes, a grid of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_hailo.common.files import written
from fer_hailo.common.metrics import Bin, Metrics
from fer_hailo.common.palette import GREY, LOOKS, look
from fer_hailo.training.data.rows import Images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of matplotlib. White paper, so that the dark text can be read on a dark page too
STYLE: dict[Any, Any] = {
    "figure.facecolor": "white", "axes.facecolor": "white", "axes.edgecolor": GREY, "axes.grid": True,
    "axes.axisbelow": True, "grid.color": GREY, "grid.alpha": 0.25, "axes.spines.top": False,
    "axes.spines.right": False,
}  # fmt: skip
PITCH = 1.25  # from row to row of a grid, in widths of an image


def plot_confusion(path: Path, metrics: Metrics) -> None:
    """The confusion matrix, rows (truth) normalised."""
    from sklearn.metrics import ConfusionMatrixDisplay

    matrix = np.array(metrics.confusion_matrix, float)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure, axes = new_figure(6, 5.4)
    drawn = ConfusionMatrixDisplay(shares, display_labels=metrics.labels).plot(
        ax=axes, cmap="Blues", values_format=".0%", colorbar=False
    )
    for share, text in zip(shares.flat, drawn.text_.flat, strict=True):
        text.set_color("white" if share > 0.6 else "black")  # its own choice is faint in the middle
    axes.grid(False)
    axes.set_title(f"{metrics.data}, {metrics.split}: {metrics.accuracy:.1%} of {metrics.count:,}")
    save_figure(figure, path)


def plot_reliability(path: Path, bins: Sequence[Bin], title: str) -> None:
    """Accuracy against confidence (`metrics.reliability`), above how many predictions each bin holds."""
    figure, (axis, below) = new_figure(5, 5.4, 2, 1, height_ratios=(4, 1), sharex=True)
    filled = [b for b in bins if b.count]
    axis.plot([b.confidence for b in filled], [b.accuracy for b in filled])
    axis.plot([0, 1], [0, 1], color=GREY, linestyle=":", marker="")
    axis.set(title=title, ylabel="right", xlim=(0, 1), ylim=(0, 1))
    below.bar(
        [b.low for b in bins],
        [b.count for b in bins],
        bins[0].high - bins[0].low,
        align="edge",
        edgecolor="white",
    )
    below.set(xlabel="probability of the prediction", ylabel="predictions")
    save_figure(figure, path)


def plot_history(path: Path, history: Sequence[dict]) -> None:
    """Accuracy and loss over the epochs of both stages; a dotted line where stage 2 begins."""
    figure, axes = new_figure(10, 4, columns=2)
    epochs = np.arange(1, len(history) + 1)
    for axis, name in zip(axes, ("accuracy", "loss"), strict=True):
        axis.plot(epochs, [row[name] for row in history], marker="", label="training (mixed and augmented)")
        if f"val_{name}" in history[0]:
            axis.plot(epochs, [row[f"val_{name}"] for row in history], marker="", label="validation")
        starts = [i for i in range(1, len(history)) if history[i]["stage"] != history[i - 1]["stage"]]
        for start in starts:
            axis.axvline(start + 0.5, linestyle=":", color=GREY)
        axis.set(xlabel="epoch", ylabel=name)
        axis.legend()
    save_figure(figure, path)


def plot_mistakes(
    path: Path, images: Images, labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str], data: str
) -> None:
    """The mistakes of which the model was surest: truth, prediction and its probability over each image."""
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")][:40]
    titles = [
        f"{names[labels[i]]}\n{names[predicted[i]]} {probabilities[i, predicted[i]]:.0%}" for i in worst
    ]
    plot_grid(path, images[worst], titles, f"{data}: truth above, prediction below", columns=8)


def plot_grid(path: Path, images: np.ndarray, titles: Sequence[str], heading: str, columns: int) -> None:
    """Images (uint8, grey or RGB) in rows of `columns`, each with a title."""
    rows = max(1, -(-len(images) // columns))
    figure, axis = new_figure(columns * 1.4, rows * 1.75 + 0.4)
    for i, (image, title) in enumerate(zip(images, titles, strict=True)):
        x, y = i % columns, -PITCH * (i // columns)
        axis.imshow(image, cmap="gray", vmin=0, vmax=255, extent=(x, x + 0.92, y - 0.92, y))
        axis.text(x + 0.46, y + 0.03, title, ha="center", va="bottom", fontsize=7)
    # One axis for all: forty of them take a second to lay out.
    axis.set(xlim=(-0.04, columns), ylim=(-PITCH * rows + 0.3, 0.3), aspect="equal")
    axis.axis("off")
    axis.set_title(heading, fontsize=9)
    save_figure(figure, path)


def plot_corruptions(path: Path, curves: Mapping[str, Mapping[str, Sequence[float]]], title: str) -> None:
    """A small plot for each corruption: accuracy (fractions) of each model at strength 0, 1, 2, ...

    curves: {corruption: {model: accuracies}}, the same models in each.
    """
    columns = 4
    rows = -(-len(curves) // columns)
    figure, axes = new_figure(10, 2.2 * rows + 1, rows, columns, sharex=True, sharey=True, squeeze=False)
    for axis, (name, models) in zip(axes.flat, curves.items(), strict=False):
        for model, values in models.items():
            axis.plot(range(len(values)), [100 * value for value in values], label=model)
        axis.set_title(name, fontsize=9)
    for axis in axes.flat[len(curves) :]:
        axis.axis("off")
    axes[0, 0].set(xticks=range(len(values)))
    for axis in axes[-1]:
        axis.set_xlabel("strength (0: clean)", fontsize=8)
    figure.supylabel("accuracy, %", fontsize=9)
    figure.suptitle(title, fontsize=10)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", fontsize=8)
    save_figure(figure, path)


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, Any]:
    """A matplotlib figure of so many inches, and its axes as `Figure.subplots(rows, columns, **options)`
    gives them.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.rcsetup import cycler

    colours, dashes, markers = zip(*map(look, range(LOOKS)), strict=True)
    lines = cycler(color=colours, linestyle=[(0, dash) if dash else "-" for dash in dashes], marker=markers)
    lines += cycler(markersize=[4] * LOOKS)  # STYLE does not reach what is plotted later
    with rc_context(STYLE | {"axes.prop_cycle": lines}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)  # no pyplot: no window system, no global state
        return figure, figure.subplots(rows, columns, **options)


def save_figure(figure: Figure, path: Path, dpi: int = 110) -> None:
    """Write a figure in the format of the suffix, atomically. dpi: pixels of an inch."""
    with written(path) as beside:
        figure.savefig(beside, dpi=dpi)
