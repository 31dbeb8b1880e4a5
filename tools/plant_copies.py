"""How many copies does each rule of the field `copies` find? Copies of random training images are planted,
then looked for.

    python tools/plant_copies.py --data fer2013.zip --sheets folder_outside_the_repository

Also prints the pairs and groups in the data as it is. --sheets writes the images of pairs that only the rule
`registered` has: random ones, and those with the lowest correlation.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from fer_hailo.common.cli import Parser, run
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import written
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.training.data.cache import Pictures, load_pictures
from fer_hailo.training.data.copies import registered_pairs
from fer_hailo.training.data.duplicates import exact_groups, merge_groups, near_pairs

PLANTED = 140
ENLARGED, COLUMNS, A_SHEET = 3, 5, 25


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="data set with a training side")
    parser.add_argument("--cache", help="folder of its cache [none]")
    parser.add_argument("--seed", type=int, default=0, help="seed of what is planted and shown [0]")
    parser.add_argument("--sheets", help="folder for images of pairs, outside the repository [none]")
    arguments = parser.parse_args(argv)
    pictures = load_pictures(arguments.data, PreprocessSpec(), arguments.cache)
    found, scores = registered_pairs(pictures.images, pictures.exact)
    for rule, pairs in (("thumbnail", pictures.near), ("registered", found)):
        sizes = np.bincount(merge_groups(pictures.exact, pairs))
        print(
            f"{rule}: {len(pairs):,} pairs; with identical images {(sizes > 1).sum():,} groups of "
            f"{sizes[sizes > 1].sum():,} images"
        )
    if arguments.sheets:
        draw_sheets(Path(arguments.sheets), pictures, found, scores, arguments.seed)
    counts = count_found(pictures.images[pictures.splits == "train"], arguments.seed)
    print(f"\n{'found of ' + str(PLANTED):<28}{'thumbnail':>12}{'registered':>12}")
    for kind, (thumbnail, registered) in counts.items():
        print(f"{kind:<28}{thumbnail:>12}{registered:>12}")
    return 0


def count_found(images: np.ndarray, seed: int) -> dict[str, tuple[int, int]]:
    """Of PLANTED copies of each kind among `images`, uint8 (N, S, S), how many each rule puts into the group
    of their original.
    """
    changes, rng = kinds(), np.random.default_rng(seed)
    if len(images) < PLANTED * len(changes):
        raise UserError(
            f"{len(images):,} training images are too few: {PLANTED * len(changes):,} different ones are "
            "copied"
        )
    # One copy of each, so that no chain of copies helps
    originals = rng.choice(len(images), (len(changes), PLANTED), replace=False)
    copies = [
        change(images[i], rng) for change, own in zip(changes.values(), originals, strict=True) for i in own
    ]
    images = np.concatenate([images, np.stack(copies)])
    exact, first = exact_groups(images), len(images) - len(copies)
    places = first + np.arange(len(copies)).reshape(originals.shape)
    counts = []
    for pairs in (near_pairs(images), registered_pairs(images, exact)[0]):
        groups = merge_groups(exact, pairs)
        counts.append((groups[originals] == groups[places]).sum(axis=1).tolist())
    return dict(zip(changes, zip(*counts, strict=True), strict=True))


def kinds() -> dict[str, Callable]:
    """What copies are made of an image, uint8 (S, S), with a random generator."""
    import cv2

    def moved(image, rng):
        along, by = rng.integers(2), rng.choice([-1, 1])
        return np.roll(np.pad(image, 1, mode="edge"), by, axis=along)[1:-1, 1:-1]

    def cropped(image, rng, least=2, most=5):  # pixels of 48: 10 %
        side = len(image) - rng.integers(least, most + 1) * len(image) // 48
        x, y = rng.integers(0, len(image) - side + 1, 2)
        return cv2.resize(image[y : y + side, x : x + side], image.shape[::-1], interpolation=cv2.INTER_CUBIC)

    def turned(image, rng):
        middle = (len(image) - 1) / 2
        turn = cv2.getRotationMatrix2D((middle, middle), rng.choice([-5, 5]), 1)
        return cv2.warpAffine(
            image, turn, image.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )

    return {
        "identical": lambda image, rng: image,
        "lighter": lambda image, rng: np.clip(image * 0.8 + 50, 0, 255).astype(np.uint8),
        "darker, half the contrast": lambda image, rng: (image * 0.5).astype(np.uint8),
        "JPEG of quality 50": lambda image, rng: cv2.imdecode(
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], 0
        ),
        "moved by one pixel": moved,
        "cropped by 2 pixels": lambda image, rng: cropped(image, rng, 2, 2),
        "cropped by 4 to 10 %": cropped,
        "cropped by 10 %": lambda image, rng: cropped(image, rng, 5, 5),
        "mirrored": lambda image, rng: image[:, ::-1],
        "turned by 5 degrees": turned,
        "mirrored and cropped": lambda image, rng: cropped(image, rng)[:, ::-1],
        "turned and cropped": lambda image, rng: cropped(turned(image, rng), rng),
    }


def draw_sheets(folder: Path, pictures: Pictures, pairs: np.ndarray, scores: np.ndarray, seed: int) -> None:
    """100 random pairs that the rule `thumbnail` does not have, and the 50 of them with the lowest
    correlation.
    """
    import cv2

    first = np.unique(pictures.exact, return_index=True)[1]
    known = {tuple(pair) for pair in np.sort(first[pictures.exact[pictures.near]], axis=1).tolist()}
    new = np.array([i for i, pair in enumerate(pairs.tolist()) if tuple(pair) not in known], dtype=np.int64)
    random = np.random.default_rng(seed).choice(new, min(100, len(new)), replace=False)
    for name, chosen in (("random", random), ("lowest", new[np.argsort(scores[new])][:50])):
        for start in range(0, len(chosen), A_SHEET):
            tiles = [
                _tile(pictures.images[pairs[i]], f"{i} {scores[i]:.4f}")
                for i in chosen[start : start + A_SHEET]
            ]
            tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % COLUMNS)
            rows = [np.concatenate(tiles[k : k + COLUMNS], axis=1) for k in range(0, len(tiles), COLUMNS)]
            with written(folder / f"{name}_{start // A_SHEET + 1}.png") as beside:
                cv2.imwrite(str(beside), np.concatenate(rows))


def _tile(images: np.ndarray, title: str) -> np.ndarray:
    import cv2

    pair = cv2.resize(
        np.concatenate(list(images), axis=1), None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC
    )
    pair = cv2.copyMakeBorder(pair, 14, 2, 2, 6, cv2.BORDER_CONSTANT, value=255)
    return cv2.putText(pair, title, (4, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.38, 0, 1, cv2.LINE_AA)


if __name__ == "__main__":
    sys.exit(run(main))
