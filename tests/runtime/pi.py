"""Doubles of a Raspberry Pi's cameras: the module picamera2, and the program rpicam-vid in $PATH."""

from __future__ import annotations

import sys
import threading
from types import ModuleType

import numpy as np


class FakePicamera2(ModuleType):
    """The module picamera2 with `cameras` of them, each free for one user. Its frames are of one colour.

    color: in the camera's own words, red, green, blue. silent: it gives no frame. asked: the configurations.
    """

    def __init__(self, cameras: int = 1, color=(200, 30, 10), silent: bool = False):
        super().__init__("picamera2")
        self.cameras, self.color, self.silent, self.asked, self.open = cameras, color, silent, [], []
        self.Picamera2 = lambda number=0: FakeCamera2(self, number)


class FakeCamera2:
    def __init__(self, module: FakePicamera2, number: int):
        if number >= module.cameras:
            raise IndexError("list index out of range")
        if number in module.open:
            raise RuntimeError("Failed to acquire camera: Device or resource busy")
        module.open.append(number)
        self._module, self._number, self._stream, self._started = module, number, None, False

    def create_video_configuration(self, main: dict, controls: dict) -> dict:
        return {"main": main, "controls": controls}

    def configure(self, configuration: dict) -> None:
        assert configuration["main"]["format"] == "RGB888"
        self._module.asked.append((self._number, configuration["main"]["size"], configuration["controls"]))
        self._stream = configuration["main"]

    def start(self) -> None:
        assert self._stream, "not configured"
        self._started = True

    def capture_array(self, name: str, wait: bool, signal_function):
        assert self._started and name == "main" and wait is False
        if not self._module.silent:
            threading.Timer(0.002, signal_function, [self]).start()
        return self

    def get_result(self) -> np.ndarray:
        """As a job's: RGB888 has the bytes blue, green, red."""
        width, height = self._stream["size"]
        return np.full((height, width, 3), self._module.color[::-1], np.uint8)

    def close(self) -> None:
        self._module.open.remove(self._number)
        self._started = False


PROGRAM = """\
#!{python}
import argparse, os, pathlib, sys, time
here = pathlib.Path(__file__).parent
parser = argparse.ArgumentParser(prog="rpicam-vid")
for name in ("camera", "width", "height"):
    parser.add_argument("--" + name, type=int, required=True)
parser.add_argument("--framerate", type=float, required=True)
parser.add_argument("--codec", choices=["mjpeg"], required=True)
parser.add_argument("--timeout", choices=["0"], required=True)
parser.add_argument("--verbose", type=int, nargs="?", const=2, default=1)
parser.add_argument("--output", choices=["-"], required=True)
for name in ("nopreview", "flush"):
    parser.add_argument("--" + name, action="store_true")
asked = parser.parse_args()
with open(here / "calls", "a") as file:
    print(os.getpid(), *sys.argv[1:], file=file)
fault = (here / "fault").read_text() if (here / "fault").exists() else ""
if fault == "none":
    sys.exit("ERROR: *** no cameras available ***")
while fault == "silent":
    time.sleep(1)
for path in sorted(here.glob("*.jpg")):
    data = path.read_bytes()
    for at in range(0, len(data), 500):  # in pieces, as a pipe gives them
        sys.stdout.buffer.write(data[at : at + 500])
        sys.stdout.buffer.flush()
while fault != "ends":
    time.sleep(1)
"""


def fake_rpicam_vid(folder, images, fault: str = ""):
    """Put the program into a folder: it writes uint8 (H, W, 3) BGR images as JPEGs. fault: "none": there is
    no camera; "silent": no frame; "ends": it ends after the last image, else it waits.

    The file `calls` gets a line for each start: its process and arguments.
    """
    import cv2

    folder.mkdir(exist_ok=True)
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / f"{number:03}.jpg"), image)
    (folder / "fault").write_text(fault)
    program = folder / "rpicam-vid"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    return program
