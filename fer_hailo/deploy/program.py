"""compile_hef.pyz: the compile command as one file, for SDK machines without this library."""

from __future__ import annotations

import importlib.resources
import shutil
import tempfile
import zipapp
from pathlib import Path

ROOMS = ("common", "formats", "script", "deploy", "emulation", "sdk")
MODULES = (
    "__init__",
    "predict/__init__",
    "predict/litert",
    "predict/private",
    "commands/__init__",
    "commands/compile",
)
START = (
    "import sys\n\nfrom fer_hailo.common.cli import run\nfrom fer_hailo.commands.compile import "
    "main\n\nsys.exit(run(main))\n"
)


def write_program(target: Path) -> None:
    """Write the zipapp: the compile command and the rooms of the library that it needs."""
    library = Path(str(importlib.resources.files("fer_hailo")))
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "fer_hailo"
        for room in ROOMS:
            shutil.copytree(library / room, package / room, ignore=shutil.ignore_patterns("__pycache__"))
        for name in MODULES:
            (package / name).parent.mkdir(exist_ok=True)
            shutil.copy(library / f"{name}.py", package / f"{name}.py")
        (Path(folder) / "__main__.py").write_text(START, encoding="utf-8")
        zipapp.create_archive(folder, target, interpreter="/usr/bin/env python3", compressed=True)
