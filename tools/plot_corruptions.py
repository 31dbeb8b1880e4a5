"""Draw docs/corruptions.jpg: the largest face of a photograph, at each strength of each corruption that
`evaluate.py --corruptions` scores.

    python tools/plot_corruptions.py PHOTO [--out FILE]
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fer_hailo.board.faces import cut, open_detector
from fer_hailo.common.cli import Parser, run
from fer_hailo.common.decode import decode
from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec, to_source
from fer_hailo.robustness.corruptions import sheet
from fer_hailo.training.evaluate.plots import plot_grid

OUT = Path(__file__).parents[1] / "docs" / "corruptions.jpg"


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="[docs/corruptions.jpg]")
    arguments = parser.parse_args(argv)
    try:
        image = decode(arguments.photo.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{arguments.photo} cannot be read: {error}") from None
    found = open_detector("haar").find(image)
    if not found:
        raise UserError(f"no face is found in {arguments.photo}: give another photograph")
    images, titles = sheet(to_source(cut(image, found[0]), PreprocessSpec()))
    plot_grid(arguments.out, images, titles, "48 x 48 pixels; each as it is, then at strength 1, 2 and 3", 12)
    print(arguments.out)


if __name__ == "__main__":
    sys.exit(run(main))
