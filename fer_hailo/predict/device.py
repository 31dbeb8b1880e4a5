"""The Hailo device of this process, and the networks on it.

A process can open a device once. All its networks share that one, and HailoRT's scheduler gives each of them
the chip in turn, so that the threads which use them need not know of each other.

Source: HailoRT's public Python API, its bindings and libhailort, release 4.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.formats.hef import Hef
from fer_hailo.predict.advice import ABSENT, TIMEOUT_MS, calling, import_hailort

JOBS = 2  # batches of a network under way: one is computed while the next is filled
SERVICE = Path("/tmp", "hailort_uds.sock")  # where HailoRT's multi-process service listens
Infer = Callable[[np.ndarray], dict[str, np.ndarray]]

# Which HEF each chip runs, as libhailort decides it. A chip of the type 8R calls itself HAILO8.
RUNS = {"HAILO8": ("HAILO8", "HAILO8R", "HAILO8L"), "HAILO8L": ("HAILO8L",)}
RUNNABLE = tuple(sorted({name for names in RUNS.values() for name in names}))


class Network:
    """A HEF of one input on the first free Hailo device, which stays open until its last network is closed.

    One thread at a time, but several networks at once. path, hef: the file and what it holds. batch: images
    that go to the device as one job, 1 to 65535. cure: what to do where the chip is another, of the chip's
    name. Raises UserError, in this order: HailoRT is missing, no device, a device of another chip, and
    whatever HailoRT reports.
    """

    def __init__(self, path: Path | str, hef: Hef, batch: int, cure: Callable[[str], str]):
        self._path, platform = str(path), import_hailort()
        with calling(self._path), contextlib.ExitStack() as stack:
            architecture = _architecture(platform)
            if not runs_on(hef, architecture):
                raise UserError(f"{path} {misfit(hef, architecture, cure)}")
            device = stack.enter_context(_shared(platform, architecture))
            # Older ones have no jobs
            open_network = _jobs if hasattr(device, "create_infer_model") else _streams
            self._infer = stack.enter_context(open_network(platform, device, self._path, batch))
            self._open = stack.pop_all()

    def infer(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """uint8 (N, H, W, C), N >= 1, to each output's float32 (N, ...) by its name, dequantized by
        HailoRT.
        """
        with calling(self._path):
            return self._infer(images)

    def close(self) -> None:
        """Wait for what the device still does, and give it back. A second call does nothing."""
        with calling(self._path):
            self._open.close()


def runs_on(hef: Hef, architecture: str) -> bool:
    """Whether a chip, HAILO8 or HAILO8L, runs a HEF."""
    return hef.architecture in RUNS.get(architecture, ())


def misfit(hef: Hef, architecture: str, cure: Callable[[str], str]) -> str:
    """What to say of a HEF that the chip does not run: a predicate to the file's name. cure: see Network."""
    what = cure(architecture) if architecture in RUNS else f"a {' or '.join(RUNS)} is needed"
    return f"is for {hef.architecture}, but the device is a {architecture}: {what}"


@dataclass
class _Shared:
    """closing: gives the device back. users: networks that are open on it."""

    architecture: str
    device: Any
    closing: contextlib.ExitStack
    users: int = 0


_lock = threading.Lock()
_opened: _Shared | None = None  # the one of this process


@contextlib.contextmanager
def _shared(platform: ModuleType, architecture: str) -> Iterator[Any]:
    """The device of this process: opened for the first network, given back after the last."""
    global _opened
    with _lock:
        if _opened is None:
            with contextlib.ExitStack() as stack:
                device = stack.enter_context(platform.VDevice(_parameters(platform)))
                _opened = _Shared(architecture, device, stack.pop_all())
        shared = _opened
        shared.users += 1
    try:
        yield shared.device
    finally:
        with _lock:
            shared.users -= 1
            if not shared.users:
                _opened = None
                shared.closing.close()


def _architecture(platform: ModuleType) -> str:
    """The chip of the first device, HAILO8 or HAILO8L (others: as HailoRT calls them).

    Raises UserError where there is no device.
    """
    if _opened:
        return _opened.architecture
    devices = platform.Device.scan()
    if not devices:
        raise UserError(ABSENT)
    # It may be open elsewhere: to identify takes nothing from others
    with platform.Device(devices[0]) as device:
        return device.control.identify().device_architecture.name


def _parameters(platform: ModuleType) -> Any:
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
def _jobs(platform: ModuleType, device: Any, path: str, batch: int) -> Iterator[Infer]:
    """The InferModel API. Gives what Network.infer does."""
    model = device.create_infer_model(path)
    model.set_batch_size(batch)
    model.input().set_format_type(platform.FormatType.UINT8)
    for name in model.output_names:
        model.output(name).set_format_type(platform.FormatType.FLOAT32)
    with model.configure() as configured:
        shapes = {name: tuple(model.output(name).shape) for name in model.output_names}
        slots = [_Slot(configured, batch, tuple(model.input().shape), shapes) for _ in range(JOBS)]

        def infer(images: np.ndarray) -> dict[str, np.ndarray]:
            running: deque[_Slot] = deque()
            answers = []
            for number, start in enumerate(range(0, len(images), batch)):
                if len(running) == JOBS:
                    answers.append(running.popleft().finish())
                slot = slots[number % JOBS]
                slot.start(images[start : start + batch])
                running.append(slot)
            answers += [slot.finish() for slot in running]
            return {name: np.concatenate([answer[name] for answer in answers]) for name in shapes}

        yield infer


class _Slot:
    """The buffers of one job, used again and again. source, answers: shapes of the input and the outputs."""

    def __init__(
        self, configured: Any, batch: int, source: tuple[int, ...], answers: dict[str, tuple[int, ...]]
    ):
        self._configured = configured
        self._inputs = np.empty((batch, *source), np.uint8)
        self._outputs = {name: np.empty((batch, *shape), np.float32) for name, shape in answers.items()}
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
        for name, buffers in self._outputs.items():
            for bindings, buffer in zip(used, buffers, strict=False):
                # Each time: run_async leaves the bindings pointing at a buffer of HailoRT's own
                bindings.output(name).set_buffer(buffer)
        self._configured.wait_for_async_ready(timeout_ms=TIMEOUT_MS, frames_count=self._count)
        self._job = self._configured.run_async(used, self._done)

    def finish(self) -> dict[str, np.ndarray]:
        """Wait for the outputs of these images."""
        self._job.wait(TIMEOUT_MS)
        if self._failure is not None:
            raise self._failure
        return {name: buffers[: self._count].copy() for name, buffers in self._outputs.items()}

    def _done(self, completion_info) -> None:
        # Told here only: `wait` raises for its timeout and nothing else
        self._failure = completion_info.exception


@contextlib.contextmanager
def _streams(platform: ModuleType, device: Any, path: str, batch: int) -> Iterator[Infer]:
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
        (source,) = inputs
        yield lambda images: pipeline.infer({source: np.ascontiguousarray(images)})
