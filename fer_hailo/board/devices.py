"""Cameras as Linux lists them, by name."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

CSI = ("rp1-cfe", "unicam")  # a Raspberry Pi camera's raw stream, which no program can show without libcamera
INNER = ("pispbe", "bcm2835", "rpivid", "rpi-hevc")  # video nodes of the chip itself: no cameras


@dataclass(frozen=True)
class Device:
    """number: N of /dev/videoN. csi: a Raspberry Pi camera behind libcamera. closed: to this user."""

    number: int
    name: str
    csi: bool = False
    closed: bool = False


def cameras(root: Path = Path("/")) -> list[Device]:
    """Cameras by number: the first video node of each device. The others of a camera give metadata, and the
    video nodes of decoders and of the image processor are none.
    """
    found = []
    for node in (root / "dev").glob("video*"):
        about = root / "sys/class/video4linux" / node.name
        name, index = _text(about / "name"), _text(about / "index")
        if node.name[5:].isdigit() and index in ("", "0") and not name.startswith(INNER):
            closed = not os.access(node, os.R_OK | os.W_OK)
            found.append(Device(int(node.name[5:]), name or "no name", name.startswith(CSI), closed))
    return sorted(found, key=lambda device: device.number)


def list_cameras(root: Path = Path("/")) -> int:
    """Print what `run.py` takes for each camera, and its name. Returns the exit status, 0."""
    found = cameras(root)
    for device in found:
        source = "picamera" if device.csi else str(device.number)
        closed = (
            " (this user may not open it: sudo usermod -aG video $USER)"
            if device.closed and not device.csi
            else ""
        )
        print(f"{source:8}  {device.name}{closed}")
    if not found:
        print("no camera: no /dev/video* is one", file=sys.stderr)
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""
