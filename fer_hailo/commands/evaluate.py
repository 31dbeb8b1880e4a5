"""Score a model on the validation or test side of a data set, or of a deploy bundle.

fer-hailo evaluate                                        the newest complete run, on test
fer-hailo evaluate MODEL.keras --data PATH --split val      or a .h5 of Keras 1 to 3
fer-hailo evaluate FILE.pth --arch dan --classes surprise,fear,disgust,happy,sad,angry,neutral --data PATH
fer-hailo evaluate MODEL.tflite                           on the images of the bundle that it lies in
fer-hailo evaluate model.hef --data deploy/               on the board: needs numpy and HailoRT only
fer-hailo evaluate MODEL --explain                        and heat maps: where it saw what it said
fer-hailo evaluate --merge other/results.csv              join another machine's rows
fer-hailo evaluate MODEL MODEL --corruptions               dark, blurred, turned, masked ... faces
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fer_hailo.common.calls import install
from fer_hailo.common.cli import command_parser
from fer_hailo.common.config import add_flags, flag_values
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import to_json
from fer_hailo.common.runs import RUNS
from fer_hailo.deploy.home import Home, Use, resolve, warn_if_drawn


def main(argv: list[str] | None = None) -> None:
    parser = command_parser("evaluate", __doc__)
    parser.add_argument(
        "model",
        nargs="*",
        help="run folder, .keras, .h5, .tflite, .hef or (with --arch) .pth file, folder of one [the newest "
        "complete run]; several with --corruptions",
    )
    parser.add_argument(
        "--split",
        choices=("train", "val", "test"),
        help="side to score [test; of a bundle val and test; corrupted: val]",
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
    parser.add_argument(
        "--explain",
        action="store_true",
        help="also explained_SPLIT.png: heat maps of some images of each class, right and wrong",
    )
    parser.add_argument(
        "--corruptions",
        action="store_true",
        help="accuracy on faces that are dark, blurred, noisy, turned, masked ...; stopped, the same command "
        "goes on",
    )
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="with --corruptions: also ask this program, called with FACES.npy (uint8 (N, S, S) grey) and "
        "ANSWERS.npz, which it writes: probabilities (N, K), labels (K,)",
    )
    add_flags(parser)
    arguments = parser.parse_args(argv)
    if arguments.merge:
        from fer_hailo.common.results import merge

        print(f"{merge(RUNS / 'results.csv', arguments.merge)} new rows in {RUNS / 'results.csv'}")
        return
    if arguments.explain and arguments.corruptions:
        raise UserError("--explain does not go with --corruptions")
    if arguments.corruptions:
        _on_corruptions(arguments)
        return
    if len(arguments.model) > 1 or arguments.peer:
        raise UserError("several models, or --peer, go with --corruptions: else name one model")
    from fer_hailo.board.deployed import bundle_for

    home = resolve(next(iter(arguments.model), None), Use.SCORE, flag_values(arguments))
    warn_if_drawn(home)
    if bundle := bundle_for(home):
        _on_bundle(home, bundle, arguments)
    else:
        _on_data(home, arguments)


def _on_corruptions(arguments: argparse.Namespace) -> None:
    from fer_hailo.robustness.evaluation import evaluate_corrupted
    from fer_hailo.robustness.outputs import text, to_dict

    flags = flag_values(arguments)
    homes = [resolve(model, Use.SCORE, flags) for model in arguments.model or [None]]
    for home in homes:
        warn_if_drawn(home)
    scores, paths = evaluate_corrupted(homes, arguments.peer, arguments.split or "val", arguments.out)
    print(to_json(to_dict(scores)) if arguments.json else text(scores))
    print(f"written: {', '.join(map(str, paths))}", file=sys.stderr)


def _on_bundle(home: Home, folder: Path, arguments: argparse.Namespace) -> None:
    from fer_hailo.board.deployed import evaluate_deployed, tell
    from fer_hailo.common.metrics import format_metrics, to_dicts

    done = evaluate_deployed(home, folder, arguments.split, arguments.out, arguments.explain)
    shown = done.metrics[arguments.split].to_dict() if arguments.split else to_dicts(done.metrics)
    print(to_json(shown) if arguments.json else "\n\n".join(map(format_metrics, done.metrics.values())))
    tell(done, arguments.json)
    _written(done.out, list(done.metrics) if arguments.explain else [])


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

    metrics, out = evaluate_file(home, arguments.split or "test", arguments.out, arguments.explain)
    print(to_json(metrics.to_dict()) if arguments.json else format_metrics(metrics))
    _written(out, [metrics.split] if arguments.explain else [])


def _written(folder: Path, explained: list[str]) -> None:
    """Say where the report is, and the heat maps of some splits."""
    names = ["report.html", *(f"explained_{split}.png" for split in explained)]
    print(f"written: {', '.join(str(folder / name) for name in names)}", file=sys.stderr)
