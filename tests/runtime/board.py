"""What tests of a board share: a deploy folder with HEFs, and the double of HailoRT in the place of
hailo_platform.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from conftest import ROOT
from handmade import compile_hef, write_bundle

CHIPS = ("hailo8", "hailo8l", "hailo8r")


def make_deploy(folder: Path) -> Path:
    """The handmade bundle, compiled for each chip: folder/deploy/hailo8/model.hef ... as they are copied to a
    board.
    """
    write_bundle(folder / "deploy")
    for chip in CHIPS:
        result = compile_hef("deploy", "--hw-arch", chip, "--quick", 8, cwd=folder)
        assert (folder / "deploy" / chip / "model.hef").is_file(), result.stderr
    return folder / "deploy"


def hef_writer():
    """The module doubles/sdk/hef_writer.py."""
    spec = importlib.util.spec_from_file_location("hef_writer", ROOT / "doubles/sdk/hef_writer.py")
    sys.modules["hef_writer"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Real values of what SCRFD 2.5g gives at its three strides, at 0 and 255, as in shared/data/hef
RANGES = {2: (0.0, 1.0), 8: (-0.08, 4.98), 20: (-3.16, 3.5)}


def scrfd_hef(path: Path, chip: str = "hailo8", ranges=RANGES, parts=(8, 2, 20), side: int = 640) -> Path:
    """A HEF with the inputs and outputs of SCRFD. parts: numbers of a place's outputs, in their order."""
    writer = hef_writer()
    normalised = ("model_script_layer_normalization1",)
    image = writer.Stream("scrfd/input_layer1", (side, side, 3), 0, 255, normalised)
    outputs = [
        writer.Stream(f"scrfd/conv{stride}_{part}", (side // stride, side // stride, part), *ranges[part])
        for stride in (8, 16, 32)
        for part in parts
    ]
    path.write_bytes(writer.write_hef("scrfd", chip, "3.33.0", [image], outputs))
    return path


def classifier_hef(folder: Path) -> Path:
    """The handmade bundle with a HEF that its INT8 TFLite stands for: folder/hailo8/model.hef."""
    writer = hef_writer()
    write_bundle(folder)
    (folder / "hailo8").mkdir()
    image = writer.Stream("colours/input_layer1", (16, 16, 3), 0, 255, ("model_script_layer_normalization1",))
    answer = writer.Stream("colours/fc1", (1, 1, 4), -12, 12, order=writer.NC)
    path = folder / "hailo8" / "model.hef"
    path.write_bytes(writer.write_hef("colours", "hailo8", "3.33.0", [image], [answer]))
    return path


@contextlib.contextmanager
def double_of_hailort(monkeypatch, record: Path) -> Iterator[Callable[..., Path]]:
    """Give a function that puts the double in place, with faults (its switches), and returns the path of its
    record of calls.

    At the end the double is forgotten, and must have been given its device back.
    """

    def put(**switches) -> Path:
        monkeypatch.syspath_prepend(str(ROOT / "doubles" / "hailort"))
        monkeypatch.setenv("FER_HAILO_RT_DOUBLE", json.dumps({"record": str(record)} | switches))
        _forget()
        return record

    yield put
    held = sys.modules["hailo_platform.device"].held if "hailo_platform.device" in sys.modules else []
    _forget()
    assert not held, "a device was left open"


def _forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "hailo_platform"]:
        del sys.modules[name]
