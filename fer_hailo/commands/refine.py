"""Refine the labels of the training images by models' predictions, for training without these models.

fer-hailo refine MODEL [MODEL ...] --out labels.npz      the mean of what they say of some augmented views
fer-hailo refine RUN RUN ... --cross-fitted --out labels.npz      each RUN on the fold that it left out

The file holds probabilities by a digest of the pixels, and no image: `fer-hailo train --targets labels.npz`.

Cross-fitted: no image's model has seen its label. Train a run for each of K folds first, `fer-hailo train
--fold 1/5` to `--fold 5/5`. Validation stays out of all of them, and gets no refined labels.
"""

from __future__ import annotations

from pathlib import Path

from fer_hailo.common.cli import command_parser
from fer_hailo.common.errors import UserError


def main(argv: list[str] | None = None) -> None:
    parser = command_parser("refine", __doc__)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="run folder, released:NAME or .keras file")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to make, .npz")
    parser.add_argument(
        "--cross-fitted", action="store_true", help="each model answers on the fold that its run left out"
    )
    parser.add_argument("--data", help="where the data lies [as the first run has it]")
    parser.add_argument("--views", type=int, default=4, help="augmented views of each image [4]")
    parser.add_argument("--seed", type=int, default=42, help="seed of their augmentation [42]")
    arguments = parser.parse_args(argv)
    if arguments.out.suffix != ".npz":
        raise UserError(f"--out {arguments.out} must end with .npz")
    if arguments.views < 1 or arguments.seed < 0:
        raise UserError("--views must be 1 or more, --seed 0 or more")
    from fer_hailo.training.refine import refine

    overrides = {"data": arguments.data} if arguments.data else {}
    refine(
        arguments.models, arguments.cross_fitted, overrides, arguments.views, arguments.seed, arguments.out
    )
