"""Score a .tflite or .hef on the images of its deploy bundle.

Numpy and the model's runtime are enough, as on the board.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fer_hailo.board.benchmark import call_times
from fer_hailo.board.comparison import Comparison, compare, find_emulation
from fer_hailo.common.calls import tool
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import write_json
from fer_hailo.common.metrics import Splits, reliability, softmax
from fer_hailo.common.report import confusion_figure, metrics_table, reliability_figure, table, write_page
from fer_hailo.common.results import add_rows, git_commit, row_of
from fer_hailo.deploy.bundle import Bundle, EvalSet, load_bundle
from fer_hailo.deploy.home import Home, Stated, is_bundle, resolve
from fer_hailo.deploy.scoring import SPLITS, logits_of, score
from fer_hailo.predict.predictor import Predictor, load

LATENCY_S = 0.5
HEADINGS = {"val": "Validation", "test": "Test"}


@dataclass(frozen=True)
class Evaluation:
    """comparison: with the SDK's emulation, None for a .tflite. note: why it says less than it could."""

    metrics: Splits
    comparison: Comparison | None
    note: str
    out: Path


def bundle_for(home: Home) -> Path | None:
    """The bundle whose images a converted model is scored on: that of --data, else the one that it lies in.

    None: a data set is meant. Raises UserError where neither is there, or a flag does not go with a bundle.
    """
    if not home.format.converted:
        return None
    data = home.overrides.get("data")
    if data:
        folder = Path(data)
    elif home.manifest:
        folder = home.manifest.parent
    else:
        raise UserError(f"{home.model} lies in no deploy bundle: name one, or a data set, with --data")
    if not folder.exists():
        raise UserError(f"no bundle or data set at {folder}")
    if not is_bundle(folder):
        return None
    fixed = ", ".join(f"--{name.replace('_', '-')}" for name in home.overrides if name != "data")
    if fixed:
        raise UserError(f"{fixed}: does not go with a deploy bundle, whose images are prepared already")
    return folder


def evaluate_deployed(
    home: Home, folder: Path, split: str | None, out: Path | None, explain: bool = False
) -> Evaluation:
    """Score a model on a bundle's images of one split, by default of both; write metrics, report and rows of
    results.csv.

    out: by default a folder in the bundle, named after the stage. explain: also write explained_SPLIT.png,
    see `contact_sheet`. A .hef is held against what the SDK machine's INT8 emulation answered. Raises
    UserError where model and bundle do not belong together.
    """
    if out and out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: --out takes a folder")
    bundle, model = load_bundle(folder), home.model
    chosen, pictures = side_of(bundle, split)
    with load(as_in(bundle, home)) as predictor:
        logits = logits_of(predictor.logits, pictures.images, len(bundle.labels), f"scoring {model.name}")
        latency_ms = 1000 * float(
            np.median(call_times(lambda: predictor.predict(pictures.images[:1]), LATENCY_S))
        )
        stage = predictor.stage
        out = out or folder / f"evaluation_{stage}"
        if explain:
            _explain(out, predictor, pictures, softmax(logits))
    manifest, reference = bundle.manifest, bundle.manifest.metrics["keras"]
    metrics = score(
        logits, pictures, bundle.labels, data=manifest.data.name, digests=manifest.digests, stage=stage
    )
    comparison: Comparison | None = None
    note = ""
    if stage == "hef":
        emulation, note = find_emulation(model, bundle)
        if emulation:
            comparison = compare(logits, chosen, pictures, bundle.labels, metrics, emulation)
    _write(out, model, bundle, pictures, logits, metrics, comparison, note)
    commit = git_commit() or manifest.commit  # a board may have no checkout
    rows = [
        row_of(
            scores,
            run=bundle.name,
            stage=stage,
            seed=manifest.seed,
            size_bytes=model.stat().st_size,
            latency_ms=latency_ms,
            reference=reference[name],
            selected_by=manifest.selected_by,
        )
        for name, scores in metrics.items()
    ]
    rows = [replace(row, commit=commit) for row in rows]
    add_rows(resolve(bundle.folder).results, rows)  # the model may lie elsewhere
    return Evaluation(metrics, comparison, note, out)


def _explain(out: Path, predictor: Predictor, pictures: EvalSet, probabilities: np.ndarray) -> None:
    """explained_SPLIT.png. It needs OpenCV, which scoring alone does not."""
    from fer_hailo.board.images import write_picture
    from fer_hailo.explain.contact import contact_sheet

    for split in np.unique(pictures.split):
        side = pictures.split == split
        own = pictures.take(side)
        shown = contact_sheet(predictor, own.images.__getitem__, own.labels, probabilities[side])
        write_picture(out / f"explained_{split}.png", shown)


def side_of(bundle: Bundle, split: str | None) -> tuple[np.ndarray, EvalSet]:
    """Places in the bundle's evaluation set, int (N,), and images of one split; None: of all to score.

    Raises UserError where it holds none.
    """
    whole = bundle.evaluation()
    chosen = np.flatnonzero(whole.split == split if split else np.isin(whole.split, SPLITS))
    if not len(chosen):
        raise UserError(
            f"{bundle.folder} holds images of {' and '.join(sorted(set(whole.split)))}, none of "
            f"{split}{_why(bundle)}"
        )
    return chosen, whole.take(chosen)


def _why(bundle: Bundle) -> str:
    """Why a bundle has no validation side, where that is meant."""
    name = bundle.manifest.selected_by
    return (
        f": it was trained on all of train, and that of {name}, whose settings it repeats, lies in that "
        "run's bundle"
        if name
        else ""
    )


def as_in(bundle: Bundle, home: Home) -> Home:
    """The model with the bundle's labels and preprocessing, so that it may lie anywhere.

    Raises UserError where the manifest that lies with the model tells others.
    """
    path = home.model
    if home.manifest and home.labels != bundle.labels:
        theirs, ours = ", ".join(home.labels), ", ".join(bundle.labels)
        raise UserError(f"{path} tells apart {theirs}; {bundle.folder} holds images of {ours}")
    if home.manifest and home.spec != bundle.spec:
        taken, made = home.spec.to_dict(), bundle.spec.to_dict()
        others = ", ".join(
            f"{key} {value}, not {made[key]}" for key, value in taken.items() if value != made[key]
        )
        raise UserError(f"{path} takes faces prepared otherwise than those in {bundle.folder}: {others}")
    return replace(home, given=Stated(bundle.labels, bundle.spec))


def _write(
    out: Path, model: Path, bundle: Bundle, pictures: EvalSet, logits: np.ndarray, metrics: Splits,
    comparison: Comparison | None,
    note: str,
) -> None:  # fmt: skip
    """metrics_SPLIT.json, report.html, and of a comparison comparison.json and disagreements.csv."""
    sections = []
    for split in reversed(list(metrics)):  # test first
        side = pictures.split == split
        bins = reliability(softmax(logits[side]), pictures.labels[side])
        write_json(out / f"metrics_{split}.json", metrics[split].to_dict())
        sections.append((HEADINGS[split], metrics_table(metrics[split]) + confusion_figure(metrics[split])))
        sections.append((f"{HEADINGS[split]}: confidence", reliability_figure(bins)))
    if comparison:
        comparison.write(out)
        sections.append(("Against the SDK's INT8 emulation", comparison.html()))
    elif note:
        sections.append(("Against the SDK's INT8 emulation", table(("not compared",), [(note,)])))
    title = f"{model.name} on {bundle.manifest.data.name}"
    write_page(
        out / "report.html", title, f"Bundle {bundle.name}, evaluated by {tool('evaluate')}.", sections
    )


def tell(evaluation: Evaluation, json_only: bool) -> None:
    """What is worth a look besides the metrics: the comparison on standard output (standard error beside
    JSON), warnings.
    """
    stream = sys.stderr if json_only else sys.stdout
    if evaluation.comparison:
        print(evaluation.comparison.text(evaluation.out), file=stream)
        for warning in evaluation.comparison.warnings():
            print(f"warning: {warning}", file=sys.stderr)
    if evaluation.note:
        print(f"note: {evaluation.note}", file=sys.stderr)
