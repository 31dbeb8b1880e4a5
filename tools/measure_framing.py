"""Measure how FER2013 frames faces: where a detector sees the face in its images.

    python tools/measure_framing.py --data fer2013.zip --detector yunet

The constants at the top of fer_hailo/board/faces.py come from it. Only training images are looked at. Each is
enlarged, and its border repeated outwards, so that the detector may find the face larger than its frame. All
numbers are parts of the frame's side.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from fer_hailo.board.faces import Detector, Face, open_detector
from fer_hailo.common.cli import Parser, run
from fer_hailo.common.decode import decode
from fer_hailo.common.errors import UserError
from fer_hailo.common.progress import track
from fer_hailo.training.data.sources import open_source

ENLARGED = 4
POINTS = ("right eye", "left eye", "nose tip", "right mouth corner", "left mouth corner")


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="FER2013: folder, zip or CSV")
    parser.add_argument("--detector", default="haar", help="haar, yunet, or a YuNet ONNX file [haar]")
    parser.add_argument(
        "--count", type=int, default=4000, help="images, evenly spread over the training set [4000]"
    )
    arguments = parser.parse_args(argv)
    if arguments.count < 1:
        raise UserError(f"--count must be at least 1, got {arguments.count}")
    source = open_source(arguments.data)
    entries = [entry for entry in source.entries if entry.split == "train"]
    if not entries:
        raise UserError(f"{arguments.data} has no training images (train/<class>/*.jpg)")
    entries = entries[:: max(1, len(entries) // arguments.count)]
    detector = open_detector(arguments.detector)
    faces = [framed(detector, source.read(entry)) for entry in track(entries, len(entries), "measuring")]
    report([face for face in faces if face], len(faces))
    return 0


def framed(detector: Detector, picture) -> np.ndarray | None:
    """Box (x, y, width, height) and landmarks (x, y each), in parts of the frame's side; None where no face
    is found.
    """
    import cv2

    small = picture if isinstance(picture, np.ndarray) else decode(picture)
    large = cv2.resize(small, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)
    side = large.shape[0]
    pad = side // 2
    found: list[Face] = detector.find(cv2.copyMakeBorder(large, pad, pad, pad, pad, cv2.BORDER_REPLICATE))
    if not found:
        return None
    x, y, width, height = found[0].box
    return [
        (x - pad) / side,
        (y - pad) / side,
        width / side,
        height / side,
        *((np.ravel(found[0].landmarks or ()) - pad) / side),
    ]


def report(faces: list[list[float]], count: int) -> None:
    """Print medians and middle halves."""
    print(f"{len(faces):,} of {count:,} faces found ({len(faces) / count:.1%})")
    if not faces:
        return
    table = np.array(faces)
    x, y, width, height = table[:, :4].T
    _line("margin of the box", 1 / np.maximum(width, height) - 1)
    _line("box, middle x", x + width / 2)
    _line("box, middle y", y + height / 2)
    for number, name in enumerate(POINTS if table.shape[1] > 4 else ()):
        _line(f"{name}, x", table[:, 4 + 2 * number])
        _line(f"{name}, y", table[:, 5 + 2 * number])


def _line(name: str, values: np.ndarray) -> None:
    low, middle, high = np.percentile(values, (25, 50, 75))
    print(f"{name:22} {middle:7.3f}   half between {low:.3f} and {high:.3f}")


if __name__ == "__main__":
    sys.exit(run(main))
