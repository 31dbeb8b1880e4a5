"""A HEF's predictions on the device against those of the SDK machine's INT8 emulation, image by image."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

import numpy as np

from fer_hailo.common.calls import tool
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import write_csv, write_json
from fer_hailo.common.metrics import Z95, Splits, softmax
from fer_hailo.common.report import table
from fer_hailo.deploy.answers import ANSWERS, Answers, read_answers
from fer_hailo.deploy.bundle import EVALUATION, Bundle, EvalSet, file_sha256
from fer_hailo.deploy.steps import RECORD, StepScores, read_steps

SAME = 0.99  # part of the images with the same prediction below which something else than rounding differs
SHOWN = 10
COLUMNS = ["index", "split", "truth", "board", "board_probability", "sdk", "sdk_probability"]
CHECK = 'see "When the numbers differ" in docs/troubleshooting.md'
METHOD = "intervals: 95 %, of the difference of paired proportions, adjusted Wald (Bonett and Price 2012)"


@dataclass(frozen=True)
class Emulation:
    """What the SDK machine recorded. metrics: of har-int8. answers: None where they were not kept."""

    record: Path
    metrics: Splits
    answers: Answers | None


@dataclass(frozen=True)
class Numbers:
    """Of one split. board, sdk: accuracies. count: images that the SDK has seen.

    Where the SDK's predictions are known, all is of the common images, and the rest is there, else None.
    agreement: part with the same prediction. difference: of the accuracies, board less SDK. interval: of it.
    gained, lost: images that the board alone gets right, the SDK alone.
    """

    board: float
    sdk: float
    count: int
    agreement: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    gained: int | None = None
    lost: int | None = None

    def sentence(self, split: str) -> str:
        both = f"{split:<5} board {self.board:.2%}   SDK {self.sdk:.2%}"
        if self.agreement is None or self.difference is None or self.interval is None:
            return f"{both} (the SDK's of {self.count:,} images)"
        low, high = (100 * value for value in self.interval)
        return (
            f"{both}   difference {100 * self.difference:+.2f} points [{low:+.2f}, {high:+.2f}]   "
            f"same prediction {self.agreement:.2%} of {self.count:,}"
        )


@dataclass(frozen=True)
class Comparison:
    """splits: by split. disagreements: rows of COLUMNS, None where the SDK's predictions are not known."""

    record: Path
    splits: dict[str, Numbers]
    disagreements: list[dict] | None

    def write(self, folder: Path) -> None:
        """comparison.json, and disagreements.csv where the predictions are known."""
        splits = {split: asdict(numbers) for split, numbers in self.splits.items()}
        write_json(folder / "comparison.json", {"record": str(self.record), "splits": splits})
        if self.disagreements is not None:
            write_csv(folder / "disagreements.csv", COLUMNS, self.disagreements)

    def text(self, folder: Path) -> str:
        """For people. folder: that was written to."""
        lines = [
            f"against the SDK's INT8 emulation ({self.record})",
            *(n.sentence(split) for split, n in self.splits.items()),
        ]
        if self.disagreements is not None:
            lines += [
                METHOD,
                f"{len(self.disagreements):,} images with another prediction, see "
                f"{folder / 'disagreements.csv'}",
            ]
        if self.disagreements:
            rows = [COLUMNS, *([str(row[name]) for name in COLUMNS] for row in self.disagreements[:SHOWN])]
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            lines += [
                "  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
                for row in rows
            ]
        return "\n".join(lines)

    def html(self) -> str:
        lines = "".join(f"<p>{escape(numbers.sentence(split))}</p>" for split, numbers in self.splits.items())
        warnings = "".join(f"<p class=warn>{escape(warning)}</p>" for warning in self.warnings())
        if self.disagreements is None:
            return lines + warnings
        rows = [[row[name] for name in COLUMNS] for row in self.disagreements]
        return f"{lines}<p class=note>{escape(METHOD)}</p>{warnings}{table(COLUMNS, rows)}"

    def warnings(self) -> list[str]:
        return [
            f"{split}: board and emulation give the same prediction on only {numbers.agreement:.2%} of the "
            f"images: {CHECK}"
            for split, numbers in self.splits.items()
            if numbers.agreement is not None and numbers.agreement < SAME
        ]


def paired_interval(gained: int, lost: int, count: int) -> tuple[float, float]:
    """95 % interval of the difference of two classifiers' accuracies on the same images, as fractions.

    gained: images that the first alone gets right; lost: that the second alone does; count: all of them.
    Source: the adjusted Wald interval of Bonett and Price 2012, J. Educ. Behav. Stat. 37, 479-488; like
    McNemar's test (1947) it looks at the images on which they differ.
    """
    first, second = (gained + 1) / (count + 2), (lost + 1) / (count + 2)
    half = Z95 * math.sqrt((first + second - (first - second) ** 2) / (count + 2))
    return first - second - half, first - second + half


def find_emulation(hef: Path, bundle: Bundle) -> tuple[Emulation | None, str]:
    """The record of the compilation that made a HEF, beside it or in a folder of the bundle, and a note on
    what is missing of it.
    """
    digest = file_sha256(hef)
    places = [hef.parent / RECORD, *sorted(bundle.folder.glob(f"*/{RECORD}"))]
    for path in places:
        scores = _scores(path, digest)
        if scores is not None:
            answers, note = _answers(path.parent / ANSWERS, scores, bundle)
            return Emulation(path, scores.metrics["har-int8"], answers), note
    known = [str(path) for path in places if path.is_file()]
    if known:
        return (
            None,
            f"{hef} is not the file that {known[0]} records: no comparison with the SDK's emulation; copy "
            "the folder as a whole",
        )
    return (
        None,
        f"no {RECORD} of the SDK machine: no comparison with its emulation; copy the folder that {hef.name} "
        "was compiled into",
    )


def compare(
    logits: np.ndarray,
    index: np.ndarray,
    pictures: EvalSet,
    labels: tuple[str, ...],
    metrics: Splits,
    emulation: Emulation,
) -> Comparison:
    """Hold the board's logits (N, C), of the images at the places `index` of the evaluation set, against the
    emulation.

    Without the SDK's predictions the accuracies are of the images that each has seen.
    """
    splits: dict[str, Numbers] = {}
    disagreements: list[dict] = []
    for split in metrics:
        if split not in emulation.metrics:
            continue
        if emulation.answers is None:
            seen = emulation.metrics[split]
            splits[split] = Numbers(metrics[split].accuracy, seen.accuracy, seen.count)
            continue
        _, own, theirs = np.intersect1d(
            index[pictures.split == split], emulation.answers.index, return_indices=True
        )
        own = np.flatnonzero(pictures.split == split)[own]
        board, sdk, truth = (
            softmax(logits[own]),
            softmax(emulation.answers.logits[theirs]),
            pictures.labels[own],
        )
        ours, other = board.argmax(axis=1), sdk.argmax(axis=1)
        gained, lost = (
            int(side.sum())
            for side in ((ours == truth) & (other != truth), (ours != truth) & (other == truth))
        )
        splits[split] = Numbers(
            board=float((ours == truth).mean()),
            sdk=float((other == truth).mean()),
            count=len(own),
            agreement=float((ours == other).mean()),
            difference=(gained - lost) / len(own),
            interval=paired_interval(gained, lost, len(own)),
            gained=gained,
            lost=lost,
        )
        for at in np.flatnonzero(ours != other):
            names = {"truth": labels[truth[at]], "board": labels[ours[at]], "sdk": labels[other[at]]}
            surety = {
                "board_probability": f"{board[at, ours[at]]:.4f}",
                "sdk_probability": f"{sdk[at, other[at]]:.4f}",
            }
            disagreements.append({"index": int(index[own[at]]), "split": split, **names, **surety})
    return Comparison(emulation.record, splits, None if emulation.answers is None else disagreements)


def _scores(path: Path, digest: str) -> StepScores | None:
    """The scores of har-int8 that a record holds, where it is of the compilation that made this HEF."""
    steps = read_steps(path)
    if "optimize" not in steps or "compile" not in steps or steps["compile"].sha256 != digest:
        return None
    scores = steps["optimize"].scores
    return scores if scores and scores.metrics.get("har-int8") else None


def _answers(path: Path, scores: StepScores, bundle: Bundle) -> tuple[Answers | None, str]:
    """The emulation's predictions, or why they cannot be used."""
    if not path.is_file():
        return (
            None,
            f"no {path}: the comparison is of accuracies only; {tool('compile')} makes the file, copy its "
            "folder as a whole",
        )
    if file_sha256(path) != scores.answers:
        raise UserError(
            f"{path} is not the file that {path.parent / RECORD} records (its SHA-256 differs): copy the "
            "folder again"
        )
    answers = read_answers(path)
    if answers.evaluation != bundle.manifest.files[EVALUATION].sha256:
        raise UserError(
            f"{path} is about other images than those of {bundle.folder}: copy the bundle that was compiled"
        )
    return answers, ""
