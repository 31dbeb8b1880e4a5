"""The conversion of a trained model, from the .keras file to the deploy bundle."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from fer_hailo.common.calls import call
from fer_hailo.common.confidence import Confidence, fit_confidence
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import locked, write_json, write_text, written
from fer_hailo.common.metrics import Splits
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.common.reading import DAMAGED, read_json
from fer_hailo.common.resources import resource
from fer_hailo.common.results import Row, add_rows, row_of
from fer_hailo.common.runs import LABELS, RUNS, cache_of, environment
from fer_hailo.deploy import bundle as parts
from fer_hailo.deploy.home import Home, Use, resolve, warn_if_drawn
from fer_hailo.deploy.manifest import Calibration, Data, Manifest, Network
from fer_hailo.deploy.program import write_program
from fer_hailo.deploy.scoring import SPLITS, logits_of, score
from fer_hailo.deploy.selection import Selection
from fer_hailo.formats.tflite import Tflite, read_tflite
from fer_hailo.predict.litert import LiteRT, on_all_cores
from fer_hailo.script.lint import specialise
from fer_hailo.training.convert.calibration import calibration_set, choose, prepare_all, write_sheet
from fer_hailo.training.convert.cleanup import CLEAN, Change, clean_network
from fer_hailo.training.convert.equalise import Equalised, equalise
from fer_hailo.training.convert.expectation import check_usual
from fer_hailo.training.convert.facts import CONVERSION, Conversion, Scored
from fer_hailo.training.convert.graph import as_logits, flatten
from fer_hailo.training.convert.parity import COUNT, check_parity
from fer_hailo.training.convert.primitives import write_out_swishes
from fer_hailo.training.convert.quantise import NoInt8Kernel, Trial, quantise, quantise_trained
from fer_hailo.training.convert.ranges import TensorFacts, TensorRange, tensor_ranges, undone
from fer_hailo.training.convert.report import write_conversion_report
from fer_hailo.training.convert.second_road import NoSecondRoad, SecondRoad, make_second_road
from fer_hailo.training.convert.tflite import raise_small_kernels, to_tflite
from fer_hailo.training.convert.trained_ranges import read_ranges
from fer_hailo.training.convert.validated import selected, validated_side
from fer_hailo.training.data.dataset import Dataset, Part, load_dataset
from fer_hailo.training.evaluate.evaluation import check_split
from fer_hailo.training.evaluate.score import metrics_of, scorer_of
from fer_hailo.training.models.opened import check_stated, open_network

SCRATCH = ".convert"
# Of a network that was fine-tuned for 8 bits
READY = Equalised(scaled=0, straight={}, tolerance=0.0, same=1.0, moved=0.0)
MOST_LOST = 1.0  # points of validation accuracy, above which quantisation-aware fine-tuning is named
MOST_SCORED = 10_000  # images a side
CALIBRATION = Path("calib") / parts.CALIBRATION
PLAIN = "alls/int8.alls"  # names no layers, so that it serves every network


def convert(
    path: str | None, overrides: dict, out: Path | None, mean: float | None, scale: float | None
) -> Path:
    """Convert a run's model, or a bare .keras file, and write RUN/deploy. Returns the bundle's folder.

    mean, scale: the normalisation of a bare file; by default [-1, 1], which is checked.
    Raises UserError where the TFLite does not give what the Keras model gives.
    """
    # It warns of every network that is compiled anew, as is meant here
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    subject = resolve(path, Use.LEARN, overrides)
    warn_if_drawn(subject)
    if subject.config.model.arch == "ensemble":
        raise UserError(
            f"{subject.model} is an ensemble, which serves as a teacher: convert one of its members, or what "
            "it taught"
        )
    check_split(subject, "validation")
    check_stated(subject)
    model = as_logits(flatten(open_network(subject)))
    spec = _spec(subject, overrides, model, mean, scale)
    out = out or subject.run or RUNS / f"converted_{subject.model.stem}"
    _check_place(out, subject)
    dataset = load_dataset(
        subject.config.change(input_size=spec.input_size),
        cache_of(subject.run) if subject.run else RUNS / "cache",
        subject.order,
    )
    dataset = _limited(dataset, subject.config.seed)
    selection = selected(subject)
    checks = (
        validated_side(subject.config, selection, spec, subject.run) if selection else dataset.part("val")
    )
    if (subject.trained_on or dataset.key) != dataset.key:
        _say(
            f"note: {subject.config.data.source} is not what this model was trained on; its validation side "
            "may hold training images"
        )
    _say(
        f"converting {subject.model}: {model.count_params():,} parameters, input {spec.input_size} x "
        f"{spec.input_size} x 3"
    )
    reference, logits = _score_keras(model, dataset, spec)
    if subject.run is None:
        matrix = np.array(reference["val"].confusion_matrix)
        check_usual(
            model,
            dataset.part("val"),
            spec,
            dataset.names,
            matrix,
            ordered=subject.stated.labels is not None,
            scaled=mean is not None or scale is not None,
        )
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / ".lock", wait=False):
        for stale in out.glob(f"{SCRATCH}*"):  # of a conversion that was killed
            shutil.rmtree(stale, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=SCRATCH) as scratch:
            return Converter(
                subject,
                model,
                spec,
                dataset,
                reference,
                out,
                Path(scratch),
                checks,
                selection,
                logits.get("val"),
            ).finish()


def _limited(dataset: Dataset, seed: int) -> Dataset:
    """The bundle holds every image that is scored, prepared: of a large data set a part of them has to do."""

    def some(split: str, part: Part) -> Part:
        if len(part) <= MOST_SCORED:
            return part
        _say(
            f"{dataset.name} has {len(part):,} images in {split}: {MOST_SCORED:,} of them are scored and go "
            "into the bundle"
        )
        return part.take(np.sort(np.random.default_rng(seed).permutation(len(part))[:MOST_SCORED]))

    return replace(dataset, val=some("val", dataset.val), test=some("test", dataset.test))


class Converter:
    """One conversion: everything is made in a scratch folder first, so that a failure leaves an older bundle
    as it was.

    checks: images on which the changed network must answer as before; nothing is scored on them. selection:
    of a network that was trained on all of train, whose choices are those of the validated run. expected:
    the model's logits (N, C) for `checks`, where they were scored.
    """

    def __init__(
        self, subject: Home, model: keras.Model, spec: PreprocessSpec, dataset: Dataset, reference: Splits,
        out: Path, scratch: Path,
        checks: Part, selection: Selection | None, expected: np.ndarray | None,
    ):  # fmt: skip
        self.checks, self.selection, self.expected = checks, selection, expected
        self.trained_for = read_ranges(subject.run) if subject.run and subject.config.model.quantise else {}
        self.subject, self.model, self.spec, self.dataset = subject, model, spec, dataset
        self.reference, self.out, self.scratch = reference, out, scratch
        self.config, self.deploy = subject.config, scratch / "deploy"
        self.name = subject.name
        self.without: dict[str, str] = {}  # files that could not be made, with the reason
        self.seed = subject.config.seed if subject.run else ""  # of a model from elsewhere it is not known

    def finish(self) -> Path:
        train, checks, names = self.dataset.train, self.checks, self.dataset.names
        calibration, labels = calibration_set(train, self.spec, self.config.seed)
        clean, widened, equalised, changes = self._ready(calibration)
        clean.save(self.scratch / CLEAN)
        write_sheet(self.scratch / "calibration.png", calibration, labels)
        _say("converting to TFLite")
        float32, int8 = self.deploy / parts.FLOAT, self.deploy / parts.INT8
        self.deploy.mkdir()
        float32.write_bytes(to_tflite(clean))
        source = self._written_out(clean, float32)
        ranges = tensor_ranges(source, calibration, self.spec)
        raised = raise_small_kernels(float32, undone(ranges))
        if source != float32:
            raise_small_kernels(source, ranges)
        network, second_road = read_tflite(float32), self._second_road(float32, calibration[:COUNT])
        checked = checks.images[choose(checks.labels, COUNT, self.config.seed)]
        # What widening h-swish channels moved is stated by itself
        exact = widened if equalised.straight else self.model
        parity = check_parity(exact, float32, prepare_all(checked, self.spec), self.spec)
        pictures = self._evaluation_set(float32)
        # To compress it takes one core some seconds; it is done before anything is timed
        with ThreadPoolExecutor(1) as aside:
            packed = aside.submit(parts.write_evaluation, self.deploy / parts.EVALUATION, pictures)
            trials = self._quantised(source, int8, ranges, calibration)
        packed.result()
        candidates = [self._judge("tflite", float32, pictures, pictures.logits)]
        candidates += [self._judge("tflite-int8", int8, pictures)] if trials else []
        facts = Conversion(
            model=str(self.subject.model.resolve()),
            parity=parity,
            changes=tuple(changes),
            equalised=equalised,
            kernels_raised=raised,
            unexpected=tuple(network.unexpected()),
            second_road=second_road,
            quantised_from=Path(self.config.model.quantise).name,
            trials=tuple(trials),
            candidates=tuple(candidates),
            keras=Scored("keras", self.subject.model.stat().st_size, None, self.reference),
            ranges=_range_facts(ranges, LiteRT(int8, keep_tensors=True).scales() if trials else {}),
            calibration=Calibration(
                len(calibration), tuple(np.bincount(labels, minlength=len(names)).tolist())
            ),
            selection=self.selection,
        )
        write_json(self.scratch / CONVERSION, facts.to_dict())
        write_conversion_report(self.scratch / "conversion.html", f"Conversion of {self.name}", facts)
        rows = self._rows(candidates)
        self._fill_bundle(facts, calibration, pictures, network)
        self._publish(calibration)
        add_rows(resolve(self.out / "deploy").results, rows)
        self._tell(facts)
        return self.out / "deploy"

    def _ready(self, calibration: np.ndarray) -> tuple[keras.Model, keras.Model, Equalised, list[Change]]:
        """As `equalise` gives it, and the clean-up's changes.

        A network that was fine-tuned for 8 bits went through it before.
        """
        if self.trained_for:
            return self.model, self.model, READY, []
        checks = self.checks.images
        clean, changes = clean_network(self.model, self.dataset.train.images, checks, self.spec)
        return *equalise(clean, calibration, checks, self.spec, self.expected), changes

    def _second_road(self, float32: Path, images: np.ndarray) -> SecondRoad | str:
        """Write the float network in plain operators. Returns what came of it, or why there is no such file,
        which the bundle says too.
        """
        try:
            return make_second_road(float32, self.deploy / parts.PRIMITIVE, images, self.spec)
        except NoSecondRoad as reason:
            self.without[parts.PRIMITIVE] = str(reason)
            return str(reason)

    def _written_out(self, clean: keras.Model, float32: Path) -> Path:
        """The float TFLite that is quantized: with its h-swishes written out, where it has some.

        Of a network that was fine-tuned for 8 bits, the ranges were trained for the operators as they are.
        """
        written_out = clean if self.trained_for else write_out_swishes(clean)
        if written_out is clean:
            return float32
        source = self.scratch / "written_out.tflite"
        source.write_bytes(to_tflite(written_out))
        return source

    def _quantised(self, source: Path, int8: Path, ranges: dict, calibration: np.ndarray) -> list[Trial]:
        """Write the INT8 network. Returns the trials.

        Where some layers have no INT8 kernel there is no INT8 network, no trial, and the bundle says so.
        """
        try:
            if self.trained_for:
                return [quantise_trained(source, int8, self.trained_for, calibration, self.spec)]
            return quantise(source, int8, ranges, calibration, self.spec, self.scratch)
        except NoInt8Kernel as error:
            self.without[parts.INT8] = str(error)
            return []

    def _evaluation_set(self, float32: Path) -> parts.EvalSet:
        sides = [(split, getattr(self.dataset, split)) for split in SPLITS]
        images = np.concatenate([prepare_all(side.images, self.spec) for _, side in sides if len(side)])
        return parts.EvalSet(
            images,
            np.concatenate([side.labels for _, side in sides]).astype(np.int64),
            np.concatenate([np.full(len(side), split, "U4") for split, side in sides]),
            logits_of(
                on_all_cores(float32, self.spec),
                images,
                len(self.dataset.names),
                "predictions of the float TFLite",
            ).astype(np.float32),
        )

    def _judge(
        self, stage: str, path: Path, pictures: parts.EvalSet, logits: np.ndarray | None = None
    ) -> Scored:
        network, names = LiteRT(path), self.dataset.names
        if logits is None:
            logits = logits_of(
                on_all_cores(path, self.spec),
                pictures.images,
                len(names),
                f"scoring {path.name}",
            )
        digests = {split: metrics.sha256 for split, metrics in self.reference.items()}
        metrics = score(logits, pictures, names, data=self.dataset.name, digests=digests, stage=stage)
        return Scored(stage, path.stat().st_size, network.latency_ms(), metrics)

    def _publish(self, calibration: np.ndarray) -> None:
        """Move all that was made to its place.

        Only names change here, the bundle's manifest first and last.
        """
        target = self.out / "deploy"
        target.mkdir(exist_ok=True)
        (target / parts.MANIFEST).unlink(missing_ok=True)
        for name in self.without:
            (target / name).unlink(missing_ok=True)
        for name in (*parts.files_of(self.without), parts.MANIFEST):
            os.replace(self.deploy / name, target / name)
        for name in (CLEAN, "calibration.png", CONVERSION, "conversion.html"):
            os.replace(self.scratch / name, self.out / name)
        if not CALIBRATION.parent.exists():  # no folder is made that nobody asked for
            return
        try:
            with written(CALIBRATION) as beside:
                np.save(beside, calibration)
        except OSError as error:  # a copy: the bundle has its own
            _say(f"note: no copy of the calibration set in {CALIBRATION.parent}: {error.strerror}")

    def _fill_bundle(
        self, facts: Conversion, calibration: np.ndarray, pictures: parts.EvalSet, network: Tflite
    ) -> None:
        folder, selection = self.deploy, self.selection
        confidence = selection.confidence if selection else self._confidence(pictures)
        plain = resource(PLAIN).read_text(encoding="utf-8")
        script = selection.script if selection else specialise(plain, self.spec, len(calibration))
        np.save(folder / parts.CALIBRATION, calibration)
        write_program(folder / parts.PROGRAM)
        write_text(folder / LABELS, "\n".join(self.dataset.names) + "\n")
        write_text(folder / parts.SCRIPT, script)
        parts.seal(
            folder,
            Manifest(
                name=self.name,
                arch=self.model.name,
                seed=self.seed,
                data=Data(self.dataset.name, self.dataset.key),
                labels=tuple(self.dataset.names),
                preprocess=self.spec,
                calibration=facts.calibration,
                network=Network.of(network),
                confidence=confidence,
                metrics={entry.stage: entry.metrics for entry in facts.scored},
                environment=environment(),
                without=self.without,
                selection=selection,
            ),
        )

    def _confidence(self, pictures: parts.EvalSet) -> Confidence:
        held = pictures.split == "val"
        return self.subject.confidence or fit_confidence(pictures.logits[held], pictures.labels[held])

    def _rows(self, candidates: list[Scored]) -> list[Row]:
        return [
            row_of(
                metrics, run=self.name, stage=candidate.stage,
                seed=self.seed,
                size_bytes=candidate.size_bytes,
                latency_ms=candidate.latency_ms, reference=self.reference[split],
                selected_by=self.selection.name if self.selection else "",
            )
            for candidate in candidates
            for split, metrics in candidate.metrics.items()
        ]  # fmt: skip

    def _tell(self, facts: Conversion) -> None:
        parity = facts.parity
        print(
            f"parity: {parity.same} of {parity.count} predictions equal, largest logit difference "
            f"{parity.difference:.1e}"
        )
        if isinstance(facts.second_road, SecondRoad):
            moved = facts.second_road.difference
            print(f"second road: {parts.PRIMITIVE}, largest logit difference {moved:.1e}")
        for layer in facts.unexpected:
            print(f"warning: {layer.doubt}")
        for entry in facts.scored:
            scores = "   ".join(
                f"{split} {metrics.accuracy:.2%} "
                f"({100 * (self.reference[split].accuracy - metrics.accuracy):.2f} points lost)"
                for split, metrics in entry.metrics.items()
            )
            latency = "" if entry.latency_ms is None else f"   {entry.latency_ms:.2f} ms"
            print(f"{entry.stage:<12} {scores}   {entry.size_bytes / 2**20:.2f} MiB{latency}")
        if self.selection:
            scores = ", ".join(
                f"{stage} {metrics.accuracy:.2%}" for stage, metrics in self.selection.metrics.items()
            )
            print(
                f"validation: of {self.selection.name}, whose settings it repeats on all of train: {scores}"
            )
        for name, reason in self.without.items():
            kind = "note" if name == parts.PRIMITIVE else "warning"
            print(f"{kind}: {name} was not made: {reason}")
        lost = facts.lost
        if lost > MOST_LOST and not self.trained_for:
            print(
                f"INT8 loses {lost:.2f} points on validation; to win some back: {call('train')} --quantise "
                f"{self.subject.run or self.out}"
            )
        print(f"written: {self.out / 'deploy'} and {self.out / 'conversion.html'}", flush=True)


def _check_place(out: Path, subject: Home) -> None:
    """Raise UserError where `out` holds the conversion of another model, which must not be written over."""
    other = None
    with contextlib.suppress(*DAMAGED):  # what no conversion wrote
        other = read_json(out / CONVERSION)["model"]
    if other is None:
        return
    if subject.run is None and other != str(subject.model.resolve()):
        raise UserError(f"{out} holds the conversion of {other}: choose another folder with --out")


def _spec(
    subject: Home, overrides: dict, model: keras.Model, mean: float | None, scale: float | None
) -> PreprocessSpec:
    spec = subject.config.preprocess
    if subject.run:
        if mean is not None or scale is not None:
            raise UserError(
                f"{subject.run} states its own normalisation: --mean and --scale are for a bare .keras file"
            )
        return spec
    if "data" not in overrides:
        raise UserError(f"{subject.model} stands alone: name the data for calibration and parity with --data")
    shape = model.input_shape
    if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3 or not shape[1]:
        raise UserError(f"{subject.model} takes inputs of shape {shape}; (batch, side, side, 3) is wanted")
    if "input_size" not in overrides:
        spec = replace(spec, input_size=shape[1])
    return replace(
        spec, mean=spec.mean if mean is None else mean, scale=spec.scale if scale is None else scale
    )


def _score_keras(
    model: keras.Model, dataset: Dataset, spec: PreprocessSpec
) -> tuple[Splits, dict[str, np.ndarray]]:
    """Metrics of the model as it came, and its logits (N, C), for the sides that there are: validation (but
    of a run on all of train) and test.
    """
    dataset.part("train")
    sides = {split: getattr(dataset, split) for split in SPLITS if len(getattr(dataset, split))}
    if not sides:
        raise UserError(
            f"{dataset.name} has no test images, and the model was trained on all others: nothing is left to "
            "score"
        )
    scorer = scorer_of(model, dataset.names, spec)
    logits = {split: scorer.logits(side.images, f"scoring {split}") for split, side in sides.items()}
    return {
        split: metrics_of(logits[split], side, dataset.names, data=dataset.name, split=split)
        for split, side in sides.items()
    }, logits


def _range_facts(ranges: dict[str, TensorRange], scales: dict[str, float]) -> tuple[TensorFacts, ...]:
    """The worst used range first."""
    facts = [tensor.facts(name, scales.get(name, 0.0)) for name, tensor in ranges.items()]
    return tuple(sorted(facts, key=lambda tensor: tensor.used))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
