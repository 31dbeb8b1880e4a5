"""`make demo`: the whole way, on FER2013 when it lies in fer2013/, else on the synthetic sample set: train, convert, rehearse."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOST_TOO_MUCH = 3  # a result of the rehearsal, not a failure of the demo


def main() -> int:
    present = any(path.name != "README.md" for path in (ROOT / "fer2013").iterdir())
    data = [] if present else ["--sample"]
    print("the demo trains on " + ("fer2013/" if present else "the synthetic sample set (drawn faces): fer2013/ holds no data"))
    for command in (["train.py", "--config", "configs/demo.yaml", *data], ["convert_tflite.py"], ["compile_hef.py", "--rehearse"]):
        print(f"\n$ python {' '.join(command)}", flush=True)
        status = subprocess.call([sys.executable, *command], cwd=ROOT)
        if status not in (0, LOST_TOO_MUCH):
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
