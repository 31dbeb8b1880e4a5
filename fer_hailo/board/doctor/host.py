"""Findings about the machine round the Hailo device."""

from __future__ import annotations

from collections.abc import Iterator

from fer_hailo.board.doctor.finding import FAIL, OK, WARN, Finding
from fer_hailo.board.doctor.host_facts import HostFacts
from fer_hailo.common.calls import call, install
from fer_hailo.common.missing import library
from fer_hailo.deploy.home import Format

MACHINES = ("x86_64", "aarch64")
HOT, LITTLE = 80, 256  # degrees Celsius; MiB of memory
LOW = 0x50005  # under-voltage or throttling, now or since the start
OPENCV = "pip install 'opencv-python>=4.8,<4.12' in this Python (newer ones need numpy 2)"


def examine_programs(facts: HostFacts, format: Format | None) -> Iterator[Finding]:
    """System and Python's packages. format: of the model that is to run, None where none is named."""
    yield system(facts)
    yield Finding(OK, "Python", facts.python)
    yield opencv(facts)
    yield litert(facts, needed=format is Format.TFLITE)
    if format is Format.KERAS:
        yield keras(facts)


def examine_machine(facts: HostFacts) -> Iterator[Finding]:
    """Cameras, and what makes a board slow."""
    yield camera(facts)
    if facts.free_mib is not None:
        says, enough = f"{facts.free_mib:,} MiB free", facts.free_mib >= LITTLE
        yield _judged(enough, "memory", says, "end other programs")
    if facts.degrees is not None:
        says, cool = f"{facts.degrees:.0f} degrees Celsius", facts.degrees < HOT
        yield _judged(cool, "temperature", says, "give it a cooler or more air")
    if facts.throttled is not None:
        says, well = f"throttled=0x{facts.throttled:x}", not facts.throttled & LOW
        yield _judged(well, "supply", says, "use the 27 W supply of the Raspberry Pi 5, and cool it")


def system(facts: HostFacts) -> Finding:
    known = facts.system == "Linux" and facts.machine in MACHINES
    fix = "this project's HEFs are run on 64-bit Linux, x86_64 or aarch64; use such a machine"
    return _judged(known, "system", facts.says, fix)


def opencv(facts: HostFacts) -> Finding:
    if facts.opencv_problem:
        cure = library(facts.opencv_problem) or OPENCV
        return Finding(FAIL, "OpenCV", f"cannot be imported ({facts.opencv_problem})", cure)
    if facts.yunet:
        return Finding(OK, "OpenCV", facts.opencv)
    return Finding(WARN, "OpenCV", f"{facts.opencv}, which cannot run YuNet, the face detector", OPENCV)


def litert(facts: HostFacts, needed: bool) -> Finding:
    if facts.litert:
        return Finding(OK, "LiteRT", facts.litert)
    level = FAIL if needed else WARN
    return Finding(level, "LiteRT", "none: .tflite files cannot be run", "pip install ai-edge-litert")


def keras(facts: HostFacts) -> Finding:
    if facts.keras:
        return Finding(OK, "Keras", "keras")
    return Finding(FAIL, "Keras", "none: .keras files cannot be run", f"{install('train')}, or use a .tflite")


def camera(facts: HostFacts) -> Finding:
    plain = [device for device in facts.cameras if not device.csi]
    closed = [device for device in plain if device.closed]
    if closed:
        found = f"this user may not open /dev/video{closed[0].number}"
        return Finding(WARN, "camera", found, "sudo usermod -aG video $USER, then log in again")
    if plain:
        return Finding(OK, "camera", ", ".join(f"{device.number} ({device.name})" for device in plain))
    if facts.cameras:
        found = "a Raspberry Pi camera, which only libcamera can read"
        fix = f"{call('run')} picamera, in place of a number"
        return Finding(WARN, "camera", found, fix)
    fix = "plug one in, if one is to be used; images, videos and rtsp:// need none"
    return Finding(WARN, "camera", "none", fix)


def _judged(right: bool, what: str, found: str, fix: str) -> Finding:
    return Finding(OK, what, found) if right else Finding(WARN, what, found, fix)
