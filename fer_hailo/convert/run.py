"""The conversion of a trained model, from the .keras file to the deploy bundle."""

from __future__ import annotations

import logging
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import keras
import numpy as np

from fer_hailo.convert.calibration import calibration_set, prepare_all, write_sheet
from fer_hailo.convert.cleanup import clean_network
from fer_hailo.convert.expectation import check_normalisation
from fer_hailo.convert.graph import as_logits, flatten
from fer_hailo.convert.parity import COUNT, check_parity
from fer_hailo.convert.quantise import quantise
from fer_hailo.convert.ranges import tensor_ranges
from fer_hailo.convert.report import write_conversion_report
from fer_hailo.convert.tflite import to_tflite
from fer_hailo.data.dataset import Dataset, load_dataset
from fer_hailo.errors import UserError
from fer_hailo.evaluate.run import Subject, find_subject
from fer_hailo.evaluate.score import evaluate_model
from fer_hailo.files import locked, write_json, write_text, written
from fer_hailo.hailo import bundle as parts
from fer_hailo.hailo.lint import specialise
from fer_hailo.hailo.program import ROOT, write_program
from fer_hailo.hailo.scoring import SPLITS, logits_of, score
from fer_hailo.hailo.tflite import read_tflite
from fer_hailo.litert import LiteRT
from fer_hailo.models.build import load_model
from fer_hailo.preprocess import PreprocessSpec
from fer_hailo.results import add_rows, row_of
from fer_hailo.runs import LABELS, RUNS, environment

CLEAN = "model_clean.keras"
SCRIPTS = ROOT / "alls"
CALIBRATION = Path("calib") / parts.CALIBRATION


@dataclass(frozen=True)
class Candidate:
    """A converted file with its scores {split: metrics}, size in bytes and single-thread latency in milliseconds."""

    stage: str
    path: Path
    metrics: dict[str, dict]
    latency_ms: float


def convert(path: str | None, overrides: dict, out: Path | None, mean: float | None, scale: float | None) -> Path:
    """Convert a run's model, or a bare .keras file, and write RUN/deploy. Returns the bundle's folder.

    mean, scale: the normalisation of a bare file; by default [-1, 1], which is checked.
    Raises UserError where the TFLite does not give what the Keras model gives.
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of every network that is compiled anew, as is meant here
    subject = find_subject(path, overrides)
    model = as_logits(flatten(load_model(subject.model)))
    spec = _spec(subject, overrides, model, mean, scale)
    config = replace(subject.config, input_size=spec.input_size)
    out = out or subject.run or RUNS / f"converted_{subject.model.stem}"
    dataset = load_dataset(config, (out.parent if subject.run is None else subject.run.parent) / "cache")
    _say(f"converting {subject.model}: {model.count_params():,} parameters, input {spec.input_size} x {spec.input_size} x 3")
    reference = _score_keras(model, dataset, spec)
    if subject.run is None:
        check_normalisation(model, dataset.part("val"), spec, reference["val"]["accuracy"])
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / ".lock", wait=False), tempfile.TemporaryDirectory(dir=out, prefix=".convert") as scratch:
        return Conversion(subject, model, spec, dataset, reference, out, Path(scratch)).finish()


class Conversion:
    """One conversion: everything is made in a scratch folder first, so that a failure leaves an older bundle as it was."""

    def __init__(
        self, subject: Subject, model: keras.Model, spec: PreprocessSpec, dataset: Dataset, reference: dict, out: Path, scratch: Path
    ):
        self.subject, self.model, self.spec, self.dataset = subject, model, spec, dataset
        self.reference, self.out, self.scratch = reference, out, scratch
        self.name = subject.run.name if subject.run else subject.model.stem
        self.seed = subject.config.seed

    def finish(self) -> Path:
        clean, changes = clean_network(self.model, self.dataset.train.images, self.dataset.val.images, self.spec)
        calibration, labels = calibration_set(self.dataset.train, self.spec, self.seed)
        float32, int8 = self.scratch / parts.FLOAT, self.scratch / parts.INT8
        _say("converting to TFLite")
        float32.write_bytes(to_tflite(clean))
        network = read_tflite(float32)
        parity = check_parity(self.model, float32, prepare_all(self.dataset.val.images[:COUNT], self.spec), self.spec)
        pictures = self._evaluation_set(float32)
        ranges = tensor_ranges(float32, calibration, self.spec)
        trials = quantise(float32, int8, ranges, calibration, self.spec, self.scratch)
        digests = {split: metrics["sha256"] for split, metrics in self.reference.items()}
        candidates = [self._judge(stage, path, pictures, digests) for stage, path in (("tflite", float32), ("tflite-int8", int8))]
        facts = {
            "model": str(self.subject.model),
            "parity": asdict(parity),
            "changes": [asdict(change) for change in changes],
            "unexpected_operators": [{"name": layer.name, "operator": layer.operator} for layer in network.unexpected()],
            "trials": [asdict(trial) for trial in trials],
            "candidates": [
                {"stage": c.stage, "size_bytes": c.path.stat().st_size, "latency_ms": c.latency_ms, "metrics": c.metrics}
                for c in candidates
            ],
            "keras": {"size_bytes": self.subject.model.stat().st_size, "metrics": self.reference},
            "ranges": _range_rows(ranges, LiteRT(int8, keep_tensors=True).scales()),
            "calibration": {"count": len(calibration), "per_class": np.bincount(labels, minlength=len(self.dataset.names)).tolist()},
        }
        with written(self.out / CLEAN) as beside:
            clean.save(beside)
        write_sheet(self.out / "calibration.png", calibration, labels)
        self._write_bundle(candidates, calibration, facts["calibration"], pictures, network)
        write_json(self.out / "conversion.json", facts)
        write_conversion_report(self.out / "conversion.html", f"Conversion of {self.name}", facts)
        self._add_rows(candidates)
        self._tell(facts, network)
        return self.out / "deploy"

    def _evaluation_set(self, float32: Path) -> parts.EvalSet:
        sides, network = [(split, getattr(self.dataset, split)) for split in SPLITS], LiteRT(float32)
        images = np.concatenate([prepare_all(side.images, self.spec) for _, side in sides if len(side)])
        return parts.EvalSet(
            images,
            np.concatenate([side.labels for _, side in sides]).astype(np.int64),
            np.concatenate([np.full(len(side), split, "U4") for split, side in sides]),
            logits_of(
                lambda chunk: network.logits(chunk, self.spec), images, len(self.dataset.names), "answers of the float TFLite"
            ).astype(np.float32),
        )

    def _judge(self, stage: str, path: Path, pictures: parts.EvalSet, digests: dict) -> Candidate:
        network, names = LiteRT(path), self.dataset.names
        logits = logits_of(lambda images: network.logits(images, self.spec), pictures.images, len(names), f"scoring {path.name}")
        metrics = score(logits, pictures, names, data=self.dataset.name, digests=digests, stage=stage)
        return Candidate(stage, path, metrics, network.latency_ms())

    def _write_bundle(self, candidates: list[Candidate], calibration: np.ndarray, counts: dict, pictures, network) -> None:
        """Files first, the manifest last: a folder without one is no bundle, so a fault half-way cannot pass for one."""
        folder = self.out / "deploy"
        (folder / parts.MANIFEST).unlink(missing_ok=True)
        for candidate in candidates:
            with written(folder / candidate.path.name) as beside:
                beside.write_bytes(candidate.path.read_bytes())
        for target in (folder / parts.CALIBRATION, CALIBRATION):
            with written(target) as beside:
                np.save(beside, calibration)
        with written(folder / parts.EVALUATION) as beside:
            np.savez_compressed(beside, **vars(pictures))
        with written(folder / parts.PROGRAM) as beside:
            write_program(beside)
        write_text(folder / LABELS, "\n".join(self.dataset.names) + "\n")
        write_text(folder / parts.SCRIPT, specialise(_script(self.model.name), self.spec, len(calibration)))
        parts.seal(
            folder,
            {
                "name": self.name,
                "arch": self.model.name,
                "seed": self.seed,
                "data": {"name": self.dataset.name, "key": self.dataset.key},
                "labels": list(self.dataset.names),
                "preprocess": self.spec.to_dict(),
                "calibration": counts,
                "network": {
                    "input": list(network.input.shape),
                    "output": list(network.output.shape),
                    "parameters": network.parameters,
                    "multiply_adds": network.multiply_adds,
                    "layers": [layer.to_dict() for layer in network.layers],
                },
                "metrics": {"keras": self.reference} | {candidate.stage: candidate.metrics for candidate in candidates},
                "environment": environment(),
            },
        )

    def _add_rows(self, candidates: list[Candidate]) -> None:
        rows = [
            row_of(
                metrics, run=self.name, stage=candidate.stage, seed=self.seed, size_bytes=candidate.path.stat().st_size,
                latency_ms=candidate.latency_ms, reference=self.reference[split],
            )
            for candidate in candidates
            for split, metrics in candidate.metrics.items()
        ]  # fmt: skip
        add_rows(self.out.parent / "results.csv", rows)

    def _tell(self, facts: dict, network) -> None:
        parity = facts["parity"]
        print(f"parity: {parity['same']} of {parity['count']} answers equal, largest logit difference {parity['difference']:.1e}")
        for layer in facts["unexpected_operators"]:
            print(f"warning: {layer['name']} is a {layer['operator']}, which the Dataflow Compiler may not take")
        for stage, entry in [("keras", facts["keras"]), *((c["stage"], c) for c in facts["candidates"])]:
            scores = "   ".join(
                f"{split} {metrics['accuracy']:.2%} (drop {100 * (self.reference[split]['accuracy'] - metrics['accuracy']):.2f})"
                for split, metrics in entry["metrics"].items()
            )
            latency = f"   {entry['latency_ms']:.2f} ms" if "latency_ms" in entry else ""
            print(f"{stage:<12} {scores}   {entry['size_bytes'] / 2**20:.2f} MiB{latency}")
        print(f"written: {self.out / 'deploy'} and {self.out / 'conversion.html'}", flush=True)


def _spec(subject: Subject, overrides: dict, model: keras.Model, mean: float | None, scale: float | None) -> PreprocessSpec:
    spec = subject.config.preprocess
    if subject.run:
        if mean is not None or scale is not None:
            raise UserError(f"{subject.run} states its own normalisation: --mean and --scale are for a bare .keras file")
        return spec
    if "data" not in overrides:
        raise UserError(f"{subject.model} stands alone: name the data for calibration and parity with --data")
    shape = model.input_shape
    if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3 or not shape[1]:
        raise UserError(f"{subject.model} takes inputs of shape {shape}; (batch, side, side, 3) is wanted")
    if "input_size" not in overrides:
        spec = replace(spec, input_size=shape[1])
    return replace(spec, mean=spec.mean if mean is None else mean, scale=spec.scale if scale is None else scale)


def _score_keras(model: keras.Model, dataset: Dataset, spec: PreprocessSpec) -> dict[str, dict]:
    """Metrics of the model as it came, for validation and, where there is one, test."""
    dataset.part("train"), dataset.part("val")
    sides = [split for split in SPLITS if len(getattr(dataset, split))]
    return {split: evaluate_model(model, dataset.part(split), dataset.names, spec, data=dataset.name, split=split)[0] for split in sides}


def _range_rows(ranges: dict, scales: dict[str, float]) -> list[dict]:
    """One entry a tensor, the worst used range first."""
    rows = [{"name": name, **tensor.to_dict(), "scale": scales.get(name, 0.0)} for name, tensor in ranges.items()]
    return sorted(rows, key=lambda row: row["used"])


def _script(arch: str) -> str:
    """The plain 8-bit model script of a network; it names no layers, so that the default one serves others too."""
    path = SCRIPTS / f"{arch}_int8.alls"
    return (path if path.is_file() else SCRIPTS / "mobilenet_v3_small_int8.alls").read_text(encoding="utf-8")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
