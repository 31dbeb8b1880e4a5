"""Devices: physical ones, to identify, and the virtual one, to run networks."""

from __future__ import annotations

import threading
from types import SimpleNamespace

from hailo_platform.errors import HailoRTException, bare, failure
from hailo_platform.formats import DeviceArchitectureTypes, HailoSchedulingAlgorithm
from hailo_platform.hef import HEF
from hailo_platform.infer_model import InferModel
from hailo_platform.streams import ConfiguredNetwork
from hailo_platform.switches import record, switch

held: list[VDevice] = []  # what holds the one device of this process


def architecture() -> str:
    return switch("architecture") or "HAILO8"


def _check_driver(error) -> None:
    if switch("driver") == "absent":
        raise error("HAILO_DRIVER_NOT_INSTALLED")
    if switch("node") == "closed":
        raise error("HAILO_OPEN_FILE_FAILURE")
    if switch("driver") == "other":
        raise error("HAILO_INVALID_DRIVER_VERSION")


class Device:
    """A physical device. Others may use it at the same time."""

    @classmethod
    def scan(cls) -> list[str]:
        count = switch("devices")
        return [f"0000:0{number + 1}:00.0" for number in range(1 if count is None else count)]

    def __init__(self, device_id: str | None = None):
        found = Device.scan()
        if device_id is None and not found:
            raise HailoRTException("HailoRT device not found in the system")
        _check_driver(bare)
        self.device_id, self._released = device_id or found[0], False

    @property
    def control(self):
        if self._released:
            raise failure("HAILO_INVALID_OPERATION")
        return SimpleNamespace(
            identify=lambda: SimpleNamespace(device_architecture=DeviceArchitectureTypes[architecture()])
        )

    def release(self) -> None:
        self._released = True

    def __enter__(self):
        return self

    def __exit__(self, *problem):
        self.release()
        return False


class VDeviceParams:
    """Takes no attribute but those of HailoRT."""

    __slots__ = ("device_count", "group_id", "multi_process_service", "scheduling_algorithm")

    def __init__(self):
        self.device_count, self.group_id, self.multi_process_service = 1, "UNIQUE", False
        self.scheduling_algorithm = HailoSchedulingAlgorithm.ROUND_ROBIN


class OldVDevice:
    """The virtual device of versions without InferModel."""

    def __init__(self, params: VDeviceParams | None = None):
        params = params or VDevice.create_params()
        if not isinstance(params, VDeviceParams):
            raise TypeError("VDevice takes the parameters that create_params makes")
        _check_driver(failure)
        if params.multi_process_service and switch("service") == "silent":
            raise failure("HAILO_RPC_FAILED")
        elsewhere = switch("busy") == "program" or (
            switch("busy") == "service" and not params.multi_process_service
        )
        if not Device.scan() or elsewhere or held:
            raise failure("HAILO_OUT_OF_PHYSICAL_DEVICES")
        record(call="open", service=params.multi_process_service, group=params.group_id)
        self.params, self.under_way, self._counting = params, 0, threading.Lock()
        held.append(self)

    def count(self, images: int) -> None:
        """Images that a network of this device has begun (or, below 0, ended)."""
        with self._counting:
            self.under_way += images

    @staticmethod
    def create_params() -> VDeviceParams:
        return VDeviceParams()

    def configure(self, hef: HEF, configure_params_by_name: dict) -> list[ConfiguredNetwork]:
        self.check_open()
        hef.check(architecture())
        return [ConfiguredNetwork(self, hef, configure_params_by_name[hef.name])]

    def release(self) -> None:
        if self in held:
            record(call="release")
            held.remove(self)

    def check_open(self) -> None:
        if self not in held:
            raise failure("HAILO_INVALID_OPERATION")

    def __enter__(self):
        return self

    def __exit__(self, *problem):
        self.release()
        return False


class VDevice(OldVDevice):
    """The virtual device of today's versions."""

    def create_infer_model(self, hef_source: str, network_name: str = "") -> InferModel:
        self.check_open()
        if not isinstance(hef_source, str):
            raise TypeError(f"the path of a HEF is a str, not a {type(hef_source).__name__}")
        return InferModel(self, HEF(hef_source), architecture())
