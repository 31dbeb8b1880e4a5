"""What a machine shows of itself: system, Python's packages, cameras, memory, heat and supply."""

from __future__ import annotations

import importlib.util
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_hailo.board.devices import Device, cameras
from fer_hailo.board.doctor.board import Board
from fer_hailo.common.errors import first_line, with_class


@dataclass(frozen=True)
class HostFacts:
    """system, machine: platform's names for them. says: both and the board's, for people. opencv, yunet,
    opencv_problem: its version, whether it runs YuNet, the face detector, or why it cannot be imported.
    litert: the package that runs a .tflite. free_mib, degrees: memory and temperature (Celsius), None where
    unknown. throttled: as vcgencmd tells it, bits of under-voltage and throttling, now and since the start.
    """

    system: str = "Linux"
    machine: str = "aarch64"
    says: str = ""
    python: str = ""
    opencv: str = ""
    yunet: bool = False
    opencv_problem: str = ""
    litert: str = ""
    keras: bool = False
    cameras: tuple[Device, ...] = ()
    free_mib: int | None = None
    degrees: float | None = None
    throttled: int | None = None


def gather_host(board: Board) -> HostFacts:
    """All facts. Imports OpenCV."""
    name = re.search(r'^PRETTY_NAME="?([^"\n]+)', board.text("/etc/os-release"), re.M)
    parts = (
        name[1] if name else platform.platform(),
        board.text("/proc/device-tree/model"),
        platform.machine(),
    )
    free = re.search(r"^MemAvailable: +(\d+) kB", board.text("/proc/meminfo"), re.M)
    zones = [board.text(f"/{path.relative_to(board.root)}") for path in _zones(board)]
    degrees = [int(text) / 1000 for text in zones if text.lstrip("-").isdigit()]
    bits = re.search(r"throttled=(0x[0-9a-fA-F]+)", board.says("vcgencmd", "get_throttled"))
    version, yunet, problem = _opencv()
    return HostFacts(
        platform.system(),
        platform.machine(),
        ", ".join(part for part in parts if part),
        f"{platform.python_version()} at {sys.executable}, numpy {np.__version__}",
        version,
        yunet,
        problem,
        next((name for name in ("ai_edge_litert", "tensorflow") if importlib.util.find_spec(name)), ""),
        importlib.util.find_spec("keras") is not None,
        tuple(cameras(board.root)),
        int(free[1]) // 1024 if free else None,
        max(degrees, default=None),
        int(bits[1], 16) if bits else None,
    )


def _zones(board: Board) -> list[Path]:
    return sorted(board.path("/sys/class/thermal").glob("thermal_zone*/temp"))


def _opencv() -> tuple[str, bool, str]:
    """Version, whether it runs YuNet, and why it cannot be imported."""
    try:
        import cv2
    except Exception as error:  # a missing system library, or another numpy, fails in many ways
        return "", False, with_class(error, first_line(error, 160, "nothing"))
    return cv2.__version__, hasattr(cv2, "FaceDetectorYN"), ""
