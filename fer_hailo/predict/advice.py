"""HailoRT's Python: where to get it, and its failures as one line that says what to do.

Source: HailoRT's public Python API, its bindings and libhailort, release 4. HailoRT is imported here only.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from types import ModuleType

from fer_hailo.common.calls import call, tool
from fer_hailo.common.errors import UserError, first_line, with_class

TIMEOUT_MS = (
    10_000  # for a batch, and for a place in the queue; long, since other programs may use the device too
)

MISSING = (
    "HailoRT's Python (module hailo_platform) is not installed in this Python. No public registry has it: on "
    "Raspberry Pi OS "
    "sudo apt install hailo-all, elsewhere the wheel hailort from Hailo's Developer Zone; an environment "
    "sees the system's copy "
    "if it was made with python3 -m venv --system-site-packages"
)
ABSENT = (
    f"no Hailo device found: is it seated and powered, and its driver loaded? {call('run')} --doctor "
    "tells which"
)
BUSY = (
    "another program uses the device (sudo lsof /dev/hailo0 names it): end it, or share the device: "
    "sudo systemctl enable --now hailort.service, then start both programs again"
)
LOST = (
    "the device was lost in mid-run: look at its power, seat and temperature and at sudo dmesg | grep "
    "hailo, then start again"
)
VERSIONS = (
    "firmware, driver and library must be of one version, and are not: install them in one version "
    "and start the machine again"
)
DRIVER = "the driver failed: look at sudo dmesg | grep hailo, and start the machine again"
FOREIGN = (
    "this HailoRT cannot use the file: a HEF needs the HailoRT of its compiler's version (3.33 with "
    "4.23, 3.32 with 4.22 ...)"
)
MEMORY = "memory ran out: end other programs, or give a smaller --batch"
SERVICE_FAILED = (
    "the service of HailoRT does not answer, or has another version: sudo systemctl restart hailort.service"
)
PAGES = (
    "write the line `options hailo_pci force_desc_page_size=4096` into a file of /etc/modprobe.d whose name "
    "ends in .conf, and start the machine again"
)
# By the name of a status, or of the exception class that HailoRT's Python makes of it.
ADVICE = {
    "HailoRTTimeout": f"the device gave no answer within {TIMEOUT_MS / 1000:g} s: it hangs, or other "
    "programs keep it busy; start again",
    "HAILO_TIMEOUT": "the device gave no answer in time: it hangs, or other programs keep it busy; start "
    "again",
    "HAILO_OUT_OF_PHYSICAL_DEVICES": BUSY,
    "HAILO_DEVICE_IN_USE": BUSY,
    "HAILO_INVALID_DRIVER_VERSION": VERSIONS,
    "HAILO_UNSUPPORTED_FW_VERSION": VERSIONS,
    "InvalidProtocolVersionException": VERSIONS,
    "HAILO_INTERNAL_FAILURE": "the driver's descriptor pages may be too large for the device (hailort.log "
    f"then names max_desc_page_size): {PAGES}",
    "HAILO_DRIVER_NOT_INSTALLED": "the driver is not loaded: sudo modprobe hailo_pci, or install it "
    f"({call('run')} --doctor)",
    "HAILO_OPEN_FILE_FAILURE": f"the device node /dev/hailo0 cannot be opened: {call('run')} --doctor tells "
    "why",
    "HAILO_DRIVER_OPERATION_FAILED": DRIVER,
    "HAILO_DRIVER_TIMEOUT": DRIVER,
    "HAILO_DRIVER_INVALID_IOCTL": DRIVER,
    "HailoRTPCIeDriverException": DRIVER,
    "HailoRTFirmwareControlFailedException": "the firmware refused a command: look at sudo dmesg | grep "
    "hailo, and start the machine again",
    "HailoRTStreamAborted": LOST,
    "HailoRTNetworkGroupNotActivatedException": LOST,
    "HAILO_COMMUNICATION_CLOSED": LOST,
    "HAILO_DEVICE_NOT_CONNECTED": LOST,
    "HAILO_DEVICE_TEMPORARILY_UNAVAILABLE": LOST,
    "HAILO_OPERATION_ABORTED": LOST,
    "HAILO_SHUTDOWN_EVENT_SIGNALED": LOST,
    "HailoRTInvalidHEFException": FOREIGN,
    "HAILO_HEF_FILE_CORRUPTED": FOREIGN,
    "HAILO_HEF_NOT_SUPPORTED": FOREIGN,
    "HAILO_HEF_NOT_COMPATIBLE_WITH_DEVICE": f"the file was compiled for another chip: {tool('compile')} "
    "--hw-arch takes the chip's name",
    "HAILO_OUT_OF_HOST_MEMORY": MEMORY,
    "HAILO_OUT_OF_HOST_CMA_MEMORY": MEMORY,
    "HAILO_OUT_OF_FW_MEMORY": MEMORY,
    "HAILO_CANT_MEET_BUFFER_REQUIREMENTS": "the device's queue is too short: give a smaller --batch",
    "HAILO_RPC_FAILED": SERVICE_FAILED,
    "HAILO_INVALID_SERVICE_VERSION": SERVICE_FAILED,
    "HAILO_CONNECTION_REFUSED": SERVICE_FAILED,
    "HailoRTInvalidOperationException": "the call is refused (hailort.log says why), as is a batch longer "
    "than the device's queue: give a "
    "smaller --batch",
}
# Where HailoRT forgets to translate a status (scanning and opening a physical device), its exception holds
# the bare number.
NUMBERS = {
    4: "HAILO_TIMEOUT",
    8: "HAILO_INTERNAL_FAILURE",
    13: "HAILO_OPEN_FILE_FAILURE",
    16: "HAILO_UNSUPPORTED_FW_VERSION",
    36: "HAILO_DRIVER_OPERATION_FAILED",
    64: "HAILO_DRIVER_NOT_INSTALLED",
    73: "HAILO_DEVICE_IN_USE",
    74: "HAILO_OUT_OF_PHYSICAL_DEVICES",
    76: "HAILO_INVALID_DRIVER_VERSION",
}


def import_hailort() -> ModuleType:
    """The module hailo_platform.

    Raises UserError, saying where to get it, where it is missing or cannot be imported.
    """
    try:
        return importlib.import_module("hailo_platform")
    except Exception as error:  # a wheel that does not fit the library, Python or numpy fails in many ways
        if isinstance(error, ModuleNotFoundError) and error.name == "hailo_platform":
            raise UserError(MISSING) from None
        raise UserError(
            f"HailoRT's Python is installed but cannot be imported ({with_class(error, first_line(error))}): "
            "it must have the "
            "version of the package hailort, and be made for this Python and numpy"
        ) from error


def page_size_refused(text: str) -> bool:
    """Whether lines of HailoRT tell that the driver's descriptor pages are too large for the device."""
    return "max_desc_page_size" in text or "HAILO_INTERNAL_FAILURE(8)" in text


@contextlib.contextmanager
def calling(what: str) -> Iterator[None]:
    """Run HailoRT calls: its exceptions become a UserError that says of `what` which failure it is and what
    to do.
    """
    try:
        yield
    except Exception as error:
        classes = [kind.__name__ for kind in type(error).__mro__]
        if not {"HailoRTException", "HailoRTStatusException"} & set(classes):
            raise
        raise UserError(
            f"{what}: {_advice(error, classes)} ({with_class(error, first_line(error))})"
        ) from error


def _advice(error: Exception, classes: list[str]) -> str:
    text = str(error)
    names = [*classes, *text.replace("(", " ").replace(")", " ").split()]
    if "HailoRTStatusException" in classes and text.isdigit():
        names.append(NUMBERS.get(int(text), ""))
    return next(
        (ADVICE[name] for name in names if name in ADVICE),
        "HailoRT failed: see hailort.log in the current folder",
    )
