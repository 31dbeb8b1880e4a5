"""Findings about the Hailo device, in the order of cause.

Each finding is derived by a function of its own from plain facts. What follows from a failure is not judged:
it has no cure of its own, and the cure of its cause may make it right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np

from fer_hailo.board.doctor.finding import FAIL, OK, WARN, Finding, split
from fer_hailo.board.doctor.hailo_facts import NODE, SERVICE_UNIT, HailoFacts
from fer_hailo.board.doctor.versions import PAIRS, meets, release
from fer_hailo.common.errors import first_line
from fer_hailo.predict.advice import PAGES, page_size_refused

OURS, HAILO10 = "1e60:2864", "1e60:45c4"
NO_DEVICE, OTHER_DRIVER = 74, 76  # exit status of hailortcli
TARGET = "this project targets Hailo-8 and 8L"
REINSTALL = "install driver, library and wheel in one version (docs/board.md) and start the machine again"
TRIXIE = (
    "use Raspberry Pi OS Trixie, where the driver comes by DKMS only: to install again here does not change "
    "which driver is loaded"
)
TOGETHER = ("hailort", "hailo-dkms", "hailort-pcie-driver", "python3-hailort", "hailo-tappas-core")


def examine_hailo(facts: HailoFacts) -> Iterator[Finding]:
    """Findings in the order of cause, without those that follow from a failure before them."""
    stopped: set[Rule] = set()
    for rule, causes in ORDER.items():
        if stopped & set(causes):
            stopped.add(rule)
        elif finding := rule(facts):
            yield finding
            if finding.level == FAIL:
                stopped.add(rule)


def chip_name(facts: HailoFacts) -> str:
    """HAILO8, HAILO8L; empty where hailortcli did not tell."""
    status, text = facts.identified or (1, "")
    return _identity(text).get("Device Architecture", "") if status == 0 else ""


def other_chip(facts: HailoFacts) -> Finding | None:
    numbers = {device.number for device in facts.devices}
    if OURS in numbers or not (numbers or facts.other):
        return None
    if HAILO10 in numbers or not numbers:
        return Finding(FAIL, "device", f"a Hailo-10H ({HAILO10}), and no Hailo-8", TARGET)
    return Finding(FAIL, "device", f"a Hailo device {min(numbers)}, and no Hailo-8 ({OURS})", TARGET)


def on_the_bus(facts: HailoFacts) -> Finding:
    for device in facts.devices:
        if device.number == OURS:
            return Finding(OK, "device", f"{device.slot}, {device.link}")
    fix = "switch off, seat the module or its flat cable anew, and see whether lspci shows it"
    return Finding(FAIL, "device", "no Hailo chip on the PCIe bus", fix)


def packages(facts: HailoFacts) -> Finding | None:
    """The two sets of packages cannot both be installed."""
    both = {"hailo-all", "hailo-h10-all"} <= facts.packages
    if not both and not ("hailo-h10-all" in facts.packages and facts.devices):
        return None
    found = (
        "hailo-all and hailo-h10-all, which cannot both be installed"
        if both
        else "hailo-h10-all, which is for the Hailo-10H"
    )
    fix = (
        "sudo apt remove --autoremove hailo-h10-all && sudo apt install hailo-all, then start the machine "
        "again"
    )
    return Finding(FAIL, "packages", found, fix)


def installed(facts: HailoFacts) -> Finding | None:
    lacks = [] if facts.loaded or facts.on_disk else ["hailo_pci is not installed for this kernel"]
    lacks += [] if facts.says is not None else ["hailortcli is not installed"]
    if not lacks:
        return None
    what = "driver" if "hailo_pci" in lacks[0] else "HailoRT"
    fix = (
        "sudo apt install dkms hailo-all, then start the machine again"
        if facts.raspberry
        else "install Hailo's PCIe driver and the package hailort in one version, both from its Developer "
        "Zone (docs/board.md), then start the machine again"
    )
    return Finding(FAIL, what, ", and ".join(lacks), fix)


def versions(facts: HailoFacts) -> Finding:
    """Driver and library, which must be equal to the last digit."""
    library, driver = facts.library, facts.driver or facts.on_disk
    if not library:
        said = first_line(facts.says, 160, "nothing")
        return Finding(FAIL, "HailoRT", f"hailortcli says {said!r}", REINSTALL)
    if int(library.split(".")[0]) >= 5:
        fix = "install a HailoRT 4.x for Hailo-8 (docs/board.md)"
        return Finding(FAIL, "HailoRT", f"{library} is for Hailo-10 and Hailo-15", fix)
    if driver and driver != library:
        return _mismatch(facts, driver)
    if release(library) not in PAIRS:
        known = ", ".join(f"{ours} with compiler {theirs}" for ours, theirs in PAIRS.items())
        found = f"{library}, of which the compiler's version is not known here"
        return Finding(WARN, "HailoRT", found, f"best known: {known}")
    return Finding(OK, "HailoRT", f"{library}; its compiler is {PAIRS[release(library)]}")


def _mismatch(facts: HailoFacts, driver: str) -> Finding:
    found = f"{facts.library}, but the {'loaded' if facts.loaded else 'installed'} driver is {driver}"
    if facts.kernels_own and facts.codename == "bookworm" and driver != facts.built:
        built = f" of {facts.built}" if facts.built else ""
        found += f", the kernel's own, which outranks a built one{built}"
        return Finding(FAIL, "HailoRT", found, TRIXIE)
    if facts.held:
        names = " ".join(sorted(facts.held))
        return Finding(
            FAIL, "HailoRT", f"{found}; held: {names}", f"sudo apt-mark unhold {names}, then {REINSTALL}"
        )
    return Finding(FAIL, "HailoRT", found, REINSTALL)


def driver(facts: HailoFacts) -> Finding:
    if not facts.loaded:
        found = f"hailo_pci {facts.on_disk} is installed, but not loaded"
        return Finding(FAIL, "driver", found, "sudo modprobe hailo_pci")
    return Finding(OK, "driver", f"hailo_pci {facts.driver or 'of an unknown version'}")


def node(facts: HailoFacts) -> Finding:
    if facts.node == "open":
        return Finding(OK, "device node", f"{NODE} can be read and written")
    if facts.node == "closed":
        fix = (
            "sudo udevadm control --reload-rules && sudo udevadm trigger (the driver's package brings the "
            "rule)"
        )
        return Finding(FAIL, "device node", f"this user may not read and write {NODE}", fix)
    found = f"no {NODE}: the driver is loaded, and refused the chip"
    if page_size_refused("\n".join(facts.messages)):
        return _pages(facts, found)
    reasons = [line for line in facts.messages if re.search(r"(?i)fail|error|refus|-\d+\b", line)]
    if reasons:
        found += f" ({first_line(reasons[-1], 160)})"
    return Finding(FAIL, "device node", found, "sudo dmesg | grep -i hailo tells why (MSI -28, for one)")


def firmware(facts: HailoFacts) -> Finding | None:
    """What only the chip can tell, or hailortcli when it asks it: another version than the library's."""
    status, text = facts.identified or (0, "")
    said = _identity(text).get("Firmware Version", "").split(" ")[0]
    if status == OTHER_DRIVER:
        return Finding(FAIL, "chip", f"hailortcli fw-control identify ends with {_ending(facts)}", REINSTALL)
    if status == 0 and said not in ("", facts.library):
        found = f"{chip_name(facts)}, firmware {said}, but HailoRT {facts.library}"
        return Finding(FAIL, "chip", found, REINSTALL)
    return None


def chip(facts: HailoFacts) -> Finding | None:
    if facts.identified is None:
        return None
    if name := chip_name(facts):
        return Finding(OK, "chip", f"{name}, firmware {facts.library}")
    status, text = facts.identified
    if status == NO_DEVICE:
        fix = f"end what uses it: sudo lsof {NODE}"
        return Finding(FAIL, "chip", "hailortcli finds no device that is free", fix)
    found = f"hailortcli fw-control identify ends with {_ending(facts)}"
    if page_size_refused(text):
        return _pages(facts, found)
    return Finding(FAIL, "chip", found, "sudo dmesg | grep -i hailo tells why")


def page_size(facts: HailoFacts) -> Finding | None:
    """What the log tells is past: with the option set it counts no longer."""
    if facts.page_size or not page_size_refused(facts.log):
        return None
    found = "hailort.log in this folder tells that the chip refused the driver's descriptor pages"
    return Finding(WARN, "descriptor pages", found, PAGES)


def service(facts: HailoFacts) -> Finding | None:
    state = facts.service.state
    restart = f"sudo systemctl restart {SERVICE_UNIT}"
    if state == "active" and 0 < facts.service.since < facts.service.installed:
        found = f"it runs since before HailoRT {facts.library} was installed: it is of another version"
        return Finding(FAIL, "service", found, restart)
    if state == "active":
        return Finding(OK, "service", f"{SERVICE_UNIT} shares the device between programs")
    if state and facts.service.socket:
        found = f"{SERVICE_UNIT} is {state}, but its socket is there, so that programs ask it"
        return Finding(FAIL, "service", found, restart)
    return None


def wheel(facts: HailoFacts) -> Finding:
    what = "HailoRT's Python"
    if facts.wheel_problem:
        return Finding(FAIL, what, *split(facts.wheel_problem.removeprefix(f"{what} ")))
    if facts.wheel != facts.library:
        found = f"{facts.wheel}, but the library is {facts.library}"
        return Finding(FAIL, what, found, f"install it in version {facts.library} (docs/board.md)")
    if not meets(np.__version__, facts.numpy):
        found = f"{facts.wheel}, which declares {facts.numpy}; here is numpy {np.__version__}"
        return Finding(WARN, what, found, f"where it misbehaves: pip install '{facts.numpy}'")
    return Finding(OK, what, f"{facts.wheel}, loads with numpy {np.__version__}")


def holds(facts: HailoFacts) -> Finding | None:
    """Packages of one version that an upgrade would part, since some of them are held and others not."""
    there = [name for name in TOGETHER if name in facts.packages]
    held, free = [name for name in there if name in facts.held], [n for n in there if n not in facts.held]
    if not held or not free:
        return None
    found = f"{', '.join(held)} held, but not {', '.join(free)}: an upgrade would part them"
    return Finding(WARN, "packages", found, f"sudo apt-mark hold {' '.join(free)}")


def _ending(facts: HailoFacts) -> str:
    """Exit status of `hailortcli fw-control identify`, and the line that says most about it."""
    status, text = facts.identified or (0, "")
    errors = [line for line in text.splitlines() if "error" in line.lower()]
    return f"{status}: {first_line((errors or [text])[0], 160, 'nothing')}"


def _pages(facts: HailoFacts, found: str) -> Finding:
    if facts.page_size:
        return Finding(FAIL, "descriptor pages", f"{found}; the option is set", "start the machine again")
    return Finding(FAIL, "descriptor pages", found, PAGES)


def _identity(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([A-Z][\w ]+): *(.*?) *$", text, re.M))


Rule = Callable[[HailoFacts], "Finding | None"]
# Each rule with the failures from which it would only follow.
ORDER: dict[Rule, tuple[Rule, ...]] = {
    other_chip: (),
    on_the_bus: (other_chip,),
    packages: (other_chip,),
    installed: (packages,),
    versions: (installed,),
    driver: (on_the_bus, versions),
    node: (driver,),
    firmware: (node,),
    chip: (firmware,),
    page_size: (chip,),
    service: (versions,),
    wheel: (versions, firmware),
    holds: (versions, chip, wheel),
}
