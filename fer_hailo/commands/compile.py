"""Compile a deploy bundle to a HEF with the Hailo Dataflow Compiler, on the SDK machine. Needs numpy besides
that.

fer-hailo compile                         the newest bundle, for Hailo-8
fer-hailo compile RUN/deploy --hw-arch hailo8l --layers alls/mobilenet_v3_small_a16.alls
fer-hailo compile RUN/deploy --steps parse --quick 100    first on an SDK machine: does its parser take it?
fer-hailo compile RUN/deploy --rehearse   all checks that can be made without the SDK
fer-hailo compile RUN/deploy --try alls/fast.alls alls/bias.alls alls/int8.alls    compared on validation
fer-hailo compile --lint FILE.alls [--layers FILE.alls] [--strict] [--bundle DIR] [--har FILE.har]
fer-hailo compile --inspect FILE.hef [--json]    or FILE.har
fer-hailo compile [RUN/deploy] --report-problem OUT.zip [--yes]    what others need to help, without names
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from fer_hailo.common.calls import tool
from fer_hailo.common.cli import Parser, command_parser, nearest
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import to_json
from fer_hailo.common.resources import find


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    if arguments.inspect:
        return _inspect(arguments.inspect, arguments.json)
    # Before numpy is loaded: its threads and the emulation's would get in each other's way
    if arguments.rehearse:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    own = arguments.layers
    if arguments.lint:
        return _lint(
            [arguments.lint, *own],
            arguments.strict,
            arguments.bundle or arguments.bundle_option,
            arguments.har,
        )
    from fer_hailo.deploy.bundle import newest_bundle
    from fer_hailo.sdk.chain import compile_bundle, rehearse_bundle
    from fer_hailo.sdk.client import ARCHITECTURES
    from fer_hailo.sdk.compile import STEPS

    _check_arch(arguments.hw_arch, ARCHITECTURES)
    if arguments.problem:
        return _report_problem(arguments)
    bundle = arguments.bundle or newest_bundle()
    common = (arguments.hw_arch, [arguments.alls, *own])
    if arguments.rehearse:
        if arguments.steps:
            raise UserError("--rehearse runs no steps of the SDK: leave out --steps")
        if arguments.tried:
            raise UserError("--rehearse takes one model script: name it with --alls instead of --try")
        return rehearse_bundle(
            bundle, *common, arguments.out, arguments.max_drop, arguments.quick, arguments.strict
        )
    if arguments.tried:
        from fer_hailo.sdk.trial import try_scripts

        if arguments.alls or arguments.steps:
            raise UserError(
                "--try names the scripts and runs parse and optimization: leave out --alls and --steps"
            )
        given = (arguments.out, arguments.max_drop, arguments.quick, arguments.strict)
        return try_scripts(bundle, arguments.hw_arch, arguments.tried, own, *given)
    steps = tuple(step.strip() for step in arguments.steps.split(",")) if arguments.steps else None
    for step in steps or ():
        if step not in STEPS:
            raise UserError(
                f"unknown step {step}{nearest(step, STEPS)}: --steps takes {','.join(STEPS)} or a part of "
                "them"
            )
    ordered = tuple(step for step in STEPS if step in steps) if steps else None
    return compile_bundle(
        bundle, *common, ordered, arguments.out, arguments.max_drop, arguments.quick, arguments.strict
    )


def _check_arch(arch: str, known: Iterable[str]) -> None:
    if arch in known:
        return
    names = ", ".join(known)
    if arch.startswith(("hailo10", "hailo15")):
        raise UserError(
            f"--hw-arch {arch} is of another family, with a compiler of its own (5.x); this project targets "
            f"{names}"
        )
    raise UserError(f"unknown --hw-arch {arch}{nearest(arch, known)}: {names}")


def _parser() -> Parser:
    parser = command_parser("compile", __doc__)
    parser.add_argument(
        "bundle",
        nargs="?",
        type=Path,
        help=f"folder that {tool('convert')} made [here, or the newest run's deploy/]",
    )
    parser.add_argument(
        "--hw-arch", default="hailo8", metavar="ARCH", help="hailo8, hailo8l or hailo8r [hailo8]"
    )
    parser.add_argument("--alls", type=find, metavar="FILE", help="model script [the bundle's model.alls]")
    parser.add_argument(
        "--try",
        dest="tried",
        type=find,
        nargs="+",
        metavar="FILE",
        help="model scripts to optimize with, and to compare on validation; no HEF is made",
    )
    parser.add_argument(
        "--layers",
        type=find,
        action="append",
        default=[],
        metavar="FILE",
        help="lines below those of the model script, a network's own or a setting; may be given again",
    )
    parser.add_argument("--strict", action="store_true", help="warnings about the model script are errors")
    parser.add_argument(
        "--steps",
        metavar="LIST",
        help="of parse,optimize,compile those to run, done or not [those that are not done]",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for HAR, HEF and report [BUNDLE/ARCH, or BUNDLE/rehearsal_ARCH]",
    )
    parser.add_argument(
        "--max-drop",
        type=_points,
        default=1.0,
        metavar="POINTS",
        help="accuracy that INT8 may lose on validation [1.0]",
    )
    parser.add_argument(
        "--quick",
        type=_count,
        metavar="N",
        help="score on N images of each split, in the classes' proportions",
    )
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="without the SDK: check, score the TFLite files and the emulated script",
    )
    parser.add_argument("--lint", type=find, metavar="FILE", help="check a model script and stop")
    parser.add_argument(
        "--bundle",
        dest="bundle_option",
        type=Path,
        metavar="DIR",
        help="with --lint: the bundle that the script is for",
    )
    parser.add_argument(
        "--har", type=Path, metavar="FILE", help="with --lint: the parsed network, to check layer names"
    )
    parser.add_argument("--inspect", type=Path, metavar="FILE", help="describe a HEF or a HAR and stop")
    parser.add_argument(
        "--report-problem",
        dest="problem",
        type=Path,
        metavar="OUT.zip",
        help="pack logs, reports and versions, without images, paths and names; shows the list, asks, stops",
    )
    parser.add_argument("--yes", action="store_true", help="with --report-problem: do not ask")
    parser.add_argument("--json", action="store_true", help="with --inspect: as JSON")
    return parser


def _inspect(path: Path, as_json: bool) -> int:
    from fer_hailo.formats.har import format_har, read_har
    from fer_hailo.formats.hef import format_hef, read_hef

    if path.suffix not in (".hef", ".har"):
        raise UserError(f"--inspect takes a .hef or a .har, not {path}")
    if path.suffix == ".har":
        har = read_har(path)
        print(to_json(har.to_dict(), indent=2) if as_json else format_har(har))
    else:
        hef = read_hef(path)
        print(to_json(hef.to_dict(), indent=2) if as_json else format_hef(hef))
    return 0


def _report_problem(arguments: argparse.Namespace) -> int:
    from fer_hailo.deploy.bundle import newest_bundle
    from fer_hailo.sdk.problem import report_problem

    bundle = arguments.bundle
    if bundle is None:
        with contextlib.suppress(UserError):  # without one there may still be logs
            bundle = newest_bundle()
    return report_problem(arguments.problem, bundle, arguments.out, arguments.hw_arch, arguments.yes)


def _lint(paths: list[Path], strict: bool, bundle: Path | None, har: Path | None) -> int:
    from fer_hailo.deploy.bundle import load_bundle
    from fer_hailo.script.files import fitted, read_scripts
    from fer_hailo.script.layers import Layers
    from fer_hailo.script.lint import lint_script, strictly

    script = read_scripts(paths)
    loaded = load_bundle(bundle) if bundle else None
    layers = Layers.from_har(har) if har else None
    spec, count = (loaded.spec, len(loaded.calibration())) if loaded else (None, None)
    if spec and count:
        script = fitted(script, spec, count)
    findings = lint_script(script.text, spec, count, layers)
    findings = strictly(findings) if strict else findings
    for finding in findings:
        print(script.format(finding))
    errors, warnings = (sum(finding.level == level for finding in findings) for level in ("error", "warning"))
    print(f"{script.name}: {errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}")
    return 2 if errors else 0


def _points(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= (value := float(text)) <= 100:
            return value
    raise argparse.ArgumentTypeError(f"points of accuracy are a number from 0 to 100, not {text}")


def _count(text: str) -> int:
    with contextlib.suppress(ValueError):
        if (value := int(text)) >= 1:
            return value
    raise argparse.ArgumentTypeError(f"a number of images is a whole number from 1 on, not {text}")
