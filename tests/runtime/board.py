"""What tests of a board share: a deploy folder with HEFs, and the double of HailoRT in the place of
hailo_platform.
"""

from __future__ import annotations

import contextlib
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
