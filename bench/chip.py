"""Which network for a chip: converted runs compared on the same images, in float and in 8 bits.

python bench/chip.py RUN [RUN ...]      converted by convert_tflite.py; the first is what the others are
compared with

Of each: accuracy and macro recall of the float TFLite, of the INT8 that conversion made, and of INT8 with
whole ranges of the calibration images and corrected biases (what a Hailo finds by itself), on validation; at
the end, once, on validation and test together, with the paired difference from the first run's (95 %, Bonett
and Price 2012). Milliseconds: LiteRT, one thread, all files in turns, the fastest round of each.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from fer_hailo.board.comparison import paired_interval
from fer_hailo.common.cli import Parser, run
from fer_hailo.common.errors import UserError
from fer_hailo.deploy.bundle import FLOAT, INT8, Bundle, load_bundle
from fer_hailo.predict.litert import LiteRT
from fer_hailo.training.convert.bias_correction import correct_biases
from fer_hailo.training.convert.quantise import quantise_with
from fer_hailo.training.convert.ranges import WHOLE, limits_of, tensor_ranges

KINDS = ("float", "INT8", "INT8, whole ranges")
ROUNDS = 5


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    arguments = parser.parse_args(argv)
    bundles = {path.name: load_bundle(path / "deploy") for path in arguments.runs}
    sets = {name: bundle.evaluation() for name, bundle in bundles.items()}
    first = next(iter(sets.values()))
    for name, images in sets.items():
        if not np.array_equal(images.labels, first.labels) or not np.array_equal(images.split, first.split):
            raise UserError(
                f"{name} was scored on other images than {next(iter(sets))}: they cannot be compared"
            )
    answers = {
        (name, kind): found for name, bundle in bundles.items() for kind, found in _answers(bundle).items()
    }
    held = first.split == "val"
    print("validation: accuracy (macro recall) in %; ms, one thread")
    times = _times(bundles)
    for name in bundles:
        scores = "   ".join(
            f"{kind} {_score(answers[name, kind][held], first.labels[held])}" for kind in KINDS
        )
        print(f"{name}: {scores}   float {times[name, FLOAT]:.2f} ms, INT8 {times[name, INT8]:.2f} ms")
    print(f"validation and test, {len(held):,} images; points less {next(iter(bundles))} [95 %, paired]")
    for name in bundles:
        for kind in KINDS:
            found, other = (answers[key, kind] == first.labels for key in (name, next(iter(bundles))))
            gained, lost = int((found & ~other).sum()), int((other & ~found).sum())
            low, high = paired_interval(gained, lost, len(held))
            difference = 100 * (gained - lost) / len(held)
            score = _score(answers[name, kind], first.labels)
            print(
                f"{name}, {kind}: {score}, {difference:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]",
                flush=True,
            )


def _answers(bundle: Bundle) -> dict[str, np.ndarray]:
    """The predicted classes (N,) of the bundle's images, by each of KINDS."""
    images, source = bundle.evaluation().images, bundle.folder / FLOAT
    ranges = tensor_ranges(source, bundle.calibration(), bundle.spec)
    plain = quantise_with(source, limits_of(ranges, bundle.network, WHOLE), bundle.spec)
    means = {name: tensor.mean for name, tensor in ranges.items()}
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.tflite"
        whole.write_bytes(correct_biases(plain, source.read_bytes(), means))
        files = dict(zip(KINDS, (source, bundle.folder / INT8, whole), strict=True))
        return {kind: LiteRT(file).logits(images, bundle.spec).argmax(axis=1) for kind, file in files.items()}


def _times(bundles: dict[str, Bundle]) -> dict[tuple[str, str], float]:
    networks = {
        (name, file): LiteRT(bundle.folder / file)
        for name, bundle in bundles.items()
        for file in (FLOAT, INT8)
    }
    rounds = [{key: network.latency_ms(60) for key, network in networks.items()} for _ in range(ROUNDS)]
    return {key: min(found[key] for found in rounds) for key in networks}


def _score(answers: np.ndarray, labels: np.ndarray) -> str:
    recalls = [(answers[labels == label] == label).mean() for label in np.unique(labels)]
    return f"{(answers == labels).mean():.2%} ({np.mean(recalls):.1%})"


if __name__ == "__main__":
    sys.exit(run(main))
