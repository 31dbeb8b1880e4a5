"""The compile command: a bundle to a HEF with the SDK, or its rehearsal without."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.common.metrics import Scores
from fer_hailo.common.results import add_rows, row_of
from fer_hailo.common.runs import SYNTHETIC
from fer_hailo.deploy.bundle import SCRIPT, Bundle, load_bundle
from fer_hailo.deploy.home import DRAWN, resolve
from fer_hailo.deploy.steps import Finding
from fer_hailo.emulation.stages import NARROW, WIDE, tflite_layers
from fer_hailo.script.files import ScriptFiles, fitted, read_scripts
from fer_hailo.script.layers import resolve as resolve_layers
from fer_hailo.script.lint import lint_script, strictly
from fer_hailo.script.settings import settings_of
from fer_hailo.script.text import parse_script
from fer_hailo.sdk.compile import HEF, LOG, STEPS, Job, run_steps
from fer_hailo.sdk.facts import Compiled, Facts, Rehearsed
from fer_hailo.sdk.log import REDUCED
from fer_hailo.sdk.rehearsal import rehearse
from fer_hailo.sdk.report import REHEARSAL, write_compile_report
from fer_hailo.sdk.verdict import OUTPUT, concerns_of, judge, sentence

TOO_MUCH_LOST = 3
SIMPLER = (
    "this network has h-swish or gates; in 8 bits mobilenet_v3_small_minimalistic, which has neither, was as "
    "accurate within chance, and faster (docs/quantisation.md)"
)
NO_NOISE = (
    "the SDK measured no noise of the layers: the report cannot tell which of them lose accuracy{instead}"
)
RED, PLAIN = "\x1b[31m", "\x1b[0m"


def compile_bundle(
    folder: Path,
    hw_arch: str,
    scripts: Sequence[Path | None],
    steps: tuple[str, ...] | None,
    out: Path | None,
    most_lost: float,
    quick: int | None,
    strict: bool = False,
    until: str = STEPS[-1],
) -> int:
    """Compile with the SDK. scripts: the files of the model script in order, None for the bundle's own.

    strict: warnings about the script are errors. until: the last step that may run. Returns the exit status:
    0, or 3 where more accuracy was lost than `most_lost` points.
    """
    job = _job(folder, hw_arch, scripts, out, quick, strict)
    record = run_steps(job, steps, until)
    metrics: Scores = {}
    agreement: dict[str, float] = {}
    noise: dict[str, float] = {}
    dates: dict[str, str] = {}
    for scores in (step.scores for step in record.values() if step.scores):
        metrics |= scores.metrics
        agreement |= scores.agreement
        noise |= scores.noise
        dates |= dict.fromkeys(scores.metrics, scores.date)
    said = [finding for step in record.values() for finding in step.log]
    warnings = [_warning(finding) for finding in said if finding.what != REDUCED] + [
        note for step in record.values() for note in step.notes or ()
    ]
    parse, optimized, compiled = (record.get(step) for step in STEPS)
    if optimized and optimized.scores and not any(OUTPUT not in name for name in noise):
        warnings.append(NO_NOISE.format(instead="; its log tells of the outputs alone" if noise else ""))
    version = next(iter(record.values())).sdk_version if record else "unknown"
    facts = _facts(
        job,
        metrics,
        most_lost,
        Compiled(version, parse.parsed or "" if parse else "", agreement, compiled.hef if compiled else None),
        noise=noise,
        concerns=concerns_of(
            [finding.line for finding in said if finding.what == REDUCED],
            {name: ratio for step in record.values() for name, ratio in step.output_snr.items()} | noise,
            _is_simple(job.bundle),
        ),
        script=optimized.script if optimized and optimized.script is not None else job.script.text,
        levels=[finding.level for finding in said if finding.level is not None],
        seconds={name: step.seconds for name, step in record.items()},
        warnings=warnings,
    )
    return _finish(job, facts, dates)


def rehearse_bundle(
    folder: Path,
    hw_arch: str,
    scripts: Sequence[Path | None],
    out: Path | None,
    most_lost: float,
    quick: int | None,
    strict: bool = False,
) -> int:
    """Rehearse without the SDK.

    Returns the exit status as `compile_bundle` does, judged by the emulation of the model script.
    """
    # Beside a compilation's report, not over it
    job = _job(folder, hw_arch, scripts, out or folder / f"rehearsal_{hw_arch}", quick, strict)
    start = time.monotonic()
    rehearsal = rehearse(job.bundle, hw_arch, job.pictures, job.digests, job.script.text)
    for line in rehearsal.emulation.ignored if rehearsal.emulation else ():
        _say(f"the emulation ignores {line}")
    facts = _facts(
        job,
        rehearsal.metrics,
        most_lost,
        Rehearsed(rehearsal.emulation, rehearsal.calibration, rehearsal.speed),
        noise=rehearsal.noise,
        script=job.script.text,
        levels=[],
        seconds={"rehearsal": round(time.monotonic() - start, 1)},
        warnings=rehearsal.warnings,
    )
    # The TFLite files have their rows since they were made
    emulated = rehearsal.metrics.keys() & {NARROW, WIDE}
    return _finish(job, facts, {stage: facts.date for stage in rehearsal.metrics if stage in emulated})


def _job(
    folder: Path,
    hw_arch: str,
    scripts: Sequence[Path | None],
    out: Path | None,
    quick: int | None,
    strict: bool,
) -> Job:
    """Check the bundle and the script, before anything slow begins."""
    bundle = load_bundle(folder)
    script, count = (
        read_scripts([path or bundle.folder / SCRIPT for path in scripts]),
        len(bundle.calibration()),
    )
    script = fitted(script, bundle.spec, count)
    findings = lint_script(script.text, bundle.spec, count)
    findings = strictly(findings) if strict else findings
    for finding in findings:
        if finding.level != "note":  # what a note calls unchecked is checked below and after the parse
            _say(script.format(finding), red=True)
    faults = sum(finding.level == "error" for finding in findings)
    if faults:
        raise UserError(
            f"{script.name} has {faults} error{'s' if faults > 1 else ''}, see above: nothing was compiled"
        )
    _check_quoted(script, bundle)
    if bundle.manifest.data.name == SYNTHETIC:
        _say(f"warning: {bundle.name} {DRAWN}", red=True)
    if not _is_simple(bundle):
        _say(f"note: {SIMPLER}")
    pictures, digests = bundle.evaluation(), bundle.manifest.digests
    if quick is not None:
        pictures = pictures.quick(quick)
        digests = {
            split: pictures.take(pictures.split == split).sha256() for split in np.unique(pictures.split)
        }
    return Job(bundle, hw_arch, script, pictures, digests, quick, out or bundle.folder / hw_arch)


def _is_simple(bundle: Bundle) -> bool:
    """Whether the network has neither h-swish nor gates."""
    return all(layer.operator not in ("HARD_SWISH", "MUL") for layer in bundle.network.layers)


def _check_quoted(script: ScriptFiles, bundle: Bundle) -> None:
    """Raise UserError where a layer's TFLite name in the script is none of the bundle's network: known before
    the parse.
    """
    try:
        resolve_layers(parse_script(script.text)[0], tflite_layers(bundle.network, bundle.manifest.arch))
    except UserError as error:
        raise UserError(f"{script.name}: {error}") from None


def _facts(
    job: Job,
    metrics: Scores,
    most_lost: float,
    outcome: Compiled | Rehearsed,
    *,
    noise: dict[str, float],
    script: str,
    levels: list[int],
    seconds: dict[str, float],
    warnings: list[str],
    concerns: Sequence[str] = (),
) -> Facts:
    manifest, sdk = job.bundle.manifest, outcome if isinstance(outcome, Compiled) else None
    # On images that it learnt nothing can be judged
    judged = manifest.selection.splits() if manifest.selection else metrics
    versions = {
        "Python": platform.python_version(),
        "numpy": np.__version__,
        "bundle made at commit": manifest.commit,
    }
    return Facts(
        bundle=job.bundle.name,
        bundle_sha256=job.bundle.digest,
        hw_arch=job.hw_arch,
        date=time.strftime("%Y-%m-%dT%H:%M:%S"),
        quick=job.quick,
        metrics=metrics,
        reference=manifest.metrics["keras"] if job.quick is None else {},
        verdict=judge(judged, sdk.agreement if sdk else {}, most_lost, manifest.selected_by, concerns),
        judged=judged,
        warnings=warnings,
        versions=versions | ({"Dataflow Compiler": sdk.sdk_version, "parsed": sdk.parsed} if sdk else {}),
        noise=noise,
        settings=settings_of(script, levels),
        script=script,
        seconds=seconds,
        outcome=outcome,
    )


def _warning(finding: Finding) -> str:
    more = f" (and {finding.count - 1} more such lines in {LOG})" if finding.count > 1 else ""
    return f"{finding.what}: {finding.line}{more}"


def _finish(job: Job, facts: Facts, dates: dict[str, str]) -> int:
    """Write the report, and rows for the stages in `dates`, dated when they were scored: what was not scored
    again adds no second row.
    """
    page = write_compile_report(job.out, facts)
    manifest = job.bundle.manifest
    rows = [
        replace(
            row_of(
                metrics,
                run=job.bundle.name,
                stage=stage,
                seed=manifest.seed,
                reference=facts.reference.get(split),
                selected_by=facts.verdict.selected_by,
            ),
            commit=manifest.commit,
            date=date,
        )
        for stage, date in dates.items()
        for split, metrics in facts.metrics[stage].items()
    ]
    if rows:
        add_rows(resolve(job.bundle.folder).results, rows)
    agreement = facts.outcome.agreement if isinstance(facts.outcome, Compiled) else {}
    for stage, scores in facts.metrics.items():
        line = "".join(f"   {split} {metrics.accuracy:.2%}" for split, metrics in scores.items())
        same = f"   {agreement[stage]:.2%} as the float TFLite" if stage in agreement else ""
        print(f"{stage:<13}{line}{same}")
    for warning in facts.warnings:
        _say(f"warning: {warning}", red=True)
    failed = facts.verdict.failed
    _say(sentence(facts.verdict, facts.judged), red=failed)
    for line in [*facts.verdict.advice, *facts.verdict.concerns]:
        _say(line, red=True)
    print(_made(job, facts.outcome))
    print(f"report: {page}", flush=True)
    return TOO_MUCH_LOST if failed else 0


def _made(job: Job, outcome: Compiled | Rehearsed) -> str:
    if isinstance(outcome, Rehearsed):
        return REHEARSAL
    return f"written: {job.out / HEF}" if outcome.hef else "no HEF yet"


def _say(text: str, red: bool = False) -> None:
    print(f"{RED}{text}{PLAIN}" if red and sys.stderr.isatty() else text, file=sys.stderr, flush=True)
