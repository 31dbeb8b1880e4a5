"""Which live source an argument names, and how it is opened: cameras, addresses, GStreamer's pipelines."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable

from fer_hailo.board.camera import Camera, Capture, Feed, Wish
from fer_hailo.board.devices import cameras
from fer_hailo.board.picamera import picamera
from fer_hailo.common.calls import call
from fer_hailo.common.errors import UserError

ADDRESS = re.compile(r"(?i)(rtsps?|https?)://")
PICAMERA = re.compile(r"picamera(?::(\d))?")
GSTREAMER = "gst:"
TIMEOUT_MS = 5000  # to open a stream, and to wait for its next frame
DIGITS = 4  # of a camera's number; OpenCV fails over those that its own integers cannot hold
Open = Callable[..., Capture]  # as cv2.VideoCapture: of a file, address or number, a backend and settings
Sleep = Callable[[float], object]


def is_live(argument: str) -> bool:
    return (
        bool(ADDRESS.match(argument))
        or bool(PICAMERA.fullmatch(argument))
        or argument.startswith(("/dev/video", "/dev/v4l/", GSTREAMER))
        or (argument.isascii() and argument.isdigit())
    )


def public(argument: str) -> str:
    """A source as it may be shown: user name and password of an address are left out."""
    return re.sub(r"(\w+://)[^/?#\s]*@", r"\1", argument)


def open_camera(
    argument: str,
    wish: Wish,
    capture: Open,
    sleep: Sleep | None,
    clock: Callable[[], float] = time.perf_counter,
) -> Camera:
    """A live source. capture: cv2.VideoCapture. sleep, clock: see Camera.

    Raises UserError where it cannot be opened, or where `wish` asks for what only a camera can give.
    """
    if pi := PICAMERA.fullmatch(argument):
        connect = picamera(int(pi[1] or 0), wish)
        advice = "rpicam-hello --list-cameras must show it, and no other program may use it"
        return Camera(argument, connect, advice, advice, wish, sleep, clock)
    if ADDRESS.match(argument) or argument.startswith(GSTREAMER):
        if wish:
            raise UserError(f"{public(argument)} gives what it gives: --size and --rate are for cameras")
        return _stream(argument, capture, sleep, clock)
    name = f"camera {argument}" if argument.isdigit() else argument
    present = ", ".join(f"{device.number} {device.name}" for device in cameras()) or "none"
    advice = (
        f"check its number ({call('run')} --cameras finds {present}), that you may use it (group video), and "
        "that no other program does"
    )
    # OpenCV waits 10 s for a frame, and reads this when the first one is read
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "5")
    return Camera(
        name, lambda: _device(argument, wish, capture), advice, _silent(argument), wish, sleep, clock
    )


def _stream(argument: str, capture: Open, sleep: Sleep | None, clock: Callable[[], float]) -> Camera:
    import cv2

    if argument.startswith(GSTREAMER):
        if not re.search(r"GStreamer: +YES", cv2.getBuildInformation()):
            raise UserError(
                "this OpenCV is built without GStreamer, as pip's is: use the system's (python3-opencv), or "
                "name the camera in another way"
            )
        target, backend, limits = argument.removeprefix(GSTREAMER), cv2.CAP_GSTREAMER, []
        advice = silent = "try the pipeline with gst-launch-1.0; here it ends in appsink"
    else:
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS]
        target, backend = argument, cv2.CAP_FFMPEG
        advice = "check the address, user and password, and that the camera can be reached from here"
        silent = "look whether another player shows the stream"

    def connect() -> Feed:
        return _opened(capture(target, backend, limits))

    return Camera(public(argument), connect, advice, silent, sleep=sleep, clock=clock)


def _device(argument: str, wish: Wish, capture: Open) -> Feed:
    """A camera of the system, set as asked. Raises OSError."""
    import cv2

    if argument.isdigit() and len(argument) > DIGITS:
        raise OSError
    # By number the system's own interface, and not GStreamer, where OpenCV has both
    backend = cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY
    feed = capture(int(argument) if argument.isdigit() else argument, backend, [])
    _opened(feed)
    if wish:  # USB has room for large frames only where they are compressed
        feed.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
    if wish.size:
        feed.set(cv2.CAP_PROP_FRAME_WIDTH, wish.size[0])
        feed.set(cv2.CAP_PROP_FRAME_HEIGHT, wish.size[1])
    if wish.rate:
        feed.set(cv2.CAP_PROP_FPS, wish.rate)
    # The newest frame, not one that waited; ignored where it cannot be set
    feed.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return feed


def _opened(feed: Capture) -> Capture:
    if not feed.isOpened():
        feed.release()
        raise OSError
    return feed


def _silent(argument: str) -> str:
    run = call("run")
    return (
        f"a Raspberry Pi camera gives its frames to libcamera alone: {run} picamera, or libcamerify {run} "
        f"{argument} (rpicam-hello --list-cameras shows it); a USB camera may need another port or cable, "
        "or a smaller --size"
    )
