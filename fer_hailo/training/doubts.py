"""Images whose labels models doubt that have not learnt them: confident learning (Northcutt et al. 2021), by
cleanlab, as a list and as contact sheets for a person to look at.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_hailo.common.calls import install
from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import write_csv
from fer_hailo.common.metrics import softmax
from fer_hailo.deploy.home import Home, Use, resolve
from fer_hailo.deploy.scoring import logits_of
from fer_hailo.training.crossfit import unseen
from fer_hailo.training.data.cache import Pictures
from fer_hailo.training.data.clean import duplicate_groups
from fer_hailo.training.data.dataset import Dataset, load_dataset
from fer_hailo.training.data.drop import digest_names, named_images
from fer_hailo.training.data.pictures import read_pictures
from fer_hailo.training.data.rows import Rows
from fer_hailo.training.ensemble import members
from fer_hailo.training.evaluate.plots import plot_grid
from fer_hailo.training.evaluate.score import scorer_of
from fer_hailo.training.models.build import load_model

LIST, SHEET = "doubts.csv", "doubts_{:02d}.png"
COLUMNS = ["rank", "name", "digest", "side", "label", "suggested", "score", "copies"]
WIDTH, PAGE = 10, 60  # images in a row of a sheet, and on it


@dataclass(frozen=True)
class Judged:
    """Images that were judged, by their place among all: index int64 (N,), ascending; labels int64 (N,);
    probabilities float64 (N, C), the mean of the models that may judge an image; held: bool (N,), of
    validation.
    """

    index: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    held: np.ndarray


def settings_of(runs: list[str], overrides: dict) -> Config:
    """The configuration by which the data of such runs are read: the first one's, of no fold.

    overrides: {"data": PATH}, where they lie elsewhere. Raises UserError where that is no run.
    """
    home = resolve(runs[0], Use.LEARN, overrides)
    return home.config.change(fold="", drop=home.own.data.drop if home.own else "")


def write_doubts(runs: list[str], overrides: dict, cache: Path, folder: Path) -> str:
    """Write doubts.csv, a line for each doubted image, and sheets of them, into `folder`. Returns what is to
    be said.

    Raises UserError where the list is there already, or as `unseen` does.
    """
    _check_cleanlab()
    if (folder / LIST).exists():
        raise UserError(
            f"{folder / LIST} is there, and may hold what somebody has confirmed: move it away, or choose "
            "another --out"
        )
    homes, config = members(runs, overrides), settings_of(runs, overrides)
    dataset, pictures = load_dataset(config, cache), read_pictures(config, cache)
    judged = _judge(homes, unseen(homes, config, dataset, cache), dataset, pictures)
    place, scores = rank_doubts(judged.labels, judged.probabilities)
    groups = duplicate_groups(pictures)
    if config.data.drop:  # validation still has what somebody has confirmed of it
        place = place[~named_images(config.data.drop, pictures, groups)[judged.index[place]]]
    place, copies = _photographs(place, judged.labels, groups[judged.index])
    rows = _rows(place, copies, scores, judged, pictures, dataset.names)
    _sheets(folder, pictures.images[judged.index[place]], rows, pictures.name)
    write_csv(folder / LIST, COLUMNS, rows)
    return _text(rows, judged, dataset, folder)


def rank_doubts(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which labels confident learning takes for wrong, the most doubtful first: int64 (M,); and the score of
    every label, the probability of it, float64 (N,).

    labels: int64 (N,); probabilities: float64 (N, C), by models that have not learnt these labels.
    """
    import warnings

    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    with warnings.catch_warnings():
        # Of a class with a handful of images
        warnings.filterwarnings("ignore", "May not flag all", UserWarning)
        place = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    return np.asarray(place, np.int64), get_label_quality_scores(labels, probabilities)


def _check_cleanlab() -> None:
    try:
        import cleanlab  # noqa: F401
    except ImportError:
        raise UserError(f"doubted labels are found by cleanlab: {install('labels')}") from None


def _judge(homes: list[Home], places: list[np.ndarray], dataset: Dataset, pictures: Pictures) -> Judged:
    """places: the images that each model may judge, as `unseen` gives them."""
    size = len(pictures.ids)
    total, count = np.zeros((size, len(dataset.names))), np.zeros(size, np.int64)
    labels = np.zeros(size, np.int64)
    for part in (dataset.train, dataset.val):
        labels[part.images.index] = part.labels
    for home, place in zip(homes, places, strict=True):
        total[place] += _probabilities(home, Rows(pictures.images, place), dataset.names)
        count[place] += 1
    index = np.flatnonzero(count)
    held = np.isin(index, dataset.val.images.index)
    return Judged(index, labels[index], total[index] / count[index, None], held)


def _probabilities(home: Home, images: Rows, names: tuple[str, ...]) -> np.ndarray:
    """A model's answers on images as they are: float64 (N, C)."""
    scorer = scorer_of(load_model(home.model), names, home.config.preprocess)
    what = f"{home.name} on {len(images):,} images"
    return softmax(logits_of(scorer.logits, images, len(names), what))


def _photographs(place: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of copies under one label the most doubtful alone, and how many there are: both int64 (M,).

    place: as `rank_doubts` gives it. groups: int64 (N,), equal for copies.
    """
    photographs = groups * (int(labels.max(initial=0)) + 1) + labels
    _, photograph, count = np.unique(photographs, return_inverse=True, return_counts=True)
    first = np.sort(np.unique(photograph[place], return_index=True)[1])
    return place[first], count[photograph[place[first]]]


def _rows(
    place: np.ndarray, copies: np.ndarray, scores: np.ndarray, judged: Judged, pictures: Pictures,
    names: tuple[str, ...],
) -> list[dict]:  # fmt: skip
    chosen = judged.index[place]
    digests = digest_names(pictures.images[chosen])
    return [
        {
            "rank": rank,
            "name": pictures.ids[chosen[rank - 1]],
            "digest": digests[rank - 1],
            "side": "val" if judged.held[i] else "train",
            "label": names[judged.labels[i]],
            "suggested": names[judged.probabilities[i].argmax()],
            "score": f"{scores[i]:.4f}",
            "copies": copies[rank - 1],
        }
        for rank, i in enumerate(place, 1)
    ]


def _sheets(folder: Path, images: np.ndarray, rows: list[dict], name: str) -> None:
    for start in range(0, len(rows), PAGE):
        part = rows[start : start + PAGE]
        titles = [f"{row['rank']}  {row['label']}\n{row['suggested']}?" for row in part]
        heading = f"{name}: rank and label above, what the models say below"
        path = folder / SHEET.format(start // PAGE + 1)
        plot_grid(path, images[start : start + PAGE], titles, heading, WIDTH)


def _text(rows: list[dict], judged: Judged, dataset: Dataset, folder: Path) -> str:
    held = int(judged.held.sum())
    sides = f"{len(judged.index) - held:,} images of train, {held:,} of validation"
    lines = [f"labels: {sides} were judged by models that have not learnt them; {len(rows):,} are doubted"]
    if held == len(judged.index):
        lines.append(
            "  only validation was judged, as the labels of train have been learnt: for those, name runs "
            "of all folds (--fold i/K)"
        )
    others = f" and those of {', '.join(dataset.extra_names)}" if dataset.extra_names else ""
    lines.append(f"  test images{others} were not judged")
    pages = -(-len(rows) // PAGE)
    lines.append(
        f"written: {folder / LIST}" + (f", {pages} sheets {folder / SHEET.format(1)}" if pages else "")
    )
    return "\n".join(lines)
