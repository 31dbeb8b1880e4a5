"""Run a HEF on a Hailo-8 with HailoRT: checked before the device is touched, in batches of asynchronous jobs,
errors as one line.

Source: HailoRT's public Python API, its bindings and libhailort, release 4. HailoRT is imported here only.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from fer_hailo.common.calls import call, tool
from fer_hailo.common.errors import UserError, first_line, with_class
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.formats.hef import DAMAGED, Hef, read_hef

TIMEOUT_MS = (
    10_000  # for a batch, and for a place in the queue; long, since other programs may use the device too
)
JOBS = 2  # batches under way: one is computed while the next is filled
MAX_BATCH = 0xFFFF  # HailoRT keeps it in 16 bits
SERVICE = Path("/tmp", "hailort_uds.sock")  # where HailoRT's multi-process service listens

# Which HEF each chip runs, as libhailort decides it. A chip of the type 8R calls itself HAILO8.
RUNS = {"HAILO8": ("HAILO8", "HAILO8R", "HAILO8L"), "HAILO8L": ("HAILO8L",)}

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


class HailoRT:
    """A HEF on the first free Hailo device, which stays open until `close`. One thread at a time.

    path: the .hef. spec, labels: what its manifest promises; the chip normalises, so that of `spec` only the
    size is used. batch: images that go to the device as one job, 1 to 65535. Raises UserError, in this order:
    the file does not fit `spec` and `labels`, HailoRT is missing, no device, a device of another chip, and
    whatever HailoRT reports.
    """

    stage = "hef"

    def __init__(self, path: Path | str, spec: PreprocessSpec, labels: tuple[str, ...], batch: int = 8):
        if not 1 <= batch <= MAX_BATCH:
            raise UserError(f"a batch must have 1 to {MAX_BATCH} images, got {batch}")
        hef = read_hef(path)
        if doubt := check_hef(hef, path, spec, labels):
            print(f"warning: {doubt}", file=sys.stderr)
        self._path, self._input, self._classes = path, hef.groups[0].inputs[0].shape, len(labels)
        platform = import_hailort()
        with calling(str(path)), contextlib.ExitStack() as stack:
            architecture = device_architecture(platform)
            if not runs_on(hef, architecture):
                raise UserError(f"{path} {misfit(hef, architecture)}")
            device = stack.enter_context(platform.VDevice(_parameters(platform)))
            # Older ones have no jobs
            open_network = _jobs if hasattr(device, "create_infer_model") else _streams
            self._infer = stack.enter_context(open_network(platform, device, str(path), batch))
            self._open = stack.pop_all()

    def logits(self, images: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
        """uint8 (N, I, I, 3) RGB, values 0..255, to float32 (N, C), dequantized by HailoRT.

        Raises ValueError for other images.
        """
        if images.dtype != np.uint8 or images.shape[1:] != self._input:
            raise ValueError(
                f"images must be uint8 (N, {', '.join(map(str, self._input))}), got {images.dtype} "
                f"{images.shape}"
            )
        if not len(images):
            return np.empty((0, self._classes), np.float32)
        with calling(str(self._path)):
            return self._infer(images)

    def close(self) -> None:
        """Wait for what the device still does, and give it back. A second call does nothing."""
        with calling(str(self._path)):
            self._open.close()


def check_hef(hef: Hef, path: Path | str, spec: PreprocessSpec, labels: tuple[str, ...]) -> str:
    """Raise UserError where a HEF is no classifier of `labels` for images as `prepare` makes them.

    Returns what the file leaves in doubt, "" if nothing.
    """
    known = sorted({name for names in RUNS.values() for name in names})
    if hef.architecture not in known:
        raise UserError(
            f"{path} is for {hef.architecture}, none of {', '.join(known)}: compile it for the board's chip "
            "(--hw-arch)"
        )
    if len(hef.groups) != 1:
        raise UserError(
            f"{path} holds {len(hef.groups)} network groups instead of one: compile this network alone"
        )
    group = hef.groups[0]
    if len(group.inputs) != 1 or len(group.outputs) != 1:
        raise UserError(
            f"{path} has {len(group.inputs)} inputs and {len(group.outputs)} outputs instead of one each: is "
            "it a classifier?"
        )
    source, answer, wanted = group.inputs[0], group.outputs[0], (spec.input_size, spec.input_size, 3)
    if (source.type, source.order, source.shape) != ("UINT8", "NHWC", wanted):
        found = f"{source.type} {source.order} {source.shape}"
        raise UserError(
            f"{path} takes {found}, its files promise UINT8 NHWC {wanted}: keep a HEF with the bundle that "
            "it was compiled from"
        )
    if not source.takes_bytes:
        raise UserError(
            f"{path} does not take the bytes 0..255 (scale {source.qp_scale}, zero point {source.qp_zp}), "
            "which are "
            "all that is sent: compile it with normalization()"
        )
    if answer.damaged:
        raise UserError(f"{path}: its output {DAMAGED}")
    if math.prod(answer.shape) != len(labels):
        raise UserError(
            f"{path} gives {math.prod(answer.shape)} values, its files name {len(labels)} classes: keep a "
            "HEF with the bundle that it "
            "was compiled from"
        )
    if source.normalised_on_chip:
        return ""
    return (
        f"no name in {path} proves that the chip normalises, and a network that was compiled without "
        "normalization() "
        f"looks the same: compare its predictions with the SDK's, {call('evaluate')} {path} --data BUNDLE"
    )


def runs_on(hef: Hef, architecture: str) -> bool:
    """Whether a chip, HAILO8 or HAILO8L, runs a HEF."""
    return hef.architecture in RUNS.get(architecture, ())


def misfit(hef: Hef, architecture: str) -> str:
    """What to say of a HEF that the chip does not run: a predicate to the file's name."""
    if architecture not in RUNS:
        return (
            f"is for {hef.architecture}, but the device is a {architecture}: a {' or '.join(RUNS)} is needed"
        )
    return (
        f"is for {hef.architecture}, but the device is a {architecture}: {call('compile')} --hw-arch "
        f"{architecture.lower()}"
    )


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


def device_architecture(platform: ModuleType) -> str:
    """The chip of the first device, HAILO8 or HAILO8L (others: as HailoRT calls them).

    Raises UserError where there is no device.
    """
    devices = platform.Device.scan()
    if not devices:
        raise UserError(ABSENT)
    # It may be open elsewhere: to identify takes nothing from others
    with platform.Device(devices[0]) as device:
        return device.control.identify().device_architecture.name


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


def _parameters(platform):
    """The scheduler shares the device between the networks of a process; the service, where it runs, between
    processes.
    """
    parameters = platform.VDevice.create_params()
    parameters.scheduling_algorithm = platform.HailoSchedulingAlgorithm.ROUND_ROBIN
    if SERVICE.exists():
        parameters.multi_process_service = True
        parameters.group_id = "SHARED"
    return parameters


@contextlib.contextmanager
def _jobs(platform, device, path: str, batch: int) -> Iterator[Callable[[np.ndarray], np.ndarray]]:
    """The InferModel API. Gives a function from images, uint8 (N, I, I, 3), N >= 1, to float32 (N, C)."""
    model = device.create_infer_model(path)
    model.set_batch_size(batch)
    model.input().set_format_type(platform.FormatType.UINT8)
    model.output().set_format_type(platform.FormatType.FLOAT32)
    with model.configure() as configured:
        shapes = tuple(model.input().shape), tuple(model.output().shape)
        slots = [_Slot(configured, batch, *shapes) for _ in range(JOBS)]

        def infer(images: np.ndarray) -> np.ndarray:
            running: deque[_Slot] = deque()
            answers = []
            for number, start in enumerate(range(0, len(images), batch)):
                if len(running) == JOBS:
                    answers.append(running.popleft().finish())
                slot = slots[number % JOBS]
                slot.start(images[start : start + batch])
                running.append(slot)
            return np.concatenate(answers + [slot.finish() for slot in running])

        yield infer


class _Slot:
    """The buffers of one job, used again and again."""

    def __init__(self, configured: Any, batch: int, source: tuple[int, ...], answer: tuple[int, ...]):
        self._configured = configured
        self._inputs, self._outputs = (
            np.empty((batch, *source), np.uint8),
            np.empty((batch, *answer), np.float32),
        )
        self._bindings = [configured.create_bindings() for _ in range(batch)]  # each is for one image
        for bindings, buffer in zip(self._bindings, self._inputs, strict=True):
            bindings.input().set_buffer(buffer)

    def start(self, images: np.ndarray) -> None:
        """Send up to `batch` images.

        They are copied: the caller's may be read-only, and HailoRT reads them later.
        """
        self._count, self._failure = len(images), None
        self._inputs[: self._count] = images
        used = self._bindings[: self._count]
        for bindings, buffer in zip(used, self._outputs, strict=False):
            # Each time: run_async leaves the bindings pointing at a buffer of HailoRT's own
            bindings.output().set_buffer(buffer)
        self._configured.wait_for_async_ready(timeout_ms=TIMEOUT_MS, frames_count=self._count)
        self._job = self._configured.run_async(used, self._done)

    def finish(self) -> np.ndarray:
        """Wait for the predictions, float32 (count, C)."""
        self._job.wait(TIMEOUT_MS)
        if self._failure is not None:
            raise self._failure
        return self._outputs[: self._count].reshape(self._count, -1).copy()

    def _done(self, completion_info) -> None:
        # Told here only: `wait` raises for its timeout and nothing else
        self._failure = completion_info.exception


@contextlib.contextmanager
def _streams(platform, device, path: str, batch: int) -> Iterator[Callable[[np.ndarray], np.ndarray]]:
    """As `_jobs`, with the older API of virtual streams. With a scheduler its networks need no activation."""
    hef = platform.HEF(path)
    parameters = platform.ConfigureParams.create_from_hef(
        hef=hef, interface=platform.HailoStreamInterface.PCIe
    )
    for group in parameters.values():
        group.batch_size = batch
    network = device.configure(hef, parameters)[0]
    inputs = platform.InputVStreamParams.make(
        network, format_type=platform.FormatType.UINT8, timeout_ms=TIMEOUT_MS
    )
    outputs = platform.OutputVStreamParams.make(
        network, format_type=platform.FormatType.FLOAT32, timeout_ms=TIMEOUT_MS
    )
    with platform.InferVStreams(network, inputs, outputs) as pipeline:
        (source,), (answer,) = inputs, outputs
        yield lambda images: pipeline.infer({source: np.ascontiguousarray(images)})[answer].reshape(
            len(images), -1
        )
