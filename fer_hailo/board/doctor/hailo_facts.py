"""What a machine shows of its Hailo device: chip, driver, node, library, packages, service."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
from dataclasses import dataclass
from pathlib import Path

from fer_hailo.board.doctor.board import Board
from fer_hailo.common.errors import UserError
from fer_hailo.predict.advice import import_hailort
from fer_hailo.predict.device import SERVICE

VENDOR = "1e60"  # Hailo's number on the PCIe bus
DRIVER = "/sys/module/hailo_pci"
NODE, SERVICE_UNIT = "/dev/hailo0", "hailort.service"
LOG_BYTES = 200_000  # of the end of hailort.log


@dataclass(frozen=True)
class Pci:
    """A Hailo device on the bus. slot: "0001:01:00.0". number: "1e60:2864". link: "8.0 GT/s PCIe x1"."""

    slot: str
    number: str
    link: str = ""


@dataclass(frozen=True)
class Service:
    """HailoRT's service. state: as systemd calls it, "" where there is none. socket: whether its socket is
    there. since, installed: when it was started and when its package was installed, Unix time in seconds, 0
    where unknown.
    """

    state: str = ""
    socket: bool = False
    since: float = 0.0
    installed: float = 0.0


@dataclass(frozen=True)
class HailoFacts:
    """Versions as "4.23.0"; an empty text is what is unknown or not there.

    raspberry, codename: whether it is a Raspberry Pi, and the system's name, as "trixie".
    other: whether a Hailo-10H's driver or node is there.
    loaded, driver: whether hailo_pci is loaded, and its version. on_disk: the version that would be loaded.
    kernels_own: whether the running kernel's package brings a hailo_pci (a built one belongs to no package).
    built: the version that DKMS has built for the running kernel.
    node: "absent", "closed" (to this user) or "open". messages: the kernel's that name Hailo, oldest first.
    library: HailoRT's version. says: what hailortcli answers when asked for it, None where there is none.
    identified: exit status and output of `hailortcli fw-control identify`.
    packages, held: Hailo's that are installed, and those that stay at their version.
    wheel, wheel_problem, numpy: the version of hailo_platform, or why it cannot be imported, and the numpy
    that it declares.
    log: the end of hailort.log. page_size: whether force_desc_page_size is set in /etc/modprobe.d.
    """

    raspberry: bool = False
    codename: str = ""
    devices: tuple[Pci, ...] = ()
    other: bool = False
    loaded: bool = False
    driver: str = ""
    on_disk: str = ""
    kernels_own: bool = False
    built: str = ""
    node: str = "absent"
    messages: tuple[str, ...] = ()
    library: str = ""
    says: str | None = None
    identified: tuple[int, str] | None = None
    packages: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()
    service: Service = Service()
    wheel: str = ""
    wheel_problem: str = ""
    numpy: str = ""
    log: str = ""
    page_size: bool = False


def gather_hailo(board: Board) -> HailoFacts:
    """All facts, in a few seconds. Imports hailo_platform, and asks hailortcli for the chip's name."""
    answer = board.command(["hailortcli", "--version"])
    version = re.search(r"\d+\.\d+\.\d+", answer[1]) if answer else None
    codename = re.search(r'^VERSION_CODENAME="?(\w+)', board.text("/etc/os-release"), re.M)
    options = "\n".join(_text(path) for path in board.path("/etc/modprobe.d").glob("*.conf"))
    wheel, problem = _wheel()
    kernel = board.text("/proc/sys/kernel/osrelease")
    return HailoFacts(
        raspberry=board.text("/proc/device-tree/model").startswith("Raspberry Pi"),
        codename=codename[1] if codename else "",
        devices=tuple(_devices(board)),
        other=board.path("/sys/module/hailo1x_pci").exists() or board.path("/dev/h1x-0").exists(),
        loaded=board.path(DRIVER).exists(),
        driver=board.text(f"{DRIVER}/version"),
        on_disk=board.says("modinfo", "-F", "version", "hailo_pci"),
        kernels_own=bool(kernel) and f"/{kernel}/" in board.says("dpkg", "-S", "*/hailo_pci.ko*"),
        built=_built(board, kernel),
        node=_node(board.path(NODE)),
        messages=tuple(line for line in board.says("dmesg").splitlines() if "hailo" in line.lower()),
        library=version[0] if version else "",
        says=answer[1] if answer else None,
        identified=board.command(["hailortcli", "fw-control", "identify"]) if answer else None,
        packages=_packages(board),
        held=frozenset(name for name in board.says("apt-mark", "showhold").split() if "hailo" in name),
        service=_service(board),
        wheel=wheel,
        wheel_problem=problem,
        numpy=_declared_numpy(),
        log=_end_of(board.folder / "hailort.log"),
        page_size=bool(re.search(r"^\s*options\s+hailo_pci\s.*force_desc_page_size=4096", options, re.M)),
    )


def _devices(board: Board):
    for path in sorted(board.path("/sys/bus/pci/devices").glob("*")):
        vendor, device, speed, width = (
            _text(path / name).strip()
            for name in ("vendor", "device", "current_link_speed", "current_link_width")
        )
        if vendor.removeprefix("0x") == VENDOR:
            link = f"{speed} x{width or '?'}".strip()
            yield Pci(path.name, f"{VENDOR}:{device.removeprefix('0x')}", link)


def _built(board: Board, kernel: str) -> str:
    """The version that DKMS has built for the running kernel."""
    row = rf"^hailo\w*(?:/|, ?)(\d+\.\d+\.\d+),.*{re.escape(kernel)},.*: installed"
    found = re.search(row, board.says("dkms", "status"), re.M)
    return found[1] if found else ""


def _node(path: Path) -> str:
    if not path.exists():
        return "absent"
    return "open" if os.access(path, os.R_OK | os.W_OK) else "closed"


def _packages(board: Board) -> frozenset[str]:
    rows = board.says("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\\n", "*hailo*").splitlines()
    pairs = [row.split() for row in rows]
    return frozenset(
        pair[0] for pair in pairs if len(pair) == 2 and pair[1] not in ("not-installed", "config-files")
    )


def _service(board: Board) -> Service:
    text = board.says(
        "systemctl", "show", SERVICE_UNIT, "-p", "LoadState,ActiveState,ActiveEnterTimestampMonotonic"
    )
    said = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    booted = re.search(r"^btime (\d+)", board.text("/proc/stat"), re.M)
    after = int(said.get("ActiveEnterTimestampMonotonic") or 0)  # microseconds since then
    installed = 0.0
    with contextlib.suppress(OSError):  # dpkg writes this list when it unpacks the package
        installed = board.path("/var/lib/dpkg/info/hailort.list").stat().st_mtime
    return Service(
        said.get("ActiveState", "") if said.get("LoadState") == "loaded" else "",
        board.path(str(SERVICE)).exists(),
        int(booted[1]) + after / 1e6 if booted and after else 0.0,
        installed,
    )


def _wheel() -> tuple[str, str]:
    try:
        return str(import_hailort().__version__), ""
    except UserError as error:
        return "", str(error)


def _declared_numpy() -> str:
    """As "numpy==1.23.3"; empty where the wheel `hailort` declares none."""
    try:
        declared = importlib.metadata.requires("hailort") or []
    except importlib.metadata.PackageNotFoundError:  # Raspberry Pi OS installs it without
        return ""
    wanted = (text.split(";")[0].replace(" ", "") for text in declared if re.match(r"numpy\b", text))
    return next(wanted, "")


def _end_of(path: Path) -> str:
    """The last LOG_BYTES of a log, which may have grown for weeks."""
    with contextlib.suppress(OSError):
        if path.is_file():
            with open(path, "rb") as file:
                file.seek(max(0, path.stat().st_size - LOG_BYTES))
                return file.read(LOG_BYTES).decode(errors="replace")
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
