"""Score a model on the validation or test side of a data set.

python evaluate.py                                        the newest complete run, on test
python evaluate.py MODEL.keras --data PATH --split val
python evaluate.py --merge other/results.csv              join another machine's rows
"""

import argparse
import json
import sys
from pathlib import Path

from fer_hailo.cli import Parser, run
from fer_hailo.config import add_flags, flag_values
from fer_hailo.runs import RUNS


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="run folder or .keras file [the newest complete run]")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test", help="side to score [test]")
    parser.add_argument("--json", action="store_true", help="print the metrics object and nothing else on standard output")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for metrics, plots and report [the run folder]")
    parser.add_argument("--merge", metavar="FILE", help=f"add the rows of FILE to {RUNS}/results.csv and stop")
    add_flags(parser)
    arguments = parser.parse_args(argv)
    if arguments.merge:
        from fer_hailo.results import merge

        print(f"{merge(RUNS / 'results.csv', arguments.merge)} new rows in {RUNS / 'results.csv'}")
        return
    from fer_hailo.evaluate.run import evaluate_file
    from fer_hailo.metrics import format_metrics

    metrics, out = evaluate_file(arguments.model, arguments.split, flag_values(arguments), arguments.out)
    print(json.dumps(metrics) if arguments.json else format_metrics(metrics))
    print(f"written: {out / 'report.html'}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run(main))
