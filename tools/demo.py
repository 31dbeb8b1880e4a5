"""`make demo`: reads a face with the released model, then goes the whole way: train, convert, rehearse the
compilation.

Trains on FER2013 when it lies in fer2013/, else on the synthetic sample set. The run is called demo_..., so
that it never stands for the newest run: what was trained on drawn faces must not read photographs.
"""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
RUNS = Path("fer2013_keras_hailo")
LOST_TOO_MUCH = 3  # a result of the rehearsal, not a failure of the demo


def main() -> int:
    import matplotlib

    from fer_hailo.training.data.sources import ARCHIVES

    portrait = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    present = any((ROOT / "fer2013" / name).exists() for name in ("train", *ARCHIVES))
    data = [] if present else ["--sample"]
    run = str(RUNS / time.strftime("demo_%Y%m%d-%H%M%S"))
    commands = [
        ["run.py", str(portrait), "--model", str(RUNS / "released")],
        ["train.py", "--config", "configs/demo.yaml", "--out", run, *data],
        ["convert_tflite.py", run],
        ["compile_hef.py", f"{run}/deploy", "--rehearse"],
    ]
    for command in commands:
        if command[0] == "train.py":
            print(
                "\nthe demo trains on "
                + (
                    "fer2013/"
                    if present
                    else "the synthetic sample set (drawn faces): fer2013/ holds no data"
                )
            )
        print(f"\n$ python {' '.join(command)}", flush=True)
        status = subprocess.call([sys.executable, *command], cwd=ROOT)
        if status not in (0, LOST_TOO_MUCH):
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
