"""`fer-hailo run --doctor`: what a board has, what it lacks, and the one thing to do about each lack.

Nothing is changed, and no network is loaded. Everything is read from files below a root and from commands, so
that tests can build a board.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fer_hailo.common.calls import call, install
from fer_hailo.common.errors import UserError, first_line, with_class
from fer_hailo.deploy.bundle import check_network
from fer_hailo.deploy.home import Format, Home, resolve
from fer_hailo.formats.hef import read_hef
from fer_hailo.formats.tflite import read_tflite
from fer_hailo.predict.hailort import check_hef, import_hailort, misfit, runs_on

OK, WARN, FAIL = "OK", "WARN", "FAIL"
# HailoRT and its compiler
PAIRS = {"4.19": "3.29", "4.20": "3.30", "4.21": "3.31", "4.22": "3.32", "4.23": "3.33"}
VENDOR = "0x1e60"  # Hailo's number on the PCIe bus
NO_DEVICE = 74  # exit status of hailortcli
MACHINES = ("x86_64", "aarch64")
HOT, LITTLE = 80, 256  # degrees Celsius; MiB of memory
REINSTALL = "install driver, library and wheel in one version (docs/board.md) and start the machine again"
COPY = "copy the whole deploy folder again, and name it with --model"
CSI = ("rp1-cfe", "unicam")  # a Raspberry Pi camera's raw stream, which no program can show without libcamera
INNER = ("pispbe", "bcm2835", "rpivid", "rpi-hevc")  # video nodes of the chip itself: no cameras

Command = Callable[[list[str]], "tuple[int, str] | None"]


@dataclass(frozen=True)
class Finding:
    """level: OK, WARN (works, or may) or FAIL. fix: what to do, for all but OK."""

    level: str
    what: str
    found: str
    fix: str = ""


@dataclass
class Board:
    """Where to look. root: of the file system. command: runs one, giving exit status and output, None where
    it is not installed.

    The rest is learnt on the way: versions as "4.23.0", the chip as HAILO8.
    """

    root: Path = Path("/")
    command: Command = field(default_factory=lambda: run_command)
    library: str = ""
    chip: str = ""

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def text(self, name: str) -> str:
        """The text of a file; empty where there is none."""
        try:
            return self.path(name).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
        except OSError:
            return ""


def run_doctor(model: str | None = None, root: Path | str = "/", command: Command | None = None) -> int:
    """Print all findings. model: as --model takes it; with one that is no HEF, Hailo's parts are not looked
    at.

    Returns the exit status: 0, or 1 where one finding is FAIL.
    """
    board, counts = Board(Path(root), command or run_command), {OK: 0, WARN: 0, FAIL: 0}
    for finding in examine(board, model):
        counts[finding.level] += 1
        print(f"{finding.level:4}  {finding.what}: {finding.found}")
        if finding.fix:
            print(f"      -> {finding.fix}")
    print(f"{counts[FAIL]} to mend, {counts[WARN]} to look at, {counts[OK]} right")
    return 1 if counts[FAIL] else 0


def examine(board: Board, model: str | None = None) -> Iterator[Finding]:
    """All findings, in an order in which each may use what the one before learnt."""
    home, problem = _home(model)
    format = home and home.format
    yield from _system(board)
    yield from _opencv()
    yield from _litert(needed=format is Format.TFLITE)
    if format is Format.KERAS:
        yield from _keras()
    if format in (None, Format.HEF):
        yield from _device(board)
        yield from _versions(board)
        yield from _identity(board)
        yield from _wheel(board)
    yield from _cameras(board)
    yield from _load(board)
    if problem:
        yield problem
    elif home:
        yield from _model(board, home)


def run_command(arguments: list[str]) -> tuple[int, str] | None:
    """Exit status and output (both streams) of a command; 124 where it takes more than 20 s; None where it is
    not installed.
    """
    try:
        done = subprocess.run(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=20,
        )
    except subprocess.TimeoutExpired:
        return 124, "no answer within 20 s"
    except OSError:
        return None
    return done.returncode, done.stdout


def _system(board: Board) -> Iterator[Finding]:
    name = re.search(r'^PRETTY_NAME="?([^"\n]+)', board.text("/etc/os-release"), re.M)
    model = board.text("/proc/device-tree/model")
    says = ", ".join(
        part for part in (name[1] if name else platform.platform(), model, platform.machine()) if part
    )
    if platform.system() == "Linux" and platform.machine() in MACHINES:
        yield Finding(OK, "system", says)
    else:
        yield Finding(
            WARN,
            "system",
            says,
            "this project's HEFs are run on 64-bit Linux, x86_64 or aarch64; use such a machine",
        )
    yield Finding(OK, "Python", f"{platform.python_version()} at {sys.executable}, numpy {np.__version__}")


def _opencv() -> Iterator[Finding]:
    fix = (
        "pip install 'opencv-python>=4.8,<4.12' in this Python (newer ones need numpy 2, 5.x has no Haar "
        "cascades)"
    )
    try:
        import cv2
    except Exception as error:  # a missing system library, or another numpy, fails in many ways
        yield Finding(FAIL, "OpenCV", f"cannot be imported ({with_class(error, _line(error))})", fix)
        return
    folder = Path(cv2.data.haarcascades) if hasattr(cv2, "data") else Path()
    if (folder / "haarcascade_frontalface_default.xml").is_file():
        yield Finding(OK, "OpenCV", f"{cv2.__version__}, with Haar cascades")
    else:
        yield Finding(
            WARN,
            "OpenCV",
            f"{cv2.__version__}, without Haar cascades",
            f"{fix}, or give --detector FILE.onnx",
        )


def _litert(needed: bool) -> Iterator[Finding]:
    found = [name for name in ("ai_edge_litert", "tensorflow") if importlib.util.find_spec(name)]
    if found:
        yield Finding(OK, "LiteRT", found[0])
    else:
        yield Finding(
            FAIL if needed else WARN,
            "LiteRT",
            "none: .tflite files cannot be run",
            "pip install ai-edge-litert",
        )


def _keras() -> Iterator[Finding]:
    if importlib.util.find_spec("keras"):
        yield Finding(OK, "Keras", "keras")
    else:
        yield Finding(
            FAIL, "Keras", "none: .keras files cannot be run", f"{install('train')}, or use a .tflite"
        )


def _device(board: Board) -> Iterator[Finding]:
    found = [
        path.parent
        for path in sorted(board.path("/sys/bus/pci/devices").glob("*/vendor"))
        if _read(path) == VENDOR
    ]
    if not found:
        yield Finding(
            FAIL,
            "device",
            "no Hailo chip on the PCIe bus",
            "switch off, seat the module or its flat cable anew, and see whether lspci shows it",
        )
        return
    device = found[0]
    link = " ".join(
        text
        for text in (
            _read(device / "current_link_speed"),
            "x" + (_read(device / "current_link_width") or "?"),
        )
        if text
    )
    yield Finding(OK, "device", f"{device.name}, {link}")
    node = board.path("/dev/hailo0")
    if not node.exists():
        fix = (
            "sudo modprobe hailo_pci; where that fails, install the driver (docs/board.md) and start the "
            "machine again"
        )
        yield Finding(
            FAIL, "device node", "no /dev/hailo0: the driver is not loaded, or found no firmware", fix
        )
    elif not os.access(node, os.R_OK | os.W_OK):
        fix = (
            "sudo udevadm control --reload-rules && sudo udevadm trigger (the driver's package brings the "
            "rule)"
        )
        yield Finding(FAIL, "device node", "this user may not read and write /dev/hailo0", fix)
    else:
        yield Finding(OK, "device node", "/dev/hailo0 can be read and written")


def _versions(board: Board) -> Iterator[Finding]:
    """Driver and library, which must be equal to the last digit."""
    loaded, on_disk = board.text("/sys/module/hailo_pci/version"), ""
    if not loaded:
        status, text = board.command(["modinfo", "-F", "version", "hailo_pci"]) or (1, "")
        on_disk = text.strip() if status == 0 else ""
    answer = board.command(["hailortcli", "--version"])
    version = re.search(r"\d+\.\d+\.\d+", answer[1]) if answer else None
    board.library = version[0] if version else ""
    if loaded:
        yield Finding(OK, "driver", f"hailo_pci {loaded}")
    elif on_disk:
        yield Finding(
            FAIL, "driver", f"hailo_pci {on_disk} is installed, but not loaded", "sudo modprobe hailo_pci"
        )
    else:
        fix = (
            "sudo apt install dkms hailo-all on Raspberry Pi OS, else Hailo's PCIe driver package; then "
            "start the machine again"
        )
        yield Finding(FAIL, "driver", "hailo_pci is not installed for this kernel", fix)
    if not board.library:
        fix = (
            "sudo apt install hailo-all on Raspberry Pi OS, else the package hailort from Hailo's "
            "Developer Zone"
        )
        yield Finding(
            FAIL,
            "HailoRT",
            "hailortcli is not installed" if answer is None else f"hailortcli says {_line(answer[1])!r}",
            fix,
        )
    elif _release(board.library) not in PAIRS:
        yield Finding(*_strange(board.library))
    elif loaded and loaded != board.library:
        yield Finding(FAIL, "HailoRT", f"{board.library}, but the loaded driver is {loaded}", REINSTALL)
    else:
        yield Finding(OK, "HailoRT", f"{board.library}; its compiler is {PAIRS[_release(board.library)]}")


def _strange(version: str) -> tuple[str, str, str, str]:
    if int(version.split(".")[0]) >= 5:
        return (
            FAIL,
            "HailoRT",
            f"{version} is for Hailo-10 and Hailo-15",
            "install a HailoRT 4.x for Hailo-8 (docs/board.md)",
        )
    known = ", ".join(f"{ours} with compiler {theirs}" for ours, theirs in PAIRS.items())
    return (
        WARN,
        "HailoRT",
        f"{version}, of which the compiler's version is not known here",
        f"best known: {known}",
    )


def _identity(board: Board) -> Iterator[Finding]:
    if not board.library:
        return
    status, text = board.command(["hailortcli", "fw-control", "identify"]) or (127, "not installed")
    said = dict(re.findall(r"^([A-Z][\w ]+): *(.*?) *$", text, re.M))
    if status == 0 and "Device Architecture" in said:
        board.chip = said["Device Architecture"]
        firmware = said.get("Firmware Version", "").split(" ")[0]
        if firmware == board.library:
            yield Finding(OK, "chip", f"{board.chip}, firmware {firmware}")
        else:
            yield Finding(
                FAIL,
                "chip",
                f"{board.chip}, firmware {firmware or 'unknown'}, but HailoRT {board.library}",
                REINSTALL,
            )
    elif status == NO_DEVICE:
        yield Finding(
            FAIL, "chip", "hailortcli finds no device that is free", "end what uses it: sudo lsof /dev/hailo0"
        )
    else:
        errors = [line for line in text.splitlines() if "error" in line.lower()]
        said_last = _line((errors or [text])[0])
        yield Finding(
            FAIL,
            "chip",
            f"hailortcli fw-control identify ends with {status}: {said_last}",
            "look at sudo dmesg | grep hailo",
        )


def _wheel(board: Board) -> Iterator[Finding]:
    try:
        version = str(import_hailort().__version__)
    except UserError as error:
        yield Finding(FAIL, "HailoRT's Python", *_split(str(error).removeprefix("HailoRT's Python ")))
        return
    if board.library and version != board.library:
        yield Finding(FAIL, "HailoRT's Python", f"{version}, but the library is {board.library}", REINSTALL)
        return
    unmet = _unmet_numpy()
    if unmet:
        found, fix = (
            f"{version}, which declares {unmet}; here is numpy {np.__version__}",
            f"where it misbehaves: pip install '{unmet}'",
        )
        yield Finding(WARN, "HailoRT's Python", found, fix)
    else:
        yield Finding(OK, "HailoRT's Python", f"{version}, loads with numpy {np.__version__}")


def _unmet_numpy() -> str:
    """The numpy that the wheel `hailort` declares, if the one here is another; empty where it fits or nothing
    is declared.
    """
    try:
        declared = importlib.metadata.requires("hailort") or []
    except importlib.metadata.PackageNotFoundError:  # Raspberry Pi OS installs it without
        return ""
    wanted = next(
        (text.split(";")[0].replace(" ", "") for text in declared if re.match(r"numpy\b", text)), ""
    )
    clauses = re.findall(r"([<>=!~]=?)([\d.]+)", wanted)
    return wanted if not all(_holds(np.__version__, *clause) for clause in clauses) else ""


def _holds(version: str, sign: str, bound: str) -> bool:
    size = max(3, bound.count(".") + 1)
    ours, theirs = ([*_numbers(text), *[0] * size][:size] for text in (version, bound))
    if sign == "~=":
        return ours >= theirs and ours[: bound.count(".")] == theirs[: bound.count(".")]
    return {
        "==": ours == theirs,
        "!=": ours != theirs,
        "<": ours < theirs,
        "<=": ours <= theirs,
        ">": ours > theirs,
        ">=": ours >= theirs,
    }[sign]


def _cameras(board: Board) -> Iterator[Finding]:
    named = [
        (node, board.text(f"/sys/class/video4linux/{node.name}/name"))
        for node in board.path("/dev").glob("video*")
    ]
    nodes = sorted(
        (int(node.name[5:]), node, name)
        for node, name in named
        if node.name[5:].isdigit() and not name.startswith(INNER)
    )
    cameras = [(number, node, name) for number, node, name in nodes if not name.startswith(CSI)]
    closed = [node for _, node, _ in cameras if not os.access(node, os.R_OK | os.W_OK)]
    if closed:
        yield Finding(
            WARN,
            "camera",
            f"this user may not open /dev/{closed[0].name}",
            "sudo usermod -aG video $USER, then log in again",
        )
    elif cameras:
        yield Finding(
            OK, "camera", ", ".join(f"{number} ({name or 'no name'})" for number, _, name in cameras)
        )
    elif nodes:
        fix = (
            f"libcamerify {call('run')} 0 (sudo apt install libcamera-tools libcamera-v4l2), or use a USB "
            "camera"
        )
        yield Finding(WARN, "camera", "a Raspberry Pi camera, which only libcamera can read", fix)
    else:
        yield Finding(
            WARN, "camera", "none", "plug one in, if one is to be used; images, videos and rtsp:// need none"
        )


def _load(board: Board) -> Iterator[Finding]:
    """Memory, temperature and supply: what makes a board slow."""
    free = re.search(r"^MemAvailable: +(\d+) kB", board.text("/proc/meminfo"), re.M)
    if free:
        size = int(free[1]) // 1024
        says = f"{size:,} MiB free"
        yield (
            Finding(OK, "memory", says)
            if size >= LITTLE
            else Finding(WARN, "memory", says, "end other programs")
        )
    zones = [_read(path) for path in board.path("/sys/class/thermal").glob("thermal_zone*/temp")]
    degrees = [int(text) / 1000 for text in zones if text.lstrip("-").isdigit()]
    if degrees:
        says = f"{max(degrees):.0f} degrees Celsius"
        yield (
            Finding(OK, "temperature", says)
            if max(degrees) < HOT
            else Finding(WARN, "temperature", says, "give it a cooler or more air")
        )
    status, text = board.command(["vcgencmd", "get_throttled"]) or (1, "")
    bits = re.search(r"throttled=(0x[0-9a-fA-F]+)", text) if status == 0 else None
    if bits:
        low = int(bits[1], 16) & 0x50005  # under-voltage or throttling, now or since the start
        says = bits[0]
        yield (
            Finding(WARN, "supply", says, "use the 27 W supply of the Raspberry Pi 5, and cool it")
            if low
            else Finding(OK, "supply", says)
        )


def _home(model: str | None) -> tuple[Home | None, Finding | None]:
    try:
        return (resolve(model), None) if model else (None, None)
    except UserError as error:
        return None, Finding(FAIL, "model", str(error), COPY)


def _model(board: Board, home: Home) -> Iterator[Finding]:
    path = home.model
    try:
        labels, spec = home.labels, home.spec
        if home.format is Format.TFLITE:
            check_network(read_tflite(path), path, spec, labels)
        if home.format is not Format.HEF:
            yield Finding(OK, "model", f"{path}, {', '.join(labels)}")
            return
        hef = read_hef(path)
        doubt = check_hef(hef, path, spec, labels)
    except UserError as error:
        yield Finding(FAIL, "model", *_split(str(error)))
        return
    if board.chip and not runs_on(hef, board.chip):
        yield Finding(FAIL, "model", *_split(f"{path} {misfit(hef, board.chip)}"))
        return
    says = (
        f"{path}, for {hef.architecture}, compiler {hef.sdk_version}, "
        f"{'takes bytes' if doubt else 'normalised on the chip'}, "
        f"{', '.join(labels)}"
    )
    ours, theirs = _release(board.library), _release(hef.sdk_version)
    if ours in PAIRS and PAIRS[ours] != theirs:
        pair = next((runtime for runtime, compiler in PAIRS.items() if compiler == theirs), None)
        fix = (
            f"where it does not load: {f'install HailoRT {pair}, or ' if pair else ''}compile it with "
            f"{PAIRS[ours]}"
        )
        yield Finding(
            WARN, "model", f"{says}; HailoRT {board.library} belongs to compiler {PAIRS[ours]}", fix
        )
    else:
        yield Finding(OK, "model", says)


def _split(message: str) -> tuple[str, str]:
    """What is wrong, and what to do about it: the two parts of a UserError's line."""
    wrong, colon, fix = message.rpartition(": ")
    return (wrong, fix) if colon else (message, COPY)


def _release(version: str) -> str:
    """ "4.23.0" to "4.23"."""
    return ".".join(version.split(".")[:2])


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.split(r"[^\d.]", version, maxsplit=1)[0].split(".") if part]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _line(text: object) -> str:
    return first_line(text, 160, "nothing")
