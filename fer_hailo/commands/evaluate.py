"""Score a model on the validation or test side of a data set, or of a deploy bundle.

fer-hailo evaluate                                        the newest complete run, on test
fer-hailo evaluate MODEL.keras --data PATH --split val
fer-hailo evaluate MODEL.tflite                           on the images of the bundle that it lies in
fer-hailo evaluate model.hef --data deploy/               on the board: needs numpy and HailoRT only
fer-hailo evaluate --merge other/results.csv              join another machine's rows
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from fer_hailo.common.calls import install
from fer_hailo.common.cli import command_parser
from fer_hailo.common.config import add_flags, flag_values
from fer_hailo.common.errors import UserError
from fer_hailo.common.runs import RUNS
from fer_hailo.deploy.home import Home, Use, resolve, warn_if_drawn


def main(argv: list[str] | None = None) -> None:
    parser = command_parser("evaluate", __doc__)
    parser.add_argument(
        "model",
        nargs="?",
        help="run folder, .keras, .tflite or .hef file, folder of one [the newest complete run]",
    )
    parser.add_argument(
        "--split", choices=("train", "val", "test"), help="side to score [test; of a bundle val and test]"
    )
    parser.add_argument(
        "--json", action="store_true", help="print the metrics object and nothing else on standard output"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for metrics, plots and report [the run folder, or in the bundle]",
    )
    parser.add_argument(
        "--merge", metavar="FILE", help=f"add the rows of FILE to {RUNS}/results.csv and stop"
    )
    add_flags(parser)
    arguments = parser.parse_args(argv)
    if arguments.merge:
        from fer_hailo.common.results import merge

        print(f"{merge(RUNS / 'results.csv', arguments.merge)} new rows in {RUNS / 'results.csv'}")
        return
    from fer_hailo.board.deployed import bundle_for

    home = resolve(arguments.model, Use.SCORE, flag_values(arguments))
    warn_if_drawn(home)
    if bundle := bundle_for(home):
        _on_bundle(home, bundle, arguments)
    else:
        _on_data(home, arguments)


def _on_bundle(home: Home, folder: Path, arguments: argparse.Namespace) -> None:
    from fer_hailo.board.deployed import evaluate_deployed, tell
    from fer_hailo.common.metrics import format_metrics, to_dicts

    done = evaluate_deployed(home, folder, arguments.split, arguments.out)
    shown = done.metrics[arguments.split].to_dict() if arguments.split else to_dicts(done.metrics)
    print(json.dumps(shown) if arguments.json else "\n\n".join(map(format_metrics, done.metrics.values())))
    tell(done, arguments.json)
    print(f"written: {done.out / 'report.html'}", file=sys.stderr)


def _on_data(home: Home, arguments: argparse.Namespace) -> None:
    try:
        from fer_hailo.training.evaluate.evaluation import evaluate_file
    except ImportError as error:
        raise UserError(
            f"scoring on a data set needs the training packages ({error}): {install('train')}; on the board "
            "score a .tflite or "
            ".hef with --data naming its deploy bundle"
        ) from None
    from fer_hailo.common.metrics import format_metrics

    metrics, out = evaluate_file(home, arguments.split or "test", arguments.out)
    print(json.dumps(metrics.to_dict()) if arguments.json else format_metrics(metrics))
    print(f"written: {out / 'report.html'}", file=sys.stderr)
