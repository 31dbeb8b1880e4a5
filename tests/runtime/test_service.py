"""The examples: ten lines of Python, and the service, which a double of systemd starts again.

The camera is a double, too: it is plugged in while the file CAMERA is there.
"""

import configparser
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import cv2
import numpy as np
import pytest
from conftest import PATHS, ROOT

UNIT = ROOT / "examples" / "fer-hailo.service"
INSTALLED = "/opt/fer-hailo"
FASTER = 50  # than systemd it restarts
WAIT = 60  # seconds until a test that hangs fails
PROGRAM = """#!{python}
import pathlib, sys, time
import cv2, numpy as np
from fer_hailo.__main__ import entry

class Camera:
    set = get = release = lambda *_: 0
    def isOpened(self): return pathlib.Path({camera!r}).exists()
    def grab(self): time.sleep(0.02); return self.isOpened()
    def retrieve(self): return True, np.full((480, 640, 3), 90, np.uint8)

real = cv2.VideoCapture
cv2.VideoCapture = lambda name, *more: Camera() if name == 0 else real(name, *more)
sys.exit(entry())
"""


class Systemd:
    """Keeps the program of a unit as its Restart=on-failure asks.

    started: the processes, ended: their exit statuses. log: what they write on standard error.
    """

    def __init__(self, unit, more, log, **options):
        text = configparser.ConfigParser(strict=False, interpolation=None)
        text.optionxform = str
        text.read(unit)
        service = text["Service"]
        assert service["Restart"] == "on-failure" and service["StandardOutput"] == "null"
        self.success = {0, -signal.SIGTERM, -signal.SIGINT, int(service["SuccessExitStatus"])}
        self.pause_s, self.patience_s = int(service["RestartSec"]) / FASTER, int(service["TimeoutStopSec"])
        self.command, self.log, self.options = service["ExecStart"].split() + more, log, options
        self.started, self.ended, self.done = [], [], threading.Event()
        self.thread = threading.Thread(target=self._keep)
        self.thread.start()

    def _keep(self):
        with open(self.log, "ab") as log:
            while not self.done.is_set():
                process = subprocess.Popen(
                    self.command, stdout=subprocess.DEVNULL, stderr=log, **self.options
                )  # fmt: skip
                self.started.append(process)
                self.ended.append(process.wait())
                if self.ended[-1] in self.success:
                    break
                self.done.wait(self.pause_s)

    def stop(self):
        """Returns the exit status. What does not end in time is killed, and fails."""
        self.done.set()
        self.started[-1].terminate()
        try:
            return self.started[-1].wait(self.patience_s)
        finally:
            self.started[-1].kill()
            self.thread.join()

    def said(self):
        return self.log.read_text()


def until(true):
    """Wait for it, and return it."""
    end = time.monotonic() + WAIT
    while not (value := true()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return value


@pytest.fixture
def installed(tmp_path):
    """The unit, with the program, the model and the camera's double in a folder of this test."""
    program, deploy = tmp_path / ".venv" / "bin" / "fer-hailo", tmp_path / "deploy" / "hailo8"
    program.parent.mkdir(parents=True)
    program.write_text(PROGRAM.format(python=sys.executable, camera=str(tmp_path / "CAMERA")))
    program.chmod(0o755)
    deploy.mkdir(parents=True)
    for name in ("model_float32.tflite", "manifest.json"):
        shutil.copy(ROOT / "tests" / "saved" / "run" / "deploy" / name, deploy)
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(INSTALLED, str(tmp_path)))
    return unit


@pytest.fixture
def service(installed, tmp_path):
    """Start the unit, at a free port: gives its Systemd, and a function that tells its state of health."""
    kept = []

    def start(*more, **options):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = {"env": os.environ | PATHS} | options
        chip = ["--model", str(tmp_path / "deploy" / "hailo8")]  # else the released model reads on the CPU
        kept.append(Systemd(installed, [*chip, "--web", str(port), *more], tmp_path / "journal", **options))

        def health():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                return json.load(error)
            except OSError:
                return {"frames": 0}

        return kept[-1], health

    yield start
    for one in kept:
        one.done.set()
        one.started[-1].kill()
        one.thread.join()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_systemd_takes_the_unit(installed):
    done = subprocess.run(["systemd-analyze", "verify", installed], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    installed.write_text(installed.read_text().replace("RestartSec", "RestartSecs"))
    done = subprocess.run(["systemd-analyze", "verify", installed], capture_output=True, text=True)
    assert "Unknown key" in done.stderr


def test_kill_and_a_lost_camera(service, tmp_path):
    kept, health = service()
    until(lambda: kept.ended)  # there is no camera yet
    assert kept.ended[0] == 2 and "error: camera 0 cannot be opened" in kept.said()
    (tmp_path / "CAMERA").touch()
    until(lambda: health()["frames"] > 3)
    working = kept.started[-1]

    (tmp_path / "CAMERA").unlink()
    until(lambda: "error: camera 0: is gone, retrying" in kept.said())
    (tmp_path / "CAMERA").touch()
    seen = health()["frames"]
    until(lambda: health()["frames"] > seen + 3)
    assert working is kept.started[-1] and working.poll() is None

    working.kill()
    until(lambda: kept.started[-1] is not working and health()["frames"] > 3)
    assert kept.ended[-1] == -signal.SIGKILL
    number = len(kept.started)
    assert kept.stop() == 130 and "interrupted: after" in kept.said() and "Traceback" not in kept.said()
    assert len(kept.started) == len(kept.ended) == number


@pytest.fixture
def full(tmp_path):
    """A tmpfs of 64 MiB, which a file `rest` fills."""
    place = tmp_path / "full"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        with open(place / "rest", "wb") as rest:
            os.posix_fallocate(rest.fileno(), 0, shutil.disk_usage(place).free)
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_tmpfs(service, full, tmp_path):
    (tmp_path / "CAMERA").touch()
    environment = os.environ | PATHS | {"TMPDIR": str(full)}
    kept, health = service(cwd=full, env=environment)  # which needs no room
    until(lambda: health()["frames"] > 3)
    assert kept.stop() == 130

    saving = ["--detector", "none", "--save", str(full / "day.mp4")]
    kept, health = service(*saving, env=environment)
    until(lambda: kept.ended)
    assert kept.ended[0] == 2 and "the disk is full" in kept.said() and os.listdir(full) == ["rest"]
    (full / "rest").unlink()
    until(lambda: health()["frames"] > 10)
    assert kept.stop() == 130 and "Traceback" not in kept.said()
    capture = cv2.VideoCapture(str(full / "day.mp4"))
    assert capture.read()[0] and os.listdir(full) == ["day.mp4"]


def test_ten_lines(monkeypatch, capsys, shared):
    """Of the astronaut by the camera: eyes and mouth lie in the box that is printed."""
    photo = cv2.imread(str(shared / "data/photos/astronaut.png"))
    frames = iter([photo, np.zeros_like(photo), photo])

    class Camera:
        def __init__(self, number):
            assert number == 0

        def isOpened(self):
            return True

        def grab(self):
            self.frame = next(frames, None)
            return self.frame is not None

        def retrieve(self):
            return True, self.frame

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    example = ROOT / "examples" / "camera.py"
    runpy.run_path(str(example), run_name="__main__")
    monkeypatch.setattr(Camera, "isOpened", lambda _: False)
    with pytest.raises(SystemExit, match="no camera 0"):
        runpy.run_path(str(example), run_name="__main__")
    first, second = capsys.readouterr().out.splitlines()
    label, share, _, *box = first.replace("%", "").translate(str.maketrans("(),", "   ")).split()
    x, y, width, height = map(int, box)
    assert first == second and label in ("happy", "neutral") and 0 < int(share) <= 100
    assert x < 204 < 247 < x + width and y < 104 < 144 < y + height
    code = example.read_text().split('"""\n\n')[1]
    assert len([line for line in code.splitlines() if line]) <= 10
    assert f"```python\n{code}```" in (ROOT / "docs" / "api.md").read_text()
