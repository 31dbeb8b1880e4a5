"""run.py --doctor on boards that are built from files and answers of commands, in the words of HailoRT's
public code.
"""

import importlib.util
import os
import shutil
import subprocess
import sys

import board
import numpy as np
import pytest
from conftest import ROOT, broken_pipe, error_line

from fer_hailo.board.doctor import hailo_facts, host_facts
from fer_hailo.board.doctor.board import Board, run_command
from fer_hailo.board.doctor.report import run_doctor

IDENTIFY = """\
Executing on device: 0000:01:00.0
Identifying board
Control Protocol Version: 2
Firmware Version: {} (release,app,extended context switch buffer)
Logger Version: 0
Board Name: Hailo-8
Device Architecture: {}
Serial Number: <N/A>
Part Number: <N/A>
Product Name: <N/A>
"""


@pytest.fixture(scope="module")
def deploy(tmp_path_factory):
    """Do not change it: copy it."""
    return board.make_deploy(tmp_path_factory.mktemp("board"))


@pytest.fixture(autouse=True)
def linux(monkeypatch):
    monkeypatch.setattr(host_facts.platform, "system", lambda: "Linux")
    monkeypatch.setattr(host_facts.platform, "machine", lambda: "aarch64")


@pytest.fixture
def order(monkeypatch, tmp_path):
    with board.double_of_hailort(monkeypatch, tmp_path / "record") as put:
        yield put


class Fake:
    """A Raspberry Pi 5 on which all is well; `files` and `answers` can be changed before `examine`.

    None removes.
    """

    def __init__(self, root, capsys, version="4.23.0", chip="HAILO8"):
        self.root, self._capsys = root, capsys
        self.files = {
            "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
            "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
            "proc/meminfo": "MemTotal: 8245248 kB\nMemAvailable:    6291456 kB\n",
            "sys/bus/pci/devices/0000:00:00.0/vendor": "0x14e4\n",
            "sys/bus/pci/devices/0001:01:00.0/vendor": "0x1e60\n",
            "sys/bus/pci/devices/0001:01:00.0/device": "0x2864\n",
            "sys/bus/pci/devices/0001:01:00.0/current_link_speed": "8.0 GT/s PCIe\n",
            "sys/bus/pci/devices/0001:01:00.0/current_link_width": "1\n",
            "sys/module/hailo_pci/version": f"{version}\n",
            "sys/class/thermal/thermal_zone0/temp": "51600\n",
            "sys/class/video4linux/video0/name": "USB Camera: USB Camera\n",
            "sys/class/video4linux/video19/name": "rpi-hevc-dec\n",
            "sys/class/video4linux/video20/name": "pispbe-input\n",
            "dev/hailo0": "",
            "dev/video0": "",
            "dev/video19": "",
            "dev/video20": "",
        }
        self.answers = {
            "hailortcli --version": (0, f"HailoRT-CLI version {version}\n"),
            "hailortcli fw-control identify": (0, IDENTIFY.format(version, chip)),
            "vcgencmd get_throttled": (0, "throttled=0x0\n"),
        }

    def _answer(self, arguments):
        return self.answers.get(" ".join(arguments))

    def examine(self, model=None, detector="") -> tuple[int, dict, str]:
        """Exit status; what: (level, found, fix); the whole output."""
        for name, text in self.files.items():
            if text is not None:
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                (self.root / name).write_text(text)
        status = run_doctor(model and str(model), self.root, self._answer, self.root, str(detector))
        output = self._capsys.readouterr().out
        findings, last = {}, None
        for line in output.splitlines()[:-1]:
            if line.startswith("      -> "):
                findings[last] = (*findings[last][:2], line[9:])
            else:
                last, _, found = line[6:].partition(": ")
                findings[last] = (line[:4].strip(), found, "")
        return status, findings, output


@pytest.fixture
def fake(tmp_path, capsys, order):
    order()
    return Fake(tmp_path / "root", capsys)


def test_a_board_on_which_all_is_well(fake, deploy):
    status, findings, output = fake.examine(deploy / "hailo8" / "model.hef")
    assert status == 0 and {level for level, _, _ in findings.values()} == {"OK"}, output
    assert "->" not in output and output.splitlines()[-1] == f"0 to mend, 0 to look at, {len(findings)} right"
    assert findings["system"][1].startswith("Debian GNU/Linux 12 (bookworm), Raspberry Pi 5 Model B Rev 1.0")
    assert (
        findings["device"][1] == "0001:01:00.0, 8.0 GT/s PCIe x1"
        and findings["driver"][1] == "hailo_pci 4.23.0"
    )
    assert (
        findings["HailoRT"][1] == "4.23.0; its compiler is 3.33"
        and findings["chip"][1] == "HAILO8, firmware 4.23.0"
    )
    assert findings["HailoRT's Python"][1] == f"4.23.0, loads with numpy {np.__version__}"
    assert findings["camera"][1] == "0 (USB Camera: USB Camera)" and findings["memory"][1] == "6,144 MiB free"
    assert findings["temperature"][1] == "52 degrees Celsius" and findings["supply"][1] == "throttled=0x0"
    assert (
        "for HAILO8, compiler 3.33.0, normalised on the chip, 768 bytes an image, blue, green, grey, red"
        in findings["model"][1]
    )


@pytest.mark.parametrize(
    ("file", "text", "what", "level", "found", "fix"),
    [
        (
            "sys/bus/pci/devices/0001:01:00.0/vendor",
            "0x10de",
            "device",
            "FAIL",
            "no Hailo chip on the PCIe bus",
            "lspci",
        ),
        ("dev/hailo0", None, "device node", "FAIL", "no /dev/hailo0: the driver is loaded, and", "dmesg"),
        (
            "sys/module/hailo_pci/version",
            None,
            "driver",
            "FAIL",
            "not installed for this kernel",
            "dkms hailo-all",
        ),
        (
            "sys/module/hailo_pci/version",
            "4.20.0",
            "HailoRT",
            "FAIL",
            "4.23.0, but the loaded driver is 4.20.0",
            "in one version",
        ),
        (
            "sys/class/video4linux/video0/name",
            "rp1-cfe-csi2_ch0",
            "camera",
            "WARN",
            "only libcamera can read",
            "run.py picamera",
        ),
        ("dev/video0", None, "camera", "WARN", "none", "plug one in"),
        ("proc/meminfo", "MemAvailable: 102400 kB\n", "memory", "WARN", "100 MiB free", "end other programs"),
        ("sys/class/thermal/thermal_zone0/temp", "83500", "temperature", "WARN", "84 degrees", "cooler"),
    ],
)
def test_one_thing_wrong_among_the_files(fake, file, text, what, level, found, fix):
    fake.files[file] = text
    status, findings, output = fake.examine()
    assert status == (level == "FAIL"), output
    assert findings[what][0] == level and found in findings[what][1] and fix in findings[what][2], output
    assert output.count("->") == sum(row[0] != "OK" for row in findings.values()) == 1


ERROR = (
    "[HailoRT] [error] CHECK failed - Driver version (4.20.0) is different from library version "
    "(4.23.0)\nmore\n"
)


@pytest.mark.parametrize(
    ("command", "answer", "what", "level", "found", "fix"),
    [
        ("hailortcli --version", None, "HailoRT", "FAIL", "hailortcli is not installed", "hailo-all"),
        (
            "hailortcli --version",
            (0, "HailoRT-CLI version 5.1.0"),
            "HailoRT",
            "FAIL",
            "for Hailo-10 and Hailo-15",
            "HailoRT 4.x",
        ),
        (
            "hailortcli fw-control identify",
            (74, "none"),
            "chip",
            "FAIL",
            "no device that is free",
            "sudo lsof /dev/hailo0",
        ),
        (
            "hailortcli fw-control identify",
            (76, ERROR),
            "chip",
            "FAIL",
            "ends with 76: [HailoRT] [error] CHECK failed - Driver",
            "in one version",
        ),
        (
            "hailortcli fw-control identify",
            (0, IDENTIFY.format("4.20.0", "HAILO8")),
            "chip",
            "FAIL",
            "firmware 4.20.0, but",
            "one version",
        ),
        ("vcgencmd get_throttled", (0, "throttled=0x50005\n"), "supply", "WARN", "0x50005", "27 W"),
    ],
)
def test_one_thing_wrong_among_the_commands(fake, command, answer, what, level, found, fix):
    fake.answers[command] = answer
    status, findings, output = fake.examine()
    assert status == (level == "FAIL") and findings[what][0] == level, output
    assert found in findings[what][1] and fix in findings[what][2], output


def test_a_driver_that_is_installed_but_not_loaded(fake):
    fake.files["sys/module/hailo_pci/version"] = None
    fake.answers["modinfo -F version hailo_pci"] = (0, "4.23.0\n")
    status, findings, _ = fake.examine()
    assert status == 1 and findings["driver"] == (
        "FAIL",
        "hailo_pci 4.23.0 is installed, but not loaded",
        "sudo modprobe hailo_pci",
    )


def test_bookworms_own_driver_outranks_the_built_one(fake):
    fake.files |= {
        "etc/os-release": "VERSION_CODENAME=bookworm\n",
        "proc/sys/kernel/osrelease": "6.6.51+rpt-rpi-2712\n",
        "sys/module/hailo_pci/version": "4.20.0\n",
    }
    fake.answers |= {
        "dpkg -S */hailo_pci.ko*": (
            0,
            "linux-image-6.6.51+rpt-rpi-2712: /lib/modules/6.6.51+rpt-rpi-2712/kernel/hailo_pci.ko.xz\n",
        ),
        "dkms status": (0, "hailo_pci/4.23.0, 6.6.51+rpt-rpi-2712, aarch64: installed\n"),
    }
    status, findings, output = fake.examine()
    assert status == 1 and output.count("->") == 1
    assert findings["HailoRT"][1].endswith("4.20.0, the kernel's own, which outranks a built one of 4.23.0")
    assert "Trixie" in findings["HailoRT"][2]


def test_facts_about_packages_service_and_options(fake):
    """Their answers as dpkg, apt-mark, dkms, systemd and the kernel write them."""
    fake.files |= {
        "etc/os-release": 'VERSION_CODENAME="trixie"\n',
        "etc/modprobe.d/mine.conf": "# mine\noptions hailo_pci x=Y force_desc_page_size=4096\n",
        "proc/sys/kernel/osrelease": "6.12.47+rpt-rpi-2712\n",
        "proc/stat": "cpu 1 2 3\nbtime 1000\n",
        "tmp/hailort_uds.sock": "",
        "var/lib/dpkg/info/hailort.list": "/usr/bin/hailortcli\n",
        "hailort.log": "max_desc_page_size\n",
        "sys/module/hailo_pci/version": "4.23.0\n",
    }
    query = "dpkg-query -W -f ${Package} ${db:Status-Status}\\n *hailo*"
    show = "systemctl show hailort.service -p LoadState,ActiveState,ActiveEnterTimestampMonotonic"
    fake.answers |= {
        query: (
            0,
            "hailo-all installed\nhailo-h10-all not-installed\nhailort installed\nhailofw config-files\n",
        ),
        "apt-mark showhold": (0, "firefox\nhailort\n"),
        "dkms status": (0, "hailo_pci, 4.22.0, 6.12.47+rpt-rpi-2712, aarch64: installed\n"),
        "dpkg -S */hailo_pci.ko*": (1, "dpkg-query: no path found matching pattern"),
        "dmesg": (0, "[1.0] usb 1-1: new\n[2.0] hailo 0001:01:00.0: Probing: Added board\n"),
        "modinfo -F version hailo_pci": (0, "4.23.0\n"),
        show: (0, "LoadState=loaded\nActiveState=active\nActiveEnterTimestampMonotonic=2500000\n"),
    }
    fake.examine()
    os.utime(fake.root / "var/lib/dpkg/info/hailort.list", (1003, 1003))
    facts = hailo_facts.gather_hailo(Board(fake.root, fake.root, fake._answer))
    assert facts.devices == (hailo_facts.Pci("0001:01:00.0", "1e60:2864", "8.0 GT/s PCIe x1"),)
    assert (facts.raspberry, facts.codename, facts.other, facts.loaded) == (True, "trixie", False, True)
    assert (facts.driver, facts.on_disk, facts.built, facts.kernels_own) == (
        "4.23.0",
        "4.23.0",
        "4.22.0",
        False,
    )
    assert facts.packages == {"hailo-all", "hailort"} and facts.held == {"hailort"}
    assert facts.messages == ("[2.0] hailo 0001:01:00.0: Probing: Added board",)
    assert facts.service == hailo_facts.Service("active", True, 1002.5, 1003)
    assert (facts.node, facts.log, facts.page_size) == ("open", "max_desc_page_size\n", True)
    findings = fake.examine()[1]
    assert "since before HailoRT 4.23.0 was installed" in findings["service"][1]
    assert "descriptor pages" not in findings


@pytest.mark.parametrize("sign", ["sys/module/hailo1x_pci/version", "dev/h1x-0", "device"])
def test_a_hailo_10_hears_that_it_is_not_served_and_nothing_else(fake, deploy, sign):
    """By its number on the bus, or where none can be read, by its driver or node; the HEF is not held
    against it.
    """
    bus = "sys/bus/pci/devices/0001:01:00.0/"
    fake.files |= (
        {bus + "device": "0x45c4\n"} if sign == "device" else {bus + "vendor": "0x10de\n", sign: "5.1.0\n"}
    )
    fake.files |= {"dev/hailo0": None, "sys/module/hailo_pci/version": None}
    fake.answers["hailortcli fw-control identify"] = (0, IDENTIFY.format("5.1.0", "HAILO10H"))
    status, findings, output = fake.examine(deploy / "hailo8" / "model.hef")
    assert status == 1 and output.count("->") == 1 and findings["model"][0] == "OK"
    assert findings["device"][2] == "this project targets Hailo-8 and 8L"
    assert not {"driver", "device node", "HailoRT", "chip", "HailoRT's Python"} & set(findings)


def test_a_newer_hailort_is_looked_at_not_refused(tmp_path, capsys, order, deploy):
    order(version="4.99.0")
    status, findings, _ = Fake(tmp_path / "root", capsys, "4.99.0").examine(deploy / "hailo8" / "model.hef")
    assert (
        status == 0
        and findings["HailoRT"][0] == "WARN"
        and "4.23 with compiler 3.33" in findings["HailoRT"][2]
    )
    assert findings["model"][0] == "OK"


@pytest.mark.parametrize("name", ["hailo0", "video0"])
def test_nodes_that_may_not_be_opened(fake, monkeypatch, name):
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: not str(path).endswith(f"dev/{name}") and real(path, mode)
    )
    status, findings, _ = fake.examine()
    what, level, fix = (
        ("device node", "FAIL", "udevadm") if name == "hailo0" else ("camera", "WARN", "usermod -aG video")
    )
    assert status == (level == "FAIL") and findings[what][0] == level and fix in findings[what][2]


def test_the_wheel_and_the_library_differ(tmp_path, capsys, order):
    order(version="4.22.0")
    status, findings, _ = Fake(tmp_path / "root", capsys).examine()
    assert status == 1 and findings["HailoRT's Python"][1] == "4.22.0, but the library is 4.23.0"


def test_a_wheel_that_cannot_be_imported(tmp_path, capsys, order):
    order(**{"import": "library"})
    status, findings, _ = Fake(tmp_path / "root", capsys).examine()
    level, found, fix = findings["HailoRT's Python"]
    assert (
        status == 1
        and level == "FAIL"
        and "libhailort.so.4.23.0" in found
        and "the version of the package hailort" in fix
    )


def test_without_a_chip_it_names_what_works_all_the_same(tmp_path, capsys, monkeypatch):
    """But not where the CPU could not do it, or where a model for the chip is asked for."""
    monkeypatch.setitem(sys.modules, "hailo_platform", None)
    fake = Fake(tmp_path / "root", capsys)
    fake.files["sys/bus/pci/devices/0001:01:00.0/device"] = None
    status, _, output = fake.examine()
    end = "right; without the chip, python run.py photo.jpg reads faces on the CPU\n"
    assert status == 1 and output.endswith(end)
    assert fake.examine(model=tmp_path / "model.hef")[2].endswith(" right\n")
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert fake.examine()[2].endswith(" right\n")


def test_no_wheel(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "hailo_platform", None)
    status, findings, _ = Fake(tmp_path / "root", capsys).examine()
    level, found, fix = findings["HailoRT's Python"]
    assert (
        status == 1
        and level == "FAIL"
        and found.startswith("(module hailo_platform) is not installed")
        and "hailo-all" in fix
    )


@pytest.mark.parametrize(
    ("declared", "warns"),
    [
        ("numpy (==1.23.3)", True),
        ("numpy<2 ; python_version>'3.8'", np.__version__[0] == "2"),
        ("numpy>=1.23,<9", False),
        ("netaddr", False),
    ],
)
def test_the_numpy_that_the_wheel_declares(fake, monkeypatch, declared, warns):
    monkeypatch.setattr(hailo_facts.importlib.metadata, "requires", lambda name: ["future", declared])
    status, findings, _ = fake.examine()
    assert status == 0 and findings["HailoRT's Python"][0] == ("WARN" if warns else "OK")


def test_a_hef_for_another_chip(tmp_path, capsys, order, deploy):
    order()
    status, findings, _ = Fake(tmp_path / "root", capsys, chip="HAILO8L").examine(
        deploy / "hailo8" / "model.hef"
    )
    level, found, fix = findings["model"]
    assert status == 1 and level == "FAIL" and "for HAILO8, but the device is a HAILO8L" in found
    assert fix == "python compile_hef.py --hw-arch hailo8l"
    status, findings, _ = Fake(tmp_path / "other", capsys, chip="HAILO8L").examine(
        deploy / "hailo8l" / "model.hef"
    )
    assert status == 0 and findings["model"][0] == "OK"


def test_a_hef_of_another_compiler(tmp_path, capsys, order, deploy):
    order(version="4.21.0")
    status, findings, _ = Fake(tmp_path / "root", capsys, "4.21.0").examine(deploy / "hailo8")
    level, found, fix = findings["model"]
    assert status == 0 and level == "WARN" and "HailoRT 4.21.0 belongs to compiler 3.31" in found
    assert fix == "where it does not load: install HailoRT 4.23, or compile it with 3.31"


def test_models_that_do_not_fit_their_files(fake, deploy, tmp_path):
    copy = shutil.copytree(deploy, tmp_path / "copy")
    path = copy / "hailo8" / "model.hef"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    status, findings, _ = fake.examine(path)
    assert (
        status == 1 and findings["model"][0] == "FAIL" and "copy or compile it again" in findings["model"][2]
    )
    (copy / "manifest.json").unlink()
    assert "no manifest.json beside" in fake.examine(path)[1]["model"][1]
    assert "no model at" in fake.examine(tmp_path / "none.hef")[1]["model"][1]


def test_a_tflite_needs_nothing_of_hailo(tmp_path, capsys, monkeypatch, deploy):
    monkeypatch.setitem(sys.modules, "hailo_platform", None)
    machine = Fake(tmp_path / "root", capsys)
    machine.files, machine.answers = {}, {}
    status, findings, _ = machine.examine(deploy / "model_float32.tflite")
    assert (
        status == 0
        and findings["model"][0] == "OK"
        and not {"device", "driver", "HailoRT", "chip"} & set(findings)
    )


def test_what_is_no_model_is_told_from_one(fake, deploy, tmp_path):
    copy = shutil.copytree(deploy, tmp_path / "copy")
    assert "labels.txt is no model: .keras, .tflite, .hef, .pth, .h5 files are" in ": ".join(
        fake.examine(copy / "labels.txt")[1]["model"][1:]
    )
    (copy / "mine.tflite").write_bytes(b"junk")
    status, findings, _ = fake.examine(copy / "mine.tflite")
    assert (
        status == 1
        and findings["model"][0] == "FAIL"
        and "is not a TFLite file" in ": ".join(findings["model"][1:])
    )
    (tmp_path / "empty").mkdir()
    level, found, fix = fake.examine(tmp_path / "empty")[1]["model"]
    assert (
        level == "FAIL"
        and "none of model.hef" in found
        and fix.startswith("copy the whole deploy folder again")
    )


def test_a_keras_file_needs_keras_and_yaml(fake, monkeypatch, tmp_path):
    (tmp_path / "m.keras").write_bytes(b"x")
    (tmp_path / "config.yaml").write_text("arch: tiny\n")
    monkeypatch.setitem(sys.modules, "yaml", None)
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "keras" else real(name))
    status, findings, _ = fake.examine(tmp_path / "m.keras")
    assert (
        status == 1 and findings["Keras"][0] == "FAIL" and "pip install -e '.[train]'" in findings["Keras"][2]
    )
    level, found, fix = findings["model"]
    assert (
        level == "FAIL"
        and "config.yaml, which tells its labels, cannot be read" in found
        and ".[train]" in fix
    )


def test_commands_are_run():
    assert run_command([sys.executable, "-c", "import sys; print('said'); sys.exit(3)"]) == (
        3,
        "said\n",
    )
    assert run_command(["no-such-command-anywhere"]) is None


def test_nobody_reads_the_findings():
    done = subprocess.run(
        [sys.executable, ROOT / "run.py", "--doctor"],
        stdout=broken_pipe(),
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (141, "")


def test_a_source_beside_the_doctor_is_a_mistake(command):
    assert "deploy/model.hef: --doctor, --cameras and --benchmark take no SOURCE" in error_line(
        command("run.py", "--doctor", "deploy/model.hef")
    )
    assert "not allowed with argument" in error_line(command("run.py", "--doctor", "--benchmark"))


def test_the_command(command):
    result = command("run.py", "--doctor")
    levels = [line.split(" ")[0] for line in result.stdout.splitlines()[:-1] if not line.startswith(" ")]
    assert (
        result.returncode == ("FAIL" in levels) and set(levels) <= {"OK", "WARN", "FAIL"} and "OK" in levels
    ), result.stderr
    assert (
        f"{levels.count('FAIL')} to mend, {levels.count('WARN')} to look at, {levels.count('OK')} right"
        in result.stdout
    )


def test_a_detector_on_the_chip(tmp_path, capsys, order, deploy):
    order()
    hef, light = board.scrfd_hef(tmp_path / "scrfd.hef"), board.scrfd_hef(tmp_path / "light.hef", "hailo8l")
    tflite = deploy / "model_float32.tflite"  # Hailo's parts are looked at all the same
    status, findings, _ = Fake(tmp_path / "a", capsys).examine(tflite, hef)
    assert status == 0 and findings["chip"][0] == findings["detector"][0] == "OK", findings
    assert "compiler 3.33.0, SCRFD, takes images of 640x640" in findings["detector"][1]
    status, findings, _ = Fake(tmp_path / "b", capsys, chip="HAILO8L").examine(None, hef)
    level, found, fix = findings["detector"]
    assert status == 1 and level == "FAIL" and "for HAILO8, but the device is a HAILO8L" in found
    assert fix == "take the file that Hailo's Model Zoo has for HAILO8L"
    order(version="4.21.0")
    fix = Fake(tmp_path / "c", capsys, "4.21.0", "HAILO8L").examine(None, light)[1]["detector"][2]
    assert fix == "where it does not load: install HailoRT 4.23, or take one that was compiled with 3.31"
    level, found, _ = Fake(tmp_path / "d", capsys, "4.21.0").examine(None, deploy / "hailo8/model.hef")[1][
        "detector"
    ]
    assert level == "FAIL" and "no SCRFD face detector" in found
