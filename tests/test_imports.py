"""What may import what: light parts stay light, and a ready cache trains without OpenCV or Pillow."""

import ast
import subprocess
import sys

import pytest
from conftest import ROOT, SMALL, assert_quiet

from fer_hailo.common.config import load_config, save_config
from fer_hailo.training.data.cache import load_pictures

HEAVY = {"tensorflow", "keras", "jax", "torch", "cv2", "yaml", "matplotlib", "PIL", "sklearn", "scipy"}


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(out.stdout.split())


@pytest.mark.parametrize("module", ["", ".deploy.home", ".training.data.sources", ".board.faces"])
def test_light_modules_load_no_framework(module):
    assert not loaded_by(f"import fer_hailo{module}") & HEAVY


def arrows() -> set[tuple[str, str]]:
    """(module, imported module) of the whole library, imports inside of functions too, by their names below
    fer_hailo.

    Tests that lie in it are no part of it.
    """
    paths = [
        path for path in (ROOT / "fer_hailo").rglob("*.py") if not path.name.startswith(("test_", "conftest"))
    ]
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}
    found = set()
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fer_hailo"):
                targets = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = [target if target in modules else node.module for target in targets]
            elif isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names if alias.name.startswith("fer_hailo.")]
            else:
                continue
            found |= {(name.partition(".")[2], target.partition(".")[2]) for target in targets}
    return found


# From the ground up: a room imports from itself and from those before it.
ROOMS = (
    "common",
    "formats",
    "script",
    "deploy",
    "predict",
    "explain",
    "emulation",
    "sdk",
    "board",
    "training",
    "robustness",
    "api",
    "commands",
)
TRAINING = ("data", "networks", "models", "evaluate", "convert", "fit", "quantise", "experiments")
# A .keras file may hold layers of this project
ALLOWED_UP = {("predict.keras_model", "training.models.build")}


def rank(module: str, rooms: tuple[str, ...]) -> int:
    """A module's place in the order of rooms; what lies in none of them is above all."""
    room = module.split(".")[0]
    return rooms.index(room) if room in rooms else len(rooms)


def test_no_arrow_runs_back_up():
    found = arrows()
    assert len(found) > 500
    up = {(a, b) for a, b in found if rank(a, ROOMS) < rank(b, ROOMS)}
    assert up == ALLOWED_UP
    inside = {(a[9:], b[9:]) for a, b in found if a.startswith("training.") and b.startswith("training.")}
    assert not {(a, b) for a, b in inside if rank(a, TRAINING) < rank(b, TRAINING)}


NUMPY_ALONE = ("common", "formats", "script", "deploy", "emulation", "sdk")


def test_rooms_of_the_sdk_machine_import_numpy_alone():
    """At import.

    Within functions a package may be asked for where it is needed: yaml, LiteRT, the vendor's own.
    """
    names = [path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for room in NUMPY_ALONE
             for path in sorted((ROOT / "fer_hailo" / room).glob("*.py"))]  # fmt: skip
    allowed = set(sys.stdlib_module_names) | {"numpy", "fer_hailo"}
    new = loaded_by("import " + ", ".join(names)) - loaded_by("pass")
    assert len(names) > 50 and not {name for name in new if name not in allowed and not name.startswith("_")}


@pytest.mark.slow
def test_training_from_a_cache_needs_no_opencv(command, sample_set, tmp_path):
    config = load_config(
        None,
        SMALL | {"data": str(sample_set), "stage1_epochs": 1, "stage2_epochs": 0, "stage2_warmup_epochs": 0},
    )
    load_pictures(sample_set, config.preprocess, tmp_path)
    (cache,) = tmp_path.glob("*.npz")
    save_config(config, tmp_path / "c.yaml")
    code = (
        "import sys, train\nsys.modules['cv2'] = None\n"
        "def main(argv):\n    import tiny\n    train.main(argv)\nsys.exit(train.run(main))"
    )
    arguments = ["--config", "c.yaml", "--data", cache.name, "--out", "run"]
    done = command([sys.executable, "-c", code], *arguments)
    assert done.returncode == 0, done.stderr
    assert_quiet(done)
    assert (tmp_path / "run/DONE").exists()
