"""Python environments for the packages that the benchmarks compare with, made where they are missing.

python bench/environments.py fer     prints the path of its Python
"""

import argparse
import importlib.metadata
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fer_hailo.common.cli import Parser, run
from fer_hailo.common.errors import UserError

FOLDER = Path(".venv-peers")
OPENCV = "opencv-python"  # the version that is here, so that both sides read and detect alike
KERAS = "keras"  # likewise
# Each package without what it names beside, which would bring training tools and other detectors.
INSTALLS = {
    "fer": (
        ("tensorflow>=2.21,<2.22", OPENCV, "setuptools<81", "requests", "pillow"),
        ("--no-deps", "fer==25.10.3"),
    ),
    "facial_emotion_recognition": (
        ("torch>=2.6,<3", "torchvision", OPENCV, "requests", "pillow", "tqdm"),
        ("--no-deps", "facenet-pytorch"),
        ("--no-deps", "facial_emotion_recognition==0.3.4"),
    ),
    "facex": (
        ("tensorflow>=2.21,<2.22", OPENCV, "scikit-image"),
        ("--no-deps", "facex==1.1.0"),
    ),
    "face-api": (("numpy",),),
    "keras_torch": (
        ("torch>=2.6,<3", KERAS, OPENCV, "scikit-learn", "scipy", "matplotlib", "pillow", "pyyaml"),
    ),
}
# What npm puts into the same folder. Their install scripts do not run: nothing is fetched but these packages.
NODE_INSTALLS = {
    "face-api": (
        "@vladmandic/face-api@1.7.15",
        "@tensorflow/tfjs@4.22.0",
        "@tensorflow/tfjs-backend-wasm@4.22.0",
    ),
}


def environment(package: str) -> str:
    """The Python of a package's environment. Raises UserError where it cannot be made."""
    here = {name: f"{name}=={importlib.metadata.version(name)}" for name in (OPENCV, KERAS)}
    folder, installs = (
        FOLDER / package,
        [[here.get(name, name) for name in names] for names in INSTALLS[package]],
    )
    node = NODE_INSTALLS.get(package, ())
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ready, wanted = folder / "ready", repr([*installs, node] if node else installs)
    if not ready.is_file() or ready.read_text() != wanted:
        print(f"making {folder}/ (some minutes)", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        for packages in installs:
            if subprocess.run([python, "-m", "pip", "install", "--quiet", *packages]).returncode:
                raise UserError(f"{package} could not be installed, see above")
        if node:
            _npm_install(package, folder, node)
        (folder / ".gitignore").write_text("*\n")
        ready.write_text(wanted)
    return str(python)


def _npm_install(package: str, folder: Path, packages: tuple[str, ...]) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(f"{package} needs Node.js with npm, which is not installed here")
    options = ("--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error")
    if subprocess.run([npm, "install", *options, *packages], stdout=sys.stderr).returncode:
        raise UserError(f"{package} could not be installed, see above")


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", choices=INSTALLS)
    print(environment(parser.parse_args(argv).package))


if __name__ == "__main__":
    sys.exit(run(main))
