"""What the doctor concludes from plain facts: one cause, one cure, and nothing about what only follows."""

import random
import re
from dataclasses import replace

import numpy as np
import pytest

from fer_hailo.board.devices import Device
from fer_hailo.board.doctor import host
from fer_hailo.board.doctor.finding import FAIL, OK, WARN
from fer_hailo.board.doctor.hailo import chip_name, examine_hailo
from fer_hailo.board.doctor.hailo_facts import HailoFacts, Pci, Service
from fer_hailo.board.doctor.host_facts import HostFacts
from fer_hailo.board.doctor.versions import holds, meets

IDENTIFY = "Identifying board\nFirmware Version: {} (release,app)\nDevice Architecture: {}\n"
CHIP, HAILO10 = Pci("0001:01:00.0", "1e60:2864", "8.0 GT/s PCIe x1"), Pci("0001:01:00.0", "1e60:45c4")
WELL = HailoFacts(
    raspberry=True,
    codename="trixie",
    devices=(CHIP,),
    loaded=True,
    driver="4.23.0",
    on_disk="4.23.0",
    built="4.23.0",
    node="open",
    library="4.23.0",
    says="HailoRT-CLI version 4.23.0\n",
    identified=(0, IDENTIFY.format("4.23.0", "HAILO8")),
    packages=frozenset({"hailo-all", "hailort", "hailo-dkms", "python3-hailort", "hailo-tappas-core"}),
    wheel="4.23.0",
)
BARE = HailoFacts(wheel_problem="HailoRT's Python (module hailo_platform) is not installed: get it")
MSI = "[   12.1] hailo 0001:01:00.0: Failed to enable MSI -28"
LARGE = "[HailoRT] [error] CHECK failed - max_desc_page_size 16384 is above 4096"


def wrong(**changes):
    """(level, what, found, fix) of all findings that are not OK."""
    findings = examine_hailo(replace(WELL, **changes))
    return [(f.level, f.what, f.found, f.fix) for f in findings if f.level != OK]


def test_all_is_well():
    found = list(examine_hailo(WELL))
    assert {finding.level for finding in found} == {OK} and not any(finding.fix for finding in found)
    assert [f.what for f in found] == [
        "device",
        "HailoRT",
        "driver",
        "device node",
        "chip",
        "HailoRT's Python",
    ]
    assert chip_name(WELL) == "HAILO8"


ONE_VERSION = "install driver, library and wheel in one version"
TRIXIE = "use Raspberry Pi OS Trixie, where the driver comes by DKMS only"
OPTION = "`options hailo_pci force_desc_page_size=4096` into a file of /etc/modprobe.d"
NO_CHIP = {"devices": (), "loaded": False, "driver": "", "node": "absent", "identified": (74, "none")}


@pytest.mark.parametrize(
    ("changes", "what", "found", "fix"),
    [
        (NO_CHIP, "device", "no Hailo chip on the PCIe bus", "seat the module"),
        ({"devices": (HAILO10,)}, "device", "Hailo-10H (1e60:45c4)", "this project targets Hailo-8 and 8L"),
        ({"devices": (), "other": True}, "device", "Hailo-10H", "this project targets Hailo-8 and 8L"),
        ({"devices": (Pci("x", "1e60:1234"),)}, "device", "1e60:1234, and no Hailo-8", "targets Hailo-8"),
        (
            {"packages": WELL.packages | {"hailo-h10-all"}, "library": "5.1.0", "wheel": "5.1.0"},
            "packages",
            "hailo-all and hailo-h10-all, which cannot both be installed",
            "sudo apt remove --autoremove hailo-h10-all && sudo apt install hailo-all",
        ),
        (
            {"packages": frozenset({"hailo-h10-all"}), "loaded": False, "on_disk": "", "says": None},
            "packages",
            "hailo-h10-all, which is for the Hailo-10H",
            "sudo apt remove --autoremove hailo-h10-all && sudo apt install hailo-all",
        ),
        (
            {"loaded": False, "driver": "", "on_disk": "", "node": "absent", "identified": (64, "no driver")},
            "driver",
            "hailo_pci is not installed for this kernel",
            "sudo apt install dkms hailo-all",
        ),
        (
            {"says": None, "library": "", "identified": None, "wheel": "", "wheel_problem": "no lib: get it"},
            "HailoRT",
            "hailortcli is not installed",
            "sudo apt install dkms hailo-all",
        ),
        (
            {"loaded": False, "driver": "", "node": "absent", "identified": (64, "no driver")},
            "driver",
            "hailo_pci 4.23.0 is installed, but not loaded",
            "sudo modprobe hailo_pci",
        ),
        (
            {"driver": "4.20.0", "node": "absent", "messages": (MSI,), "identified": (76, "differs")},
            "HailoRT",
            "4.23.0, but the loaded driver is 4.20.0",
            ONE_VERSION,
        ),
        (
            {"loaded": False, "driver": "", "on_disk": "4.20.0", "node": "absent"},
            "HailoRT",
            "4.23.0, but the installed driver is 4.20.0",
            ONE_VERSION,
        ),
        (
            {"driver": "4.20.0", "kernels_own": True, "codename": "bookworm", "held": frozenset({"hailort"})},
            "HailoRT",
            "4.23.0, but the loaded driver is 4.20.0, the kernel's own, which outranks a built one of 4.23.0",
            TRIXIE,
        ),
        (
            {"driver": "4.20.0", "kernels_own": True, "codename": "bookworm", "built": ""},
            "HailoRT",
            "the kernel's own, which outranks a built one",
            TRIXIE,
        ),
        (
            {"driver": "4.20.0", "built": "4.20.0", "held": frozenset({"hailort", "hailo-dkms"})},
            "HailoRT",
            "the loaded driver is 4.20.0; held: hailo-dkms hailort",
            f"sudo apt-mark unhold hailo-dkms hailort, then {ONE_VERSION}",
        ),
        ({"library": "5.1.0", "wheel": "5.1.0"}, "HailoRT", "5.1.0 is for Hailo-10", "HailoRT 4.x"),
        ({"library": "", "says": "oh"}, "HailoRT", "hailortcli says 'oh'", ONE_VERSION),
        ({"node": "closed", "identified": (13, "no")}, "device node", "may not read and write", "udevadm"),
        (
            {"node": "absent", "messages": ("hailo: Init", MSI, "hailo: done"), "identified": (74, "")},
            "device node",
            f"no /dev/hailo0: the driver is loaded, and refused the chip ({MSI})",
            "sudo dmesg | grep -i hailo tells why",
        ),
        ({"identified": (74, "none")}, "chip", "no device that is free", "sudo lsof /dev/hailo0"),
        (
            {"identified": (0, IDENTIFY.format("4.20.0", "HAILO8"))},
            "chip",
            "HAILO8, firmware 4.20.0, but HailoRT 4.23.0",
            ONE_VERSION,
        ),
        ({"identified": (76, "error: versions"), "driver": ""}, "chip", "ends with 76", ONE_VERSION),
        ({"identified": (4, "said\n[error] timeout\n")}, "chip", "ends with 4: [error] timeout", "dmesg"),
        ({"identified": (8, LARGE), "log": LARGE}, "descriptor pages", "max_desc_page_size", OPTION),
        ({"identified": (8, LARGE), "page_size": True}, "descriptor pages", "is set", "start the machine"),
        (
            {"service": Service("active", True, since=100, installed=200)},
            "service",
            "runs since before HailoRT 4.23.0 was installed",
            "sudo systemctl restart hailort.service",
        ),
        (
            {"service": Service("failed", True)},
            "service",
            "hailort.service is failed, but its socket is there",
            "sudo systemctl restart hailort.service",
        ),
        ({"wheel": "4.22.0"}, "HailoRT's Python", "4.22.0, but the library is 4.23.0", "in version 4.23.0"),
        ({"wheel": "", "wheel_problem": BARE.wheel_problem}, "HailoRT's Python", "not installed", "get it"),
    ],
)  # fmt: skip
def test_one_cause_has_one_cure(changes, what, found, fix):
    ((level, said, line, cure),) = wrong(**changes)
    assert (level, said) == (FAIL, what) and found in line and fix in cure


@pytest.mark.parametrize(
    ("changes", "what", "found", "fix"),
    [
        ({"log": f"older\n{LARGE}\n"}, "descriptor pages", "hailort.log in this folder tells", OPTION),
        (
            {"log": "status=HAILO_INTERNAL_FAILURE(8)"},
            "descriptor pages",
            "hailort.log in this folder tells",
            OPTION,
        ),
        (
            {"held": frozenset({"hailort", "hailo-dkms", "python3-hailort"})},
            "packages",
            "but not hailo-tappas-core: an upgrade would part them",
            "sudo apt-mark hold hailo-tappas-core",
        ),
        (
            {"library": "4.99.0", "driver": "4.99.0", "wheel": "4.99.0",
             "identified": (0, IDENTIFY.format("4.99.0", "HAILO8"))},
            "HailoRT",
            "not known here",
            "4.23 with compiler 3.33",
        ),
        ({"numpy": "numpy<1.20"}, "HailoRT's Python", np.__version__, "pip install 'numpy<1.20'"),
    ],
)  # fmt: skip
def test_one_thing_to_look_at(changes, what, found, fix):
    ((level, said, line, cure),) = wrong(**changes)
    assert (level, said) == (WARN, what) and found in line and fix in cure


@pytest.mark.parametrize(
    "changes",
    [
        {"log": LARGE, "page_size": True},  # past
        {"held": WELL.packages},
        {"service": Service("active", True, since=200, installed=100)},
        {"service": Service("inactive", False)},
        {"devices": (HAILO10, CHIP)},  # the second is ours
        {"kernels_own": True, "codename": "bookworm"},  # and of the right version
        {"numpy": "numpy>=1.20"},
    ],
)
def test_no_alarm(changes):
    assert wrong(**changes) == []


def test_a_hailo_10_hears_of_nothing_else():
    """However much is missing or of another version: no advice about drivers."""
    bare = replace(BARE, devices=(HAILO10,), other=True)
    full = replace(
        WELL,
        devices=(HAILO10,),
        library="5.1.0",
        packages=frozenset({"hailo-h10-all"}),
        held=frozenset({"hailort"}),
    )
    for facts in (bare, full):
        (finding,) = examine_hailo(facts)
        assert finding.fix == "this project targets Hailo-8 and 8L"


@pytest.mark.parametrize("raspberry", [True, False])
def test_a_machine_with_nothing_but_a_chip_is_told_once_what_to_install(raspberry):
    ((_, what, found, fix),) = [
        (f.level, f.what, f.found, f.fix)
        for f in examine_hailo(replace(BARE, devices=(CHIP,), raspberry=raspberry))
        if f.level != OK
    ]
    assert what == "driver"
    assert found == "hailo_pci is not installed for this kernel, and hailortcli is not installed"
    assert ("apt install dkms hailo-all" in fix) == raspberry and ("Developer Zone" in fix) != raspberry


def test_no_two_fixes_contradict_on_any_of_3000_boards():
    """However its facts are mixed: one set of versions to install at most, and none of it held as well."""
    mixed = {
        "raspberry": [True, False],
        "codename": ["bookworm", "trixie"],
        "devices": [(), (CHIP,), (HAILO10,), (HAILO10, CHIP)],
        "other": [True, False],
        "loaded": [True, False],
        "driver": ["", "4.20.0", "4.23.0"],
        "on_disk": ["", "4.20.0", "4.23.0"],
        "kernels_own": [True, False],
        "node": ["absent", "closed", "open"],
        "library": ["", "4.20.0", "4.23.0", "5.1.0"],
        "says": [None, "HailoRT-CLI"],
        "identified": [
            None, (74, "none"), (76, "error"), (4, "error"), (8, LARGE),
            (0, IDENTIFY.format("4.20.0", "HAILO8")), (0, IDENTIFY.format("4.23.0", "HAILO8")),
        ],
        "packages": [
            frozenset(), WELL.packages, frozenset({"hailo-h10-all"}), WELL.packages | {"hailo-h10-all"},
        ],
        "held": [frozenset(), frozenset({"hailort"})],
        "service": [Service(), Service("active", True, 1, 2), Service("failed", True)],
        "wheel": ["4.20.0", "4.23.0"],
        "wheel_problem": ["", "not installed: get it"],
        "log": ["", LARGE],
        "page_size": [True, False],
    }  # fmt: skip
    rng, seen = random.Random(0), set()
    for _ in range(3000):
        facts = HailoFacts(**{name: rng.choice(values) for name, values in mixed.items()})
        found = [finding for finding in examine_hailo(facts) if finding.level != OK]
        fixes = [finding.fix for finding in found]
        seen |= {finding.what for finding in found}
        assert all(fixes) and len(set(fixes)) == len(fixes)
        installs = [f for f in fixes if re.search("install|Trixie", f)]
        assert len(installs) <= 1, found
        assert not (installs and any("apt-mark hold" in fix for fix in fixes)), found
        assert facts.node == "open" or not any("lsof" in fix for fix in fixes)
        if CHIP not in facts.devices and (HAILO10 in facts.devices or facts.other):
            assert fixes == ["this project targets Hailo-8 and 8L"]
    assert seen == {
        "device", "packages", "HailoRT", "driver", "device node", "chip", "descriptor pages", "service",
        "HailoRT's Python",
    }  # fmt: skip


def test_lsof_is_advised_only_where_the_node_exists():
    for node in ("absent", "closed"):
        for loaded in (True, False):
            rows = wrong(node=node, loaded=loaded, identified=(74, "none"))
            assert rows and not any("lsof" in fix for _, _, _, fix in rows)


@pytest.mark.parametrize(
    ("version", "sign", "bound", "expected"),
    [
        ("1.23.5", "==", "1.23.5", True), ("1.23.5", "==", "1.23.3", False), ("2.0", "==", "2.0.0", True),
        ("1.26.4", "<", "2", True), ("2.0.0rc1", "<", "2", False), ("1.9", "<", "1.23", True),
        ("1.24.1", "~=", "1.23", True), ("2.0", "~=", "1.23", False), ("1.24.1", "~=", "1.23.1", False),
        ("1.23.9", "~=", "1.23.1", True), ("1.23", ">=", "1.23.0", True), ("1.23", "!=", "1.23", False),
    ],
)  # fmt: skip
def test_versions_by_hand(version, sign, bound, expected):
    assert holds(version, sign, bound) == expected
    assert meets(version, f"numpy>=0.1,{sign}{bound}") == expected and meets(version, "")


# The machine round it


def test_programs():
    right = HostFacts(opencv="4.11.0", yunet=True, litert="ai_edge_litert", keras=True)
    assert {host.system(right).level, host.opencv(right).level, host.litert(right, True).level} == {OK}
    assert host.opencv(right).found == "4.11.0"
    arm = host.system(replace(right, machine="armv7l", says="armv7l"))
    assert arm.level == WARN and arm.found == "armv7l" and "64-bit Linux" in arm.fix
    bare = host.opencv(replace(right, yunet=False))
    assert bare.level == WARN and "cannot run YuNet" in bare.found and "opencv-python>=4.8" in bare.fix
    none = host.opencv(replace(right, opencv_problem="ImportError: libGL"))
    assert none.level == FAIL and "libGL" in none.found and "opencv-python>=4.8,<4.12" in none.fix
    lite = "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"
    assert host.opencv(replace(right, opencv_problem=lite)).fix == "sudo apt install libgl1"
    missing = replace(right, litert="", keras=False)
    assert (host.litert(missing, True).level, host.litert(missing, False).level) == (FAIL, WARN)
    assert host.keras(missing).level == FAIL and ".[train]" in host.keras(missing).fix


def test_cameras():
    usb, csi = Device(1, "USB Camera"), Device(0, "rp1-cfe-csi2_ch0", csi=True)
    assert host.camera(HostFacts(cameras=(csi, usb))).found == "1 (USB Camera)"
    assert "run.py picamera" in host.camera(HostFacts(cameras=(csi,))).fix
    closed = host.camera(HostFacts(cameras=(replace(usb, closed=True),)))
    assert "may not open /dev/video1" in closed.found and "usermod -aG video" in closed.fix
    assert host.camera(HostFacts()).found == "none"


def test_what_makes_a_board_slow():
    hot = HostFacts(free_mib=100, degrees=83.5, throttled=0x50000)
    assert [f.level for f in host.examine_machine(hot)] == [WARN] * 4
    cool = HostFacts(cameras=(Device(0, "c"),), free_mib=256, degrees=79.9, throttled=0x8)
    assert [f.level for f in host.examine_machine(cool)] == [OK] * 4
