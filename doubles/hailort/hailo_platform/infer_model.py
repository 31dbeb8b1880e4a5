"""InferModel: a queue of asynchronous jobs, which one thread works off in their order.

As in HailoRT, a job's `wait` raises for its own timeout only: what went wrong is told to the callback. And
`run_async` leaves the output of the bindings pointing at a buffer of its own, from which the predictions are
copied into the one that was set before.
"""

from __future__ import annotations

import queue
import threading

import numpy as np

from hailo_platform.chip import Chip
from hailo_platform.errors import HailoRTException, failure
from hailo_platform.formats import FormatType
from hailo_platform.hef import HEF, Stream
from hailo_platform.switches import record, switch

QUEUE = 32
INPUTS = {FormatType.AUTO: np.uint8, FormatType.UINT8: np.uint8, FormatType.FLOAT32: np.float32}


class _InferStream:
    """An input or output of the model, before it is configured."""

    def __init__(self, model: InferModel, stream: Stream):
        self._model, self.stream, self.dtype = model, stream, np.dtype(np.uint8)

    @property
    def name(self) -> str:
        return self.stream.name

    @property
    def shape(self) -> list[int]:
        return list(self.stream.shape)

    def set_format_type(self, type: FormatType) -> None:
        self._model.check_changeable()
        if type not in INPUTS:
            raise failure("HAILO_INVALID_ARGUMENT")
        self.dtype = np.dtype(INPUTS[type])


class InferModel:
    def __init__(self, device, hef: HEF, architecture: str):
        self._device, self._hef, self._architecture, self._configured = device, hef, architecture, False
        self._input = {hef.input.name: _InferStream(self, hef.input)}
        self._outputs = {stream.name: _InferStream(self, stream) for stream in hef.outputs}
        self._batch = 0

    def check_changeable(self) -> None:
        """HailoRT takes settings after `configure` and ignores them; the double refuses."""
        if self._configured:
            raise failure("HAILO_INVALID_OPERATION")

    def set_batch_size(self, batch_size: int) -> None:
        self.check_changeable()
        if not 0 <= batch_size <= 0xFFFF:
            raise TypeError("batch_size is a number of 16 bits")
        self._batch = batch_size

    def input(self, name: str = "") -> _InferStream:
        return _named(self._input, name)

    def output(self, name: str = "") -> _InferStream:
        return _named(self._outputs, name)

    @property
    def output_names(self) -> list[str]:
        return list(self._outputs)

    def configure(self) -> ConfiguredInferModel:
        self._device.check_open()
        self._hef.check(self._architecture)
        size = switch("queue") or QUEUE
        if switch("memory") == "short":
            raise failure("HAILO_OUT_OF_HOST_CMA_MEMORY")
        if switch("pages") == "large":
            raise failure("HAILO_INTERNAL_FAILURE")
        if self._batch > size:
            raise failure("HAILO_INVALID_OPERATION")
        self._configured = True
        record(call="configure", network=self._hef.name, batch=self._batch)
        return ConfiguredInferModel(self._device, self._hef, self._input, self._outputs, size)


def _named(streams: dict, name: str):
    """What has this name; without one, the only one."""
    if not name and len(streams) == 1:
        (name,) = streams
    if name not in streams:
        raise failure("HAILO_NOT_FOUND")
    return streams[name]


class _Edge:
    """The buffer of an input or output in a request."""

    def __init__(self, model: _InferStream):
        self._model, self._buffer, self.target = model, None, None

    def set_buffer(self, buffer: np.ndarray) -> None:
        if not isinstance(buffer, np.ndarray):
            raise TypeError(f"a buffer is a numpy array, not a {type(buffer).__name__}")
        if not buffer.flags.writeable:
            raise ValueError("array is not writeable")  # what the binding raises
        wanted = self._model.dtype, tuple(self._model.shape)
        # HailoRT holds its size in bytes against the stream's
        if (buffer.dtype, buffer.shape) != wanted or not buffer.flags.c_contiguous:
            raise failure("HAILO_INVALID_OPERATION")
        self._buffer = self.target = buffer

    def get_buffer(self, tf_format: bool | None = False) -> np.ndarray:
        return self._buffer


class Bindings:
    """A request for one image."""

    def __init__(self, source: dict[str, _InferStream], answers: dict[str, _InferStream]):
        self._input = {name: _Edge(stream) for name, stream in source.items()}
        self.outputs = {name: _Edge(stream) for name, stream in answers.items()}

    def input(self, name: str = "") -> _Edge:
        return _named(self._input, name)

    def output(self, name: str = "") -> _Edge:
        return _named(self.outputs, name)


class AsyncInferCompletionInfo:
    def __init__(self, exception: HailoRTException | None):
        self.exception = exception


class AsyncInferJob:
    def __init__(self):
        self.event = threading.Event()

    def wait(self, timeout_ms: int) -> None:
        if not self.event.wait(timeout_ms / 1000):
            raise failure("HAILO_TIMEOUT")


class ConfiguredInferModel:
    def __init__(self, device, hef: HEF, source: dict, answers: dict, size: int):
        self._device, self._hef, self._chip, self._size = device, hef, Chip(hef), size
        self._source, self._answers = source, answers
        self._under_way, self._closed = 0, False
        self._changed = threading.Condition()
        self._jobs: queue.SimpleQueue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *problem) -> None:
        self._closed = True
        self._jobs.put(None)
        if not self._chip.hangs:
            self._thread.join()
        record(call="shutdown", under_way=self._under_way)

    def create_bindings(self) -> Bindings:
        self._check()
        return Bindings(self._source, self._answers)

    def get_async_queue_size(self) -> int:
        return self._size

    def wait_for_async_ready(self, timeout_ms: int = 1000, frames_count: int = 1) -> None:
        self._check()
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._chip.lost or self._under_way + frames_count <= self._size, timeout_ms / 1000
            ):
                raise failure("HAILO_TIMEOUT")
        if self._chip.lost:
            raise failure("HAILO_STREAM_ABORT")

    def run_async(self, bindings: list[Bindings], callback=None) -> AsyncInferJob:
        self._check()
        requests = []
        with self._changed:
            if self._under_way + len(bindings) > self._size:
                raise failure("HAILO_QUEUE_IS_FULL")
            for one in bindings:
                if any(edge.target is None for edge in (one.input(), *one.outputs.values())):
                    raise failure("HAILO_NOT_FOUND")
                asked = {name: edge.target for name, edge in one.outputs.items()}
                own = {name: np.empty_like(target) for name, target in asked.items()}
                requests.append((one.input().target, asked, own))
                for name, edge in one.outputs.items():
                    edge.target = own[name]
            self._under_way += len(bindings)
            self._device.count(len(bindings))
            record(
                call="run_async", network=self._hef.name, pictures=len(bindings), under_way=self._under_way,
                on_device=self._device.under_way,
            )  # fmt: skip
        job = AsyncInferJob()
        self._jobs.put((requests, callback, job))
        return job

    def _check(self) -> None:
        if self._closed:
            # What is left after the context manager
            raise AttributeError("'NoneType' object has no attribute 'run_async'")
        self._device.check_open()

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            requests, callback, job = item
            problem = None
            for source, asked, own in requests:
                if self._chip.hangs:
                    return
                try:
                    answers = self._chip.run(self._hef.input.to_stored(source))
                    for stream in self._hef.outputs:
                        buffer = own[stream.name]
                        buffer[...] = stream.to_host(answers[stream.name], buffer.dtype)
                        asked[stream.name][...] = buffer
                except HailoRTException as error:
                    problem = error
            with self._changed:
                self._under_way -= len(requests)
                self._device.count(-len(requests))
                self._changed.notify_all()
            if callback:
                callback(completion_info=AsyncInferCompletionInfo(problem))
            job.event.set()
