"""Bundle to HEF with the vendor's SDK: parse, optimize, compile. Each step starts from the artefact of the
one before it.

A step makes its artefact, which is recorded at once, and is scored then: hours of optimization are not lost
when scoring is interrupted, and another number of images to score on costs no second optimization.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.common.files import locked, write_text, written
from fer_hailo.common.progress import duration
from fer_hailo.deploy.answers import ANSWERS, Answers, write_answers
from fer_hailo.deploy.bundle import EVALUATION, Bundle, EvalSet, file_sha256
from fer_hailo.deploy.scoring import agreement, logits_of, score
from fer_hailo.deploy.steps import RECORD, Inputs, Step, StepScores, read_steps, write_steps
from fer_hailo.formats.har import read_har
from fer_hailo.formats.hef import DAMAGED, read_hef
from fer_hailo.script.clash import without_clashes
from fer_hailo.script.files import ScriptFiles
from fer_hailo.script.layers import Layers, resolve
from fer_hailo.script.lint import lint_script
from fer_hailo.script.settings import settings_of
from fer_hailo.script.text import parse_script, render
from fer_hailo.sdk import client as sdk
from fer_hailo.sdk.expect import what_to_expect
from fer_hailo.sdk.log import findings, output_ratios
from fer_hailo.sdk.noise import noise_of
from fer_hailo.sdk.parse import parse

STEPS = ("parse", "optimize", "compile")
HAR, QUANTIZED, HEF, EFFECTIVE, LOG = (
    "model.har",
    "model_quantized.har",
    "model.hef",
    "effective.alls",
    "sdk.log",
)
ARTEFACTS = {"parse": HAR, "optimize": QUANTIZED, "compile": HEF}
STAGES = {"parse": ("har-native",), "optimize": ("har-fp", "har-int8"), "compile": ()}
NOISE_PICTURES = 64
UNPROVEN = (
    "no name in the HEF proves that the chip normalises (the script that was compiled says so): compare the "
    "board with "
    "the emulation, by evaluate.py model.hef --data BUNDLE"
)


@dataclass(frozen=True)
class Job:
    """What is to be compiled, for which chip, with which model script, scored on which images, into which
    folder.
    """

    bundle: Bundle
    hw_arch: str
    script: ScriptFiles
    pictures: EvalSet
    digests: dict[str, str]
    quick: int | None
    out: Path

    @property
    def net_name(self) -> str:
        return re.sub(r"\W", "_", self.bundle.manifest.arch)

    def inputs(self, step: str) -> Inputs:
        """What the result of a step depends on."""
        script = None if step == "parse" else hashlib.sha256(self.script.text.encode()).hexdigest()
        return Inputs(self.bundle.digest, self.hw_arch, script)


def run_steps(job: Job, wanted: tuple[str, ...] | None, until: str = STEPS[-1]) -> dict[str, Step]:
    """Run the steps, by default those whose results are not there yet. until: the last that may run.

    Returns the record of all steps done.
    """
    allowed = STEPS[: STEPS.index(until) + 1]
    said = sdk.said_at_import()
    job.out.mkdir(parents=True, exist_ok=True)
    with locked(job.out / ".lock", wait=False), _going_on():
        record = read_steps(job.out / RECORD)
        for number, step in enumerate(allowed):
            if wanted is None and _fits(job, record, step):
                _say(f"{step}: {job.out / ARTEFACTS[step]} is up to date")
            elif wanted is None or step in wanted:
                _check_earlier(job, record, STEPS[:number])
                # What comes later is outdated
                record = {earlier: record[earlier] for earlier in STEPS[:number]}
                record[step], said = _run(job, step, said), ""
                write_steps(job.out / RECORD, record)
            if _fits(job, record, step) and not _scored(job, step, record[step].scores):
                record[step] = replace(record[step], scores=_score(job, step, record[step].output_snr))
                write_steps(job.out / RECORD, record)
        return {step: record[step] for step in STEPS if _fits(job, record, step)}


@contextlib.contextmanager
def _going_on() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt("steps that were done are kept, the same command goes on") from None


def _check_earlier(job: Job, record: dict[str, Step], steps: tuple[str, ...]) -> None:
    for step in steps:
        if not _fits(job, record, step):
            raise UserError(
                f"{job.out / ARTEFACTS[step]} is missing, or was made from another bundle, script or "
                "architecture: "
                f"run the step {step} first (--steps {','.join(STEPS[STEPS.index(step) :])})"
            )


def _run(job: Job, step: str, said: str) -> Step:
    """said: what the SDK has said before the step, which belongs to its log."""
    _say(f"{step}: begins; the SDK's log is {job.out / LOG}")
    start, log = time.monotonic(), job.out / LOG
    known = log.stat().st_size if log.exists() else 0
    with open(log, "ab") as file:
        file.write(said.encode())
    found: dict[str, Any] = {"parse": _parse, "optimize": _optimize, "compile": _compile}[step](job)
    text = _read_from(log, known)
    seconds = time.monotonic() - start
    _say(f"{step}: done in {duration(seconds)}")
    return Step(
        inputs=job.inputs(step),
        sha256=file_sha256(job.out / ARTEFACTS[step]),
        seconds=round(seconds, 1),
        log=tuple(findings(text)),
        sdk_version=getattr(sdk.client(), "__version__", "unknown"),
        output_snr=output_ratios(text),
        **found,
    )


def _read_from(log: Path, place: int) -> str:
    with open(log, "rb") as file:
        file.seek(place)
        return file.read().decode("utf-8", "replace")


def _parse(job: Job) -> dict[str, Any]:
    """Returns what it found out, as fields of a Step; so do the other steps."""
    log = job.out / LOG
    parsed = parse(job.bundle, job.hw_arch, job.net_name, log)
    with written(job.out / HAR) as beside, sdk.calling("parse", log):
        parsed.runner.save_har(str(beside))
    return {"notes": parsed.notes, "layers": parsed.layers, "parsed": parsed.file}


def _optimize(job: Job) -> dict[str, Any]:
    log = job.out / LOG
    with sdk.calling("optimize", log):
        runner = sdk.client().ClientRunner(har=str(job.out / HAR))
    layers = Layers.from_hn(runner.get_hn_dict())
    faults = [finding for finding in lint_script(job.script.text, layers=layers) if finding.level == "error"]
    if faults:
        raise UserError(job.script.format(faults[0]))
    statements, _ = parse_script(job.script.text)
    statements, notes = without_clashes(resolve(statements, layers), layers)
    effective = render(statements)
    write_text(job.out / EFFECTIVE, effective)
    calibration = job.bundle.calibration().astype(np.float32)
    _say(f"optimize: {what_to_expect(effective)}")
    with sdk.calling("optimize", log):
        runner.load_model_script(str(job.out / EFFECTIVE))
        runner.optimize_full_precision(calib_data=calibration)
        runner.optimize(calibration)
    with written(job.out / QUANTIZED) as beside, sdk.calling("optimize", log):
        runner.save_har(str(beside))
    return {"script": effective, "notes": tuple(notes + _lowered(job, effective))}


def _lowered(job: Job, script: str) -> list[str]:
    """Where the levels that took effect, as the HAR has them, are others than the script states."""
    try:
        levels = read_har(job.out / QUANTIZED).levels or (None, None)
    except UserError as error:  # of a version that nobody has seen: the result does not depend on it
        return [f"the levels that took effect are not known: {error}"]
    notes = []
    for key, got in zip(("optimization_level", "compression_level"), levels, strict=True):
        asked = settings_of(script, []).get(key)
        if got is not None and asked is not None and asked != str(got):
            notes.append(f"the script asks for {key} {asked}, the SDK worked with {got}")
    return notes


def _noise(job: Job, runner, outputs: dict[str, float]) -> dict[str, float]:
    """Signal-to-noise ratio of each layer's output, dB; of the outputs, as the log has it, where this SDK's
    table is empty. outputs: what the log of the optimization says of them.
    """
    calibration, log = job.bundle.calibration()[:NOISE_PICTURES].astype(np.float32), job.out / LOG
    known = log.stat().st_size
    try:
        with sdk.calling("noise analysis", log):
            runner.analyze_noise(
                calibration, batch_size=2, data_count=len(calibration), analyze_mode="simple"
            )
            statistics = runner.get_params_statistics()
            names = list(runner.get_hn_dict()["layers"])
    except UserError as error:  # the result does not depend on it
        _say(f"note: {error}")
        return outputs
    return noise_of(statistics, names) or outputs | output_ratios(_read_from(log, known))


def _compile(job: Job) -> dict[str, Any]:
    with sdk.calling("compile", job.out / LOG):
        runner = sdk.client().ClientRunner(har=str(job.out / QUANTIZED))
        content = runner.compile()
    rejected = job.out / "model_rejected.hef"
    with written(rejected) as beside:
        beside.write_bytes(content)
    hef = read_hef(rejected)
    problems = _hef_problems(job, hef)
    if problems:
        raise UserError(
            f"compile: the HEF is not what was asked for: {'; '.join(problems)}; it is kept as {rejected}"
        )
    rejected.replace(job.out / HEF)
    notes = () if hef.groups[0].inputs[0].normalised_on_chip else (UNPROVEN,)
    return {"hef": hef.to_dict(), "notes": notes}


def _hef_problems(job: Job, hef) -> list[str]:
    side, wanted = job.bundle.spec.input_size, sdk.ARCHITECTURES[job.hw_arch]
    problems = [] if hef.architecture == wanted else [f"it is for {hef.architecture}, not {wanted}"]
    group = hef.groups[0]
    shapes = [list(stream.shape) for stream in group.inputs]
    if shapes != [[side, side, 3]]:
        problems.append(f"its inputs have the shapes {shapes}, not [[{side}, {side}, 3]]")
    elif not group.inputs[0].takes_bytes:
        problems.append(
            "its input does not take the bytes 0..255 that the board sends: the model script needs a "
            "normalization"
        )
    if any(stream.damaged for stream in group.outputs):
        problems.append(f"its output {DAMAGED}")
    answers = [list(stream.shape) for stream in group.outputs]
    if len(answers) != 1 or answers[0][-1] != len(job.bundle.labels):
        problems.append(f"its outputs have the shapes {answers}, not one of {len(job.bundle.labels)} logits")
    return problems


def _score(job: Job, step: str, output_snr: dict[str, float]) -> StepScores:
    """From a step's artefact. Writes the predictions of har-int8 beside it. output_snr: the step's own."""
    scores = StepScores(job.quick, time.strftime("%Y-%m-%dT%H:%M:%S"))
    if not STAGES[step]:
        return scores
    with sdk.calling(f"scoring {step}", job.out / LOG):
        runner = sdk.client().ClientRunner(har=str(job.out / ARTEFACTS[step]))
    pictures, labels, data = job.pictures, job.bundle.labels, job.bundle.manifest.data.name
    for stage in STAGES[step]:
        with sdk.inference(runner, stage, job.bundle.spec, job.out / LOG) as infer:
            logits = logits_of(infer, pictures.images, len(labels), f"scoring {stage}")
        scores.metrics[stage] = score(logits, pictures, labels, data=data, digests=job.digests, stage=stage)
        scores.agreement[stage] = agreement(logits, pictures.logits)
        if stage == "har-int8":
            scores = replace(scores, answers=_keep(job, logits))
    return replace(scores, noise=_noise(job, runner, output_snr)) if step == "optimize" else scores


def _keep(job: Job, logits: np.ndarray) -> str:
    index = np.arange(len(logits)) if job.quick is None else job.bundle.evaluation().sample(job.quick)
    evaluation = job.bundle.manifest.files[EVALUATION].sha256
    return write_answers(job.out / ANSWERS, Answers(logits.astype(np.float32), index, evaluation))


def _scored(job: Job, step: str, scores: StepScores | None) -> bool:
    """Whether a step was scored on these images, and its predictions are still there."""
    if scores is None or scores.quick != job.quick:
        return False
    path = job.out / ANSWERS
    return "har-int8" not in STAGES[step] or (path.is_file() and file_sha256(path) == scores.answers)


def _fits(job: Job, record: dict[str, Step], step: str) -> bool:
    """Whether a step's artefact is there, unchanged, and made from these inputs."""
    entry, path = record.get(step), job.out / ARTEFACTS[step]
    return (
        entry is not None
        and entry.inputs == job.inputs(step)
        and path.is_file()
        and file_sha256(path) == entry.sha256
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
