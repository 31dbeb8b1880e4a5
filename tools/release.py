"""Make a released model of a converted run: the models, their manifest, all scores, a model card.

    python tools/release.py RUN

Writes fer2013_keras_hailo/released, or released_minimalistic for the ReLU twin, anew.
"""

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fer_hailo.board.comparison import paired_interval
from fer_hailo.common.cli import Parser, run
from fer_hailo.common.confidence import RIGHT, Confidence
from fer_hailo.common.config import Config, load_config, save_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_csv, write_json, write_text
from fer_hailo.common.metrics import (
    Metrics,
    Splits,
    expected_calibration_error,
    reliability,
    scores_to_dict,
    wilson,
)
from fer_hailo.common.runs import CONFIG, DONE, DROPPED, ENVIRONMENT, LABELS, MODEL, RUNS
from fer_hailo.deploy.bundle import FLOAT, INT8, MANIFEST, Bundle, EvalSet, load_bundle
from fer_hailo.deploy.manifest import Manifest
from fer_hailo.deploy.scoring import logits_of
from fer_hailo.deploy.selection import Selection, read_selection, write_selection
from fer_hailo.predict.litert import LiteRT
from fer_hailo.training.convert.facts import CONVERSION, Scored, read_candidates
from fer_hailo.training.convert.trained_ranges import RANGES
from fer_hailo.training.evaluate.plots import plot_confusion, plot_reliability
from tools.robustness_table import losses

CARD, SUMS = "MODEL_CARD.md", "SHA256SUMS"
CORRUPTED = Path(__file__).parents[1] / "docs" / "robustness.csv"
PLACES = (
    "data",
    "weights",
    "votes",
    "targets",
    "teacher",
    "selected_by",
    "quantise",
    "drop",
)  # fields that name files
MODELS = (MODEL, FLOAT, INT8)
LARGEST = 24 * 2**20  # of all that is released
STAGES = {"keras": "Keras, float32", "tflite": "TFLite, float32", "tflite-int8": "TFLite, INT8"}


@dataclass(frozen=True)
class Paired:
    """INT8 less float32 on the same images: difference of the accuracies and its interval, fractions; how
    many images.
    """

    difference: float
    interval: tuple[float, float]
    count: int


@dataclass(frozen=True)
class Sureness:
    """Calibration error before and after the temperature; the part of the predictions that are sure, and of
    these that are right.
    """

    ece_before: float
    ece_after: float
    sure: float
    right: float | None


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "run", metavar="RUN", type=Path, help="a complete run, converted by convert_tflite.py"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help=f"[{RUNS}/released, or released_minimalistic]"
    )
    arguments = parser.parse_args(argv)
    print(f"written: {release(arguments.run, arguments.out)}")


def release(run: Path, out: Path | None = None) -> Path:
    """Assemble the folder beside its place, then put it there. Raises UserError for a run that is not
    complete.

    run: or a copy of a released folder, to release the same network as a later version converts it.
    """
    complete = MANIFEST if (run / MANIFEST).is_file() else DONE
    for name in (MODEL, CONFIG, ENVIRONMENT, LABELS, complete, "history.csv", CONVERSION):
        if not (run / name).is_file():
            raise UserError(f"{run} lacks {name}: name a complete run that was converted")
    bundle = load_bundle(run / "deploy")
    if not bundle.int8:
        raise UserError(
            f"{run / 'deploy'} has no {INT8}, which a release holds: some layers of this network have no "
            "INT8 kernel"
        )
    wanted = {"test"} if read_selection(run) else {"val", "test"}
    if bundle.manifest.confidence is None or any(
        set(splits) < wanted for splits in bundle.manifest.metrics.values()
    ):
        raise UserError(
            f"{run / 'deploy'} was made by an older version, or of data without a test side: convert again, "
            "on data with one"
        )
    out = out or RUNS / ("released_minimalistic" if "minimalistic" in bundle.manifest.arch else "released")
    _check_place(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        made = Path(scratch) / out.name
        made.mkdir()
        _fill(made, run, bundle)
        size = sum(path.stat().st_size for path in made.iterdir())
        if size > LARGEST:
            raise UserError(f"{size:,} bytes are more than a repository should hold ({LARGEST:,})")
        if out.exists():
            out.rename(Path(scratch) / "older")
        made.rename(out)
    return out


def _check_place(out: Path) -> None:
    """Raise UserError where something other than an older release would be lost."""
    if not out.exists():
        return
    summed = (out / SUMS).read_text(encoding="utf-8").split() if (out / SUMS).is_file() else []
    others = sorted(path.name for path in out.iterdir() if path.name not in (SUMS, *summed))
    if others or not summed:
        raise UserError(
            f"{out} holds {others[0] if others else 'nothing'}, which is no part of a release: move it away, "
            "or choose another --out"
        )


def _fill(folder: Path, run: Path, bundle: Bundle) -> None:
    ranges = [RANGES] if load_config(run / CONFIG).model.quantise else []
    left_out = [DROPPED] if (run / DROPPED).is_file() else []
    for name in (MODEL, "history.csv", LABELS, *ranges, *left_out):
        shutil.copy(run / name, folder)
    _without_places(folder, run)
    for name in (FLOAT, INT8):
        shutil.copy(run / "deploy" / name, folder)
    manifest, pictures = bundle.manifest, bundle.evaluation()
    confidence = manifest.confidence
    if manifest.selection:
        write_selection(folder, manifest.selection)
    paired = _paired(run / "deploy" / INT8, bundle, pictures)
    sure = _sureness(pictures, confidence)
    write_json(
        folder / "metrics.json",
        {**scores_to_dict(manifest.metrics), "int8_less_float": asdict(paired), "sure": asdict(sure)},
    )
    content = manifest.to_dict()
    kept = {
        key: content[key] for key in ("name", "arch", "seed", "data", "labels", "preprocess", "confidence")
    }
    kept |= {"parameters": manifest.network.parameters, "multiply_adds": manifest.network.multiply_adds}
    files = {
        name: {"sha256": _sha256(folder / name), "size": (folder / name).stat().st_size} for name in MODELS
    }
    write_json(folder / MANIFEST, kept | {"files": files})
    test = pictures.split == "test"
    plot_confusion(folder / "confusion_matrix_test.png", manifest.metrics["keras"]["test"])
    bins = reliability(confidence.probabilities(pictures.logits[test]), pictures.labels[test])
    plot_reliability(folder / "reliability_test.png", bins, f"{manifest.data.name}, test")
    write_text(folder / CARD, _card(folder, manifest, read_candidates(run / CONVERSION), paired, sure))
    sums = (f"{_sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir()))
    write_text(folder / SUMS, "".join(list(sums)))


def _without_places(folder: Path, run: Path) -> None:
    """Configuration and environment, without the paths of the machine that trained."""
    config = load_config(run / CONFIG)
    values = {name: config.value(name) for name in PLACES}
    short = {
        name: tuple(map(_short, value)) if isinstance(value, tuple) else _short(value)
        for name, value in values.items()
    }
    save_config(config.change(**short | {"data": "fer2013"}), folder / CONFIG)
    environment = json.loads((run / ENVIRONMENT).read_text(encoding="utf-8"))
    for record in (environment, *environment["resumed"]):
        record["command"] = [_short(word) for word in record["command"]]
    write_json(folder / ENVIRONMENT, environment)


def _short(path: str) -> str:
    return Path(path).name if Path(path).is_absolute() else path


def _paired(int8: Path, bundle: Bundle, pictures: EvalSet) -> Paired:
    """INT8 less float32 on all images that are scored."""
    network, count = LiteRT(int8), len(pictures.labels)
    answers = logits_of(
        lambda images: network.logits(images, bundle.spec),
        pictures.images,
        len(bundle.labels),
        "predictions in INT8",
    )
    right, before = (logits.argmax(axis=1) == pictures.labels for logits in (answers, pictures.logits))
    gained, lost = int((right & ~before).sum()), int((before & ~right).sum())
    return Paired((gained - lost) / count, paired_interval(gained, lost, count), count)


def _sureness(pictures: EvalSet, confidence: Confidence) -> Sureness:
    """On test."""
    test = pictures.split == "test"
    labels, logits = pictures.labels[test], pictures.logits[test]
    shares = confidence.probabilities(logits)
    sure = shares.max(axis=1) >= confidence.unsure_below
    right = shares.argmax(axis=1) == labels
    return Sureness(
        ece_before=expected_calibration_error(Confidence().probabilities(logits), labels),
        ece_after=expected_calibration_error(shares, labels),
        sure=float(sure.mean()),
        right=float(right[sure].mean()) if sure.any() else None,
    )


def _card(
    folder: Path, manifest: Manifest, candidates: tuple[Scored, ...], paired: Paired, sure: Sureness
) -> str:
    metrics, config, selection = manifest.metrics, load_config(folder / CONFIG), manifest.selection
    held = (
        selection.splits()
        if selection
        else {stage: {"val": scores["val"]} for stage, scores in metrics.items()}
    )
    whose = f"validation of {selection.name}" if selection else "validation"
    times = {entry.stage: f"{entry.latency_ms:.2f} ms" for entry in candidates}
    sizes = {"keras": MODEL, "tflite": FLOAT, "tflite-int8": INT8}
    stages = _table(
        ["", whose, "test", "macro recall, test", "size", "speed"],
        [
            [name, _percent(held[stage]["val"]), _percent(metrics[stage]["test"]),
            f"{metrics[stage]['test'].macro_recall:.1%}",
             f"{(folder / sizes[stage]).stat().st_size / 2**20:.2f} MiB", times.get(stage, "")]
            for stage, name in STAGES.items()
        ],
    )  # fmt: skip
    matrix = metrics["keras"]["test"].confusion_matrix
    right = "none of them" if sure.right is None else f"{sure.right:.1%}"
    return (Path(__file__).parent / "model_card.md").read_text(encoding="utf-8").format(
        title="The ReLU twin" if "minimalistic" in manifest.arch else "The released model",
        folder=f"{RUNS}/{folder.name}", up="../../", arch=manifest.arch,
        name=manifest.name,
        seed=manifest.seed,
        parameters=manifest.network.parameters, multiply_adds=manifest.network.multiply_adds,
        side=manifest.preprocess.input_size, stages=stages, pairs=paired.count,
        sides="test" if selection else "validation and test", difference=100 * paired.difference,
        low=100 * paired.interval[0], high=100 * paired.interval[1],
        cpu=f"on {manifest.environment['cpu_count']} cores",
        classes=_classes(held["keras"] | {"test": metrics["keras"]["test"]}, manifest.labels,
        whose),
        wanted=RIGHT,
        protocol=_protocol(selection), whose=whose,
        confusion=_table(["", *manifest.labels], [[f"**{name}**",
        *row] for name,
        row in zip(manifest.labels, matrix, strict=True)]),
        sure=sure.sure, sure_right=right, ece_before=sure.ece_before, ece_after=sure.ece_after,
        robustness=robustness(manifest.name, "../../"), learnt=_learnt(config),
        **manifest.confidence.to_dict(),
    )  # fmt: skip


def robustness(name: str, up: str) -> str:
    """What a run's network loses on damaged faces of the test side, by docs/robustness.csv. up: the way from
    the card to the project's folder.
    """
    rows = [row for row in read_csv(CORRUPTED) if row["split"] == "test"]
    own = [row for row in rows if row["model"].startswith(f"{name}, ")]
    how = f"[what each is, and other models]({up}docs/robustness.md)"
    if not own:
        return f"Not measured ({how})."
    return f"On the test faces, each corruption at three strengths ({how}):\n\n{losses(own).rstrip()}"


def _learnt(config: Config) -> str:
    """What it learnt from beside the labels of its own classes, as sentences."""
    facts = []
    if config.data.extra_classes:
        facts.append(
            f"Images of {' and '.join(config.data.extra_classes)} were trained on too; they are not scored."
        )
    if config.loss.votes:
        facts.append(f"FER+'s votes are {config.loss.votes_weight:.0%} of each target.")
    if config.loss.targets:
        facts.append(
            f"Refined labels ({config.loss.targets}) are {config.loss.targets_weight:.0%} of each target."
        )
    if config.model.quantise:
        return (
            f"It was fine-tuned for 8 bits from {config.model.quantise}, which taught it: the float "
            "network is meant to be rounded."
        )
    if config.loss.teacher:
        facts.append(
            f"It was taught by {' and '.join(config.loss.teacher)} "
            f"(weight {config.loss.distill_weight}, temperature {config.loss.temperature})."
        )
    facts.append(f"Initial weights: {config.model.weights}.")
    return " ".join(facts)


def _percent(metrics: Metrics) -> str:
    low, high = metrics.accuracy_ci95
    return f"{metrics.accuracy:.2%} [{100 * low:.1f}, {100 * high:.1f}]"


def _protocol(selection: Selection | None) -> str:
    """Which images the model learnt, and which chose its settings, as sentences."""
    if not selection:
        return (
            "20 % of train was kept for validation, stratified, copies on one side; it chose the epoch "
            "and every setting"
        )
    return (
        "It learnt all of train, so it has no validation figures of its own: those above are of "
        f"{selection.name}, which kept "
        f"{selection.validation_fraction:.0%} of train for validation, stratified, copies on one side. That "
        "side chose every setting, "
        f"the length ({selection.epochs[0]} + {selection.epochs[1]} epochs), temperature and threshold, "
        "which this model repeats"
    )


def _classes(splits: Splits, labels: tuple[str, ...], whose: str) -> str:
    rows = []
    for i, name in enumerate(labels):
        cells = []
        for split in ("val", "test"):
            row = splits[split].confusion_matrix[i]
            low, high = wilson(row[i], sum(row))
            cells.append(
                f"{row[i] / sum(row):.1%} [{100 * low:.1f}, {100 * high:.1f}] of {sum(row):,}"
                if sum(row)
                else "no images"
            )
        rows.append([name, *cells])
    rows.append(["macro", *(f"{splits[split].macro_recall:.1%}" for split in ("val", "test"))])
    return _table(["recall", whose, "test"], rows)


def _table(header: list, rows: list[list]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(run(main))
