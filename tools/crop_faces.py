"""Turn your own photographs, sorted in class folders, into a data set of faces.

    python tools/crop_faces.py my_photos my_faces [--detector haar]
    python train.py --data my_faces --resplit --weights RUN/best_model_float32.keras

my_photos holds one folder a class (or train/ and test/ with class folders). The largest face of each
photograph is cropped. Images without a face are listed in my_faces/report.csv and left out; exit status 1
says that there were some.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fer_hailo.board.faces import cut, open_detector
from fer_hailo.board.images import write_picture
from fer_hailo.common.cli import Parser, run
from fer_hailo.common.decode import decode
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import write_csv
from fer_hailo.common.progress import track
from fer_hailo.training.data.sources import FolderSource


def main(argv: list[str] | None = None) -> int:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of class folders")
    parser.add_argument("faces", type=Path, help="folder to make")
    parser.add_argument("--detector", default="yunet", help="yunet, haar, or a YuNet ONNX file [yunet]")
    parser.add_argument("--margin", type=float, help="enlarge the box by this part [as FER2013 frames faces]")
    parser.add_argument("--all", action="store_true", help="crop every face, not the largest only")
    arguments = parser.parse_args(argv)
    if not arguments.photos.is_dir():
        raise UserError(f"no folder at {arguments.photos}")
    if arguments.faces.exists() and not (arguments.faces.is_dir() and not any(arguments.faces.iterdir())):
        raise UserError(f"{arguments.faces} is not an empty folder: choose another")
    if arguments.margin is not None and not -0.5 <= arguments.margin <= 2:
        raise UserError(f"--margin must be between -0.5 and 2, got {arguments.margin}")
    return crop_folder(arguments.photos, arguments.faces, arguments.detector, arguments.margin, arguments.all)


def crop_folder(photos: Path, faces: Path, model: str, margin: float | None, every: bool) -> int:
    """Crop all photographs. Returns 0, or 1 when some had no face or could not be read."""
    source = FolderSource(photos)
    if not source.entries:
        raise UserError(f"{photos} holds no images in class folders (<class>/picture.jpg)")
    detector = open_detector(model)

    def load(entry):
        try:
            return decode(source.read(entry)), ""
        except (ValueError, OSError) as error:
            return None, str(error)

    rows = []
    # Reading overlaps with detection; the detectors themselves are not thread-safe
    with ThreadPoolExecutor() as pool:
        loaded = track(pool.map(load, source.entries), len(source.entries), "cropping")
        for entry, (image, problem) in zip(source.entries, loaded, strict=True):
            found = detector.find(image) if image is not None else []
            for number, face in enumerate(found if every else found[:1]):
                # The suffix stays in the name: a.jpg and a.png are two photographs.
                folder, name = Path(entry.split, entry.label), entry.id.rsplit("/", 1)[1]
                write_picture(
                    faces / folder / f"{name.replace('.', '_')}_{number}.png", cut(image, face, margin)
                )
            rows.append(
                {
                    "id": entry.id,
                    "faces": len(found),
                    "problem": problem or ("" if found else "no face found"),
                }
            )
    write_csv(faces / "report.csv", ["id", "faces", "problem"], rows)
    missed = [row for row in rows if row["problem"]]
    print(f"{len(rows) - len(missed):,} of {len(rows):,} images gave faces in {faces}")
    for row in missed[:10]:
        print(f"  {row['id']}: {row['problem']}")
    if len(missed) > 10:
        print(f"  ... and {len(missed) - 10:,} more, see {faces / 'report.csv'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(run(main))
