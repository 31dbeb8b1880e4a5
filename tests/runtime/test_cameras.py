"""Cameras by name, Raspberry Pi's by their doubles, and those that open but give nothing."""

import os
import sys
import time
from itertools import islice

import numpy as np
import pytest
from conftest import error_line
from films import FakeCamera, counting
from pi import FakePicamera2, fake_rpicam_vid

from fer_hailo.board import camera, picamera
from fer_hailo.board.camera import Wish
from fer_hailo.board.devices import Device, cameras, list_cameras
from fer_hailo.board.sources import open_sources
from fer_hailo.common.errors import UserError

PIXELS = 10**8


def usb(*script, argument="0", wish=camera.AS_IT_IS):
    fake = FakeCamera(script)
    (source,) = open_sources([argument], PIXELS, fake, fake.sleep, fake.clock, wish)
    return fake, source


# A camera that opens and gives nothing


@pytest.mark.parametrize("reads", [[], [("hang", 5.0)]])  # failing at once, again and again; or in the driver
def test_a_camera_that_never_gave_a_frame_is_not_gone(reads):
    fake, source = usb(reads, None, ["ok", "ok"])
    found = source.shots()
    said = next(found)
    assert 5 <= fake.time < 5.2 and said.image is None
    assert said.problem.startswith("opened, but has given no frame for 5 s, retrying: a Raspberry Pi camera")
    assert "run.py picamera, or libcamerify" in said.problem and "rpicam-hello" in said.problem
    assert [(shot.frame, shot.time_s) for shot in islice(found, 2)] == [(0, 0.0), (1, pytest.approx(0.1))]


def test_a_camera_that_wakes_up_slowly_is_not_complained_of():
    fake, source = usb(["bad"] * 30 + ["ok", "bad", "ok"])
    found = list(islice(source.shots(), 3))
    assert [(shot.frame, shot.problem) for shot in found] == [
        (0, ""),
        (1, "a frame could not be decoded"),
        (2, ""),
    ]
    assert 3 < fake.time < 4 and len(fake.opened) == 1


def test_a_camera_that_gave_frames_is_gone():
    _, source = usb(["ok", *["bad"] * 5], [], ["ok"])
    assert [shot.problem for shot in islice(source.shots(), 3)] == ["", "is gone, retrying", ""]


# What is asked of a camera


def test_size_and_rate_are_asked_for_and_what_it_gives_is_told(capsys):
    import cv2

    fake, source = usb(["ok"] * 3, wish=Wish((1280, 720), 30.0))
    wanted = {
        cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"MJPG"),
        cv2.CAP_PROP_FRAME_WIDTH: 1280,
        cv2.CAP_PROP_FRAME_HEIGHT: 720,
        cv2.CAP_PROP_FPS: 30.0,
    }
    assert wanted.items() <= fake.settings.items()
    list(islice(source.shots(), 3))
    assert capsys.readouterr().err == (
        "warning: camera 0 gives 16x12\nwarning: camera 0 gives 10 frames a second\n"
    )
    _, source = usb(["ok"], wish=Wish((16, 12), 10.0))
    next(source.shots())
    assert capsys.readouterr().err == ""


def test_what_only_a_camera_can_be_asked(tmp_path):
    for source in (str(tmp_path), "rtsp://host/stream"):
        with pytest.raises(UserError, match="--size and --rate are for cameras"):
            open_sources([source], PIXELS, wish=Wish(rate=5.0))


def test_the_options(command):
    assert "must be WIDTHxHEIGHT" in error_line(command("run.py", "0", "--size", "1280"))
    assert "must be a number from 1 to 240" in error_line(command("run.py", "0", "--rate", "0"))
    assert "--cameras" in error_line(command("run.py", "0", "--cameras"))
    listed = command("run.py", "--cameras")
    assert listed.returncode == 0 and listed.stdout or "no camera" in listed.stderr


# Names


def test_cameras_by_name(tmp_path, capsys, monkeypatch):
    nodes = {0: ("HD Webcam: HD Webcam", 0), 1: ("HD Webcam: HD Webcam", 1), 2: ("Second", 0),
             10: ("Third", 0), 4: ("rp1-cfe-csi2_ch0", 0), 5: ("rp1-cfe-csi2_ch1", 1),
             19: ("rpi-hevc-dec", 0), 20: ("pispbe-input", 0)}  # fmt: skip
    for number, (name, index) in nodes.items():
        about = tmp_path / f"sys/class/video4linux/video{number}"
        about.mkdir(parents=True)
        (about / "name").write_text(name + "\n")
        (about / "index").write_text(f"{index}\n")
        (tmp_path / "dev").mkdir(exist_ok=True)
        (tmp_path / f"dev/video{number}").touch()
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "video2" not in str(path) and real(path, mode))
    assert cameras(tmp_path) == [
        Device(0, "HD Webcam: HD Webcam"),
        Device(2, "Second", closed=True),
        Device(4, "rp1-cfe-csi2_ch0", csi=True),
        Device(10, "Third"),
    ]
    assert list_cameras(tmp_path) == 0
    assert capsys.readouterr().out.splitlines() == [
        "0         HD Webcam: HD Webcam",
        "2         Second (this user may not open it: sudo usermod -aG video $USER)",
        "picamera  rp1-cfe-csi2_ch0",
        "10        Third",
    ]
    assert list_cameras(tmp_path / "none") == 0 and "no camera" in capsys.readouterr().err


# GStreamer


def test_gstreamer_where_opencv_has_it(monkeypatch):
    import cv2

    pipeline = "rtspsrc location=rtsp://me:secret@host/cam ! decodebin ! appsink"
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GStreamer:       NO\n")
    with pytest.raises(UserError, match="built without GStreamer"):
        usb(["ok"], argument=f"gst:{pipeline}")
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GStreamer:       YES (1.22.0)\n")
    fake, source = usb(["ok"], argument=f"gst:{pipeline}")
    assert fake.opened == [(pipeline, cv2.CAP_GSTREAMER, [])]
    assert next(source.shots()).image is not None and "secret" not in source.name
    with pytest.raises(UserError, match="cannot be opened: try the pipeline with gst-launch"):
        usb(argument=f"gst:{pipeline}")


# A Raspberry Pi's cameras


@pytest.fixture
def module(monkeypatch):
    def put(**settings):
        fake = FakePicamera2(**settings)
        monkeypatch.setitem(sys.modules, "picamera2", fake)
        return fake

    return put


@pytest.fixture
def program(monkeypatch, tmp_path):
    """picamera2 cannot be imported; rpicam-vid is in the path."""
    monkeypatch.setitem(sys.modules, "picamera2", None)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    return lambda images, fault="": fake_rpicam_vid(tmp_path / "bin", images, fault)


def calls(program):
    return [line.split(maxsplit=1) for line in (program.parent / "calls").read_text().splitlines()]


def test_picamera2(module, capsys):
    fake = module(cameras=2)
    (source,) = open_sources(["picamera:1"], PIXELS, wish=Wish((320, 240), 15.0))
    shots = source.shots()
    found = list(islice(shots, 3))
    assert (source.name, source.live) == ("picamera:1", True) and [shot.frame for shot in found] == [0, 1, 2]
    assert found[0].image.shape == (240, 320, 3) and found[0].image[0, 0].tolist() == [200, 30, 10]
    assert found[0].rate == 15.0 and capsys.readouterr().err == ""
    assert fake.asked == [(1, (320, 240), {"FrameRate": 15.0})] and fake.open == [1]
    shots.close()
    assert fake.open == []


def test_picamera2_that_finds_no_camera_or_a_busy_one(module):
    fake = module(cameras=0)
    with pytest.raises(
        UserError, match=r"picamera cannot be opened \(IndexError.*rpicam-hello --list-cameras"
    ):
        open_sources(["picamera"], PIXELS)
    fake = module()
    fake.open.append(0)
    with pytest.raises(UserError, match="Device or resource busy"):
        open_sources(["picamera"], PIXELS)
    assert fake.open == [0]  # the other program's


def test_picamera2_that_gives_no_frame(module, monkeypatch):
    fake = module(silent=True)
    monkeypatch.setattr(picamera, "TIMEOUT_S", 0.05)
    monkeypatch.setattr(camera, "SILENT_AFTER_S", 0.1)
    (source,) = open_sources(["picamera"], PIXELS)
    shots = source.shots()
    problem = next(shots).problem
    assert "has given no frame for 0.1 s" in problem and "rpicam-hello" in problem and fake.open == []
    fake.silent = False
    assert next(shots).image.shape == (480, 640, 3) and fake.open == [0]


def test_rpicam_vid(program):
    images = counting(5, (64, 48))
    path = program(images)
    (source,) = open_sources(["picamera"], PIXELS, wish=Wish((64, 48), 10.0))
    shots = source.shots()
    found = list(islice(shots, 5))
    assert [round((shot.image.mean() - 20) / 8) for shot in found] == [0, 1, 2, 3, 4]
    assert found[0].image.shape == (48, 64, 3) and found[0].rate == 10.0 and source.name == "picamera"
    ((process, arguments),) = calls(path)
    assert arguments == (
        "--camera 0 --width 64 --height 48 --framerate 10 --codec mjpeg --timeout 0 --nopreview --flush "
        "--verbose=0 --output -"
    )
    os.kill(int(process), 0)
    shots.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(process), 0)


def test_the_colours_of_rpicam_vid(program):
    program([np.full((48, 64, 3), (10, 30, 200), np.uint8)])
    (source,) = open_sources(["picamera"], PIXELS)
    image = next(source.shots()).image
    assert np.abs(image.astype(int) - (200, 30, 10)).max() < 8


def test_rpicam_vid_without_a_camera(program):
    path = program([], "none")
    with pytest.raises(UserError, match=r"picamera cannot be opened \(ERROR: \*\*\* no cameras available"):
        open_sources(["picamera"], PIXELS)
    assert len(calls(path)) == 1


def test_rpicam_vid_that_ends_is_started_again(program):
    path = program(counting(2), "ends")
    (source,) = open_sources(["picamera"], PIXELS, sleep=lambda seconds: None)
    found = list(islice(source.shots(), 5))
    assert [shot.problem for shot in found] == ["", "", "is gone, retrying", "", ""]
    assert [shot.frame for shot in found] == [0, 1, None, 2, 3] and len(calls(path)) == 2


def test_rpicam_vid_that_gives_no_frame(program, monkeypatch):
    program([], "silent")
    monkeypatch.setattr(picamera, "TIMEOUT_S", 0.3)
    monkeypatch.setattr(camera, "SILENT_AFTER_S", 0.1)
    (source,) = open_sources(["picamera"], PIXELS)
    assert "has given no frame" in next(source.shots()).problem


@pytest.mark.parametrize("fault", ["", "silent"])
def test_the_program_ends_with_this_one(program, command, fault):
    """Wherever the thread is that reads: within the opening of the camera too."""
    path = program(counting(1), fault)
    code = (
        "import pathlib, threading, time\n"
        "from fer_hailo.board.sources import open_sources\n"
        "def read():\n"
        "    for shot in open_sources(['picamera'], 10**8)[0].shots(): pass\n"
        "threading.Thread(target=read, daemon=True).start()\n"
        f"calls = pathlib.Path({str(path.parent / 'calls')!r})\n"
        "while not (calls.exists() and calls.read_text()): time.sleep(0.02)"
    )
    done = command([sys.executable, "-c", code])
    assert done.returncode == 0, done.stderr
    ((process, _),) = calls(path)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and os.path.exists(f"/proc/{process}"):
        time.sleep(0.02)
    assert not os.path.exists(f"/proc/{process}")


def test_neither_way_to_a_pi_camera(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "picamera2", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="needs picamera2 .*python3-picamera2.*or rpicam-vid"):
        open_sources(["picamera"], PIXELS)


def test_a_picamera2_that_was_made_for_another_numpy(program, monkeypatch, tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/picamera2.py").write_text("raise ValueError('numpy.dtype size changed')")
    monkeypatch.delitem(sys.modules, "picamera2")
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    program(counting(1))
    (source,) = open_sources(["picamera"], PIXELS)
    assert next(source.shots()).image.shape == (48, 64, 3)


def test_where_a_jpeg_ends():
    import cv2

    plain = cv2.imencode(".jpg", counting(1)[0])[1].tobytes()
    assert picamera.jpeg_end(plain) == picamera.jpeg_end(plain + plain) == len(plain)
    assert [picamera.jpeg_end(plain[:size]) for size in range(len(plain))] == [None] * len(plain)
    # A comment that holds the end marker
    tricky = plain[:2] + b"\xff\xfe\x00\x06\xff\xd9\xff\xd9" + plain[2:]
    assert picamera.jpeg_end(tricky) == len(tricky)
