"""What may import what: light parts stay light, and a ready cache trains without OpenCV or Pillow."""

import subprocess
import sys

import pytest
from conftest import ROOT, SMALL

from fer_hailo.config import load_config, save_config
from fer_hailo.data.cache import load_pictures

HEAVY = {"tensorflow", "keras", "jax", "torch", "cv2", "yaml", "matplotlib", "PIL", "sklearn", "scipy"}


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(out.stdout.split())


@pytest.mark.parametrize(
    "module", ["", ".config", ".preprocess", ".metrics", ".results", ".report", ".runs", ".home", ".data.sources", ".runtime.faces"]
)
def test_light_modules_load_no_framework(module):
    assert not loaded_by(f"import fer_hailo{module}") & HEAVY


@pytest.mark.parametrize("module", ["calls", "home", "metrics", "released", "report", "resources", "results", "files", "runs"])
def test_what_the_sdk_machine_shares_needs_numpy_alone(module):
    allowed = set(sys.stdlib_module_names) | {"numpy", "fer_hailo"}
    new = loaded_by(f"import fer_hailo.{module}") - loaded_by("pass")
    assert not {name for name in new if name not in allowed and not name.startswith("_")}


def test_training_from_a_cache_needs_no_opencv(command, sample_set, tmp_path):
    config = load_config(None, SMALL | {"data": str(sample_set), "stage1_epochs": 1, "stage2_epochs": 0, "stage2_warmup_epochs": 0})
    load_pictures(sample_set, config.preprocess, tmp_path)
    (cache,) = tmp_path.glob("*.npz")
    save_config(config, tmp_path / "c.yaml")
    code = "import sys; sys.modules['cv2'] = None; import tiny, train; sys.exit(train.run(train.main, sys.argv[1:]))"
    arguments = ["--config", "c.yaml", "--data", cache.name, "--out", "run"]
    done = command([sys.executable, "-c", code], *arguments)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/DONE").exists()
