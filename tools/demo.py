"""`make demo`: the whole way with configs/demo.yaml, on FER2013 when it lies in fer2013/, else on the synthetic sample set."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> int:
    sys.path.insert(0, str(ROOT))
    from fer_hailo.data.sources import open_source
    from fer_hailo.errors import UserError

    try:
        open_source(ROOT / "fer2013")
        data = []
        print("fer2013/ holds data: the demo trains on it")
    except UserError:
        data = ["--sample"]
        print("fer2013/ holds no data: the demo trains on the synthetic sample set (drawn faces)")
    return subprocess.call([sys.executable, "train.py", "--config", "configs/demo.yaml", *data], cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
