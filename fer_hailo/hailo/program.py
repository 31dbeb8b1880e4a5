"""compile_hef.pyz: the compile command as one file, for SDK machines without a checkout."""

from __future__ import annotations

import shutil
import tempfile
import zipapp
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = (
    "__init__", "cli", "confidence", "errors", "files", "home", "litert", "metrics", "preprocess", "progress", "report", "results", "runs",
    "selection",
)  # fmt: skip
START = "import sys\n\nfrom compile_hef import main, run\n\nsys.exit(run(main))\n"


def write_program(target: Path) -> None:
    """Write the zipapp: compile_hef.py, fer_hailo/hailo and what they import."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "fer_hailo"
        shutil.copytree(ROOT / "fer_hailo" / "hailo", package / "hailo", ignore=shutil.ignore_patterns("__pycache__"))
        for name in MODULES:
            shutil.copy(ROOT / "fer_hailo" / f"{name}.py", package)
        shutil.copy(ROOT / "compile_hef.py", folder)
        (Path(folder) / "__main__.py").write_text(START, encoding="utf-8")
        zipapp.create_archive(folder, target, interpreter="/usr/bin/env python3", compressed=True)
