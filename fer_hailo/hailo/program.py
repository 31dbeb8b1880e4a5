"""compile_hef.pyz: the compile command as one file, for SDK machines without this library."""

from __future__ import annotations

import importlib.resources
import shutil
import tempfile
import zipapp
from pathlib import Path

MODULES = (
    "__init__", "calls", "cli", "confidence", "errors", "files", "home", "litert", "metrics", "preprocess", "progress", "released",
    "report", "resources", "results", "runs", "selection", "commands/__init__", "commands/compile",
)  # fmt: skip
START = "import sys\n\nfrom fer_hailo.cli import run\nfrom fer_hailo.commands.compile import main\n\nsys.exit(run(main))\n"


def write_program(target: Path) -> None:
    """Write the zipapp: the compile command, fer_hailo/hailo and what they import."""
    library = Path(str(importlib.resources.files("fer_hailo")))
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "fer_hailo"
        shutil.copytree(library / "hailo", package / "hailo", ignore=shutil.ignore_patterns("__pycache__"))
        (package / "commands").mkdir()
        for name in MODULES:
            shutil.copy(library / f"{name}.py", package / f"{name}.py")
        (Path(folder) / "__main__.py").write_text(START, encoding="utf-8")
        zipapp.create_archive(folder, target, interpreter="/usr/bin/env python3", compressed=True)
