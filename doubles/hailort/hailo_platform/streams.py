"""The older API: a configured network group and a pipeline of virtual streams."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from hailo_platform.chip import Chip
from hailo_platform.errors import HailoRTException, failure
from hailo_platform.formats import FormatType, HailoSchedulingAlgorithm, HailoStreamInterface
from hailo_platform.hef import HEF
from hailo_platform.switches import record

TYPES = {FormatType.AUTO: np.uint8, FormatType.UINT8: np.uint8, FormatType.FLOAT32: np.float32}


class ConfigureParams:
    @staticmethod
    def create_from_hef(hef: HEF, interface: HailoStreamInterface) -> dict:
        if interface is not HailoStreamInterface.PCIe:
            raise failure("HAILO_INVALID_ARGUMENT")
        return {hef.name: SimpleNamespace(batch_size=0)}


class ConfiguredNetwork:
    def __init__(self, device, hef: HEF, params):
        self.device, self.hef, self.name = device, hef, hef.name
        self.scheduled = device.params.scheduling_algorithm is HailoSchedulingAlgorithm.ROUND_ROBIN
        record(call="configure", network=self.name, batch=params.batch_size)


@dataclass(frozen=True)
class _Params:
    dtype: type
    timeout_ms: int


class InputVStreamParams:
    @staticmethod
    def make(
        configured_network: ConfiguredNetwork,
        quantized=None,
        format_type=FormatType.AUTO,
        timeout_ms: int = 10_000,
    ) -> dict:
        return {configured_network.hef.input.name: _Params(TYPES[format_type], timeout_ms)}


class OutputVStreamParams:
    @staticmethod
    def make(
        configured_network: ConfiguredNetwork,
        quantized=None,
        format_type=FormatType.AUTO,
        timeout_ms: int = 10_000,
    ) -> dict:
        streams = configured_network.hef.outputs
        return {stream.name: _Params(TYPES[format_type], timeout_ms) for stream in streams}


class InferVStreams:
    def __init__(
        self,
        configured_net_group: ConfiguredNetwork,
        input_vstreams_params: dict,
        output_vstreams_params: dict,
    ):
        self._network = configured_net_group
        ((self._input, self._source),) = input_vstreams_params.items()
        self._answers = output_vstreams_params
        self._chip: Chip | None = None

    def __enter__(self):
        self._network.device.check_open()
        self._chip = Chip(self._network.hef)
        return self

    def infer(self, input_data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Blocks. HailoRT casts and copies what does not fit, with a warning; the double refuses."""
        if self._chip is None:
            raise HailoRTException("infer outside of the context manager")
        if not self._network.scheduled:
            raise failure("HAILO_NETWORK_GROUP_NOT_ACTIVATED")
        (data,) = [input_data[self._input]]
        if (
            data.dtype != self._source.dtype
            or data.shape[1:] != self._network.hef.input.shape
            or not data.flags.c_contiguous
        ):
            raise failure("HAILO_INVALID_ARGUMENT")
        hef = self._network.hef
        record(call="infer", network=hef.name, pictures=len(data))
        rows = []
        for picture in data:
            if self._chip.hangs:
                raise failure("HAILO_TIMEOUT")
            rows.append(self._chip.run(hef.input.to_stored(picture)))
        return {
            stream.name: stream.to_host(
                np.stack([row[stream.name] for row in rows]), np.dtype(self._answers[stream.name].dtype)
            )
            for stream in hef.outputs
        }

    def __exit__(self, *problem):
        self._chip = None
        record(call="shutdown", under_way=0)
        return False
