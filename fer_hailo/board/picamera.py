"""Raspberry Pi cameras: by picamera2 where it can be imported, else by rpicam-vid through a pipe.

Written after their public code and documents, tested with doubles, untried on a Raspberry Pi.
"""

from __future__ import annotations

import atexit
import importlib
import os
import select
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import numpy as np

from fer_hailo.board.camera import Feed, Wish
from fer_hailo.common.errors import UserError, with_class

SIZE, RATE = (640, 480), 30.0  # where none is asked for: enough for faces, and quickly searched
TIMEOUT_S = 5.0  # without a frame, a read has failed
PROGRAM = "rpicam-vid"
MISSING = (
    "a Raspberry Pi camera needs picamera2 (sudo apt install python3-picamera2, and an environment that was "
    f"made with python3 -m venv --system-site-packages) or {PROGRAM} (sudo apt install rpicam-apps)"
)


def picamera(number: int, wish: Wish) -> Callable[[], Feed]:
    """A function that opens the camera, raising OSError. number: 0 or 1 of the board's connectors.

    Raises UserError where neither way is there.
    """
    size, rate = wish.size or SIZE, wish.rate or RATE
    os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:ERROR")
    try:
        module = importlib.import_module("picamera2")
    except Exception:  # made for another numpy or Python, it fails in many ways
        program = shutil.which(PROGRAM)
        if not program:
            raise UserError(MISSING) from None
        return lambda: PipeFeed(program, number, size, rate)
    return lambda: Picamera2Feed(module, number, size, rate)


class Picamera2Feed:
    """A camera through picamera2, as a Feed. Raises OSError where it cannot be opened."""

    def __init__(self, module: ModuleType, number: int, size: tuple[int, int], rate: float):
        self._rate = rate
        self._job: Any = None
        with ExitStack() as stack:
            try:
                self._camera = module.Picamera2(number)
                stack.callback(self._camera.close)
                # What picamera2 calls RGB888 lies in memory as blue, green, red: OpenCV's order
                stream, controls = {"size": size, "format": "RGB888"}, {"FrameRate": rate}
                settings = self._camera.create_video_configuration(main=stream, controls=controls)
                self._camera.configure(settings)
                self._camera.start()
            except Exception as error:  # no camera: IndexError; one that is in use: RuntimeError
                raise OSError(with_class(error, str(error))) from error
            self._open = stack.pop_all()

    def get(self, setting: int) -> float:
        """The rate, which is all that is asked for."""
        return self._rate

    def grab(self) -> bool:
        """Wait for the next frame; False where none comes in time. A job is the only call of picamera2 that
        can be waited for with a limit in all its versions.
        """
        ready = threading.Event()
        self._job = self._camera.capture_array("main", wait=False, signal_function=lambda job: ready.set())
        return ready.wait(TIMEOUT_S)

    def retrieve(self) -> tuple[bool, Any]:
        try:
            return True, self._job.get_result()
        except Exception:  # whatever the job met with: a frame that cannot be had
            return False, None

    def release(self) -> None:
        """Close the camera. A second call does nothing."""
        self._open.close()


class PipeFeed:
    """A camera through rpicam-vid, which writes one JPEG after another, as a Feed. JPEGs tell their own end
    and size, whatever padding the camera's rows have.

    Raises OSError where the program ends without a frame.
    """

    def __init__(self, program: str, number: int, size: tuple[int, int], rate: float):
        self._rate, self._waiting, self._frame = rate, bytearray(), b""
        command = [program, "--camera", str(number), "--width", str(size[0]), "--height", str(size[1])]
        command += [
            "--framerate",
            f"{rate:g}",
            "--codec",
            "mjpeg",
            "--timeout",
            "0",
            "--nopreview",
            "--flush",
        ]
        command += ["--verbose=0", "--output", "-"]  # else it tells of each frame
        self._open = ExitStack()
        self._said = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,  # Ctrl-C is for this program, which then ends that one
        )
        self._open.callback(self._end)
        atexit.register(self.release)  # the thread that reads is not waited for, wherever it is
        assert self._process.stdout is not None
        self._pipe = self._open.enter_context(self._process.stdout).fileno()
        if not self._more() and self._process.poll() is not None:
            reason = self._reason()
            self.release()
            raise OSError(reason)

    def get(self, setting: int) -> float:
        """The rate, which is all that is asked for."""
        return self._rate

    def grab(self) -> bool:
        """Wait for the next frame; False where none comes in time, or the program has ended."""
        while (end := jpeg_end(self._waiting)) is None:
            if not self._more():
                return False
        self._frame = bytes(self._waiting[:end])
        del self._waiting[:end]
        return True

    def retrieve(self) -> tuple[bool, Any]:
        import cv2

        image = cv2.imdecode(np.frombuffer(self._frame, np.uint8), cv2.IMREAD_COLOR)
        return image is not None, image

    def release(self) -> None:
        """End the program. A second call does nothing."""
        atexit.unregister(self.release)
        self._open.close()

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _more(self) -> bool:
        """Read what is there, or comes in time."""
        if not select.select([self._pipe], [], [], TIMEOUT_S)[0]:
            return False
        data = os.read(self._pipe, 1 << 20)
        self._waiting += data
        if not data:
            self._process.wait()
        return bool(data)

    def _reason(self) -> str:
        """The last line that the program wrote about its end."""
        self._said.seek(0)
        lines = [
            line.strip() for line in self._said.read().decode(errors="replace").splitlines() if line.strip()
        ]
        return lines[-1] if lines else f"exit status {self._process.returncode}"


def jpeg_end(data: bytes | bytearray) -> int | None:
    """The length of the JPEG with which `data` begins; None while it is not whole.

    Segments are passed over by their lengths, since they may hold any bytes; in the scan the end marker
    cannot stand for anything else. Source: ITU-T T.81, B.1.
    """
    at = 2
    while len(data) >= at + 4 and data[at] == 0xFF and data[at + 1] != 0xDA:
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    if len(data) < at + 4:
        return None
    end = data.find(b"\xff\xd9", at)
    return end + 2 if end >= 0 else None
