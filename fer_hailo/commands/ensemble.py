"""Join several runs into one model by soft voting.

fer-hailo ensemble RUN RUN [RUN ...]       weights fitted on validation; a run folder with the model and its
scores fer-hailo ensemble RUN RUN --equal         the plain mean

The model is one .keras file; `fer-hailo evaluate` scores it, and `--teacher` takes it.
"""

from __future__ import annotations

from pathlib import Path

from fer_hailo.common.cli import command_parser
from fer_hailo.common.errors import UserError
from fer_hailo.common.runs import RUNS


def main(argv: list[str] | None = None) -> None:
    parser = command_parser("ensemble", __doc__)
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="run folder, or .keras file beside its config.yaml"
    )
    parser.add_argument(
        "--equal", action="store_true", help="the same weight for each instead of fitted ones"
    )
    parser.add_argument("--data", help="where the data lies [as the first run has it]")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"folder to make [{RUNS}/ensemble_DATE-TIME]")
    arguments = parser.parse_args(argv)
    if len(arguments.runs) < 2:
        raise UserError("an ensemble needs two or more runs")
    from fer_hailo.training.ensemble import join

    join(arguments.runs, arguments.equal, {"data": arguments.data} if arguments.data else {}, arguments.out)
