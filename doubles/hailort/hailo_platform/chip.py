"""The chip: bytes in, bytes out. A classifier is an INT8 TFLite, a face detector a made-up one."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np

from hailo_platform.detector import RedFaces
from hailo_platform.errors import failure
from hailo_platform.hef import HEF
from hailo_platform.switches import switch

INT8 = "model_int8.tflite"
_turn = threading.Lock()  # the networks of a device have it one after the other


class Chip:
    """Runs the network of a HEF, image by image, until it is lost."""

    def __init__(self, hef: HEF):
        self._network = RedFaces(hef) if len(hef.outputs) > 1 else Classifier(hef)
        self.done = 0

    @property
    def lost(self) -> bool:
        return switch("lost_after") is not None and self.done >= switch("lost_after")

    @property
    def hangs(self) -> bool:
        return switch("hang_after") is not None and self.done >= switch("hang_after")

    def run(self, stored: np.ndarray) -> dict[str, np.ndarray]:
        """Stored bytes uint8 (H, W, 3) to stored bytes uint8 of each output's shape."""
        if self.lost:
            raise failure("HAILO_STREAM_ABORT")
        with _turn:
            time.sleep(switch("seconds") or 0)
            answers = self._network.run(stored)
        self.done += 1
        return answers


class Classifier:
    """The INT8 TFLite that lies beside a HEF, or one folder up."""

    def __init__(self, hef: HEF):
        self._input, (self._output,) = hef.input, hef.outputs
        folder = Path(hef.path).absolute().parent
        path = switch("tflite") or next(
            path for path in (folder / INT8, folder.parent / INT8) if path.is_file()
        )
        self._interpreter = _interpreter()(model_path=str(path), num_threads=1)
        self._interpreter.allocate_tensors()
        (self._source,), (self._answer,) = (
            self._interpreter.get_input_details(),
            self._interpreter.get_output_details(),
        )
        if self._source["dtype"] is not np.int8 or tuple(self._source["shape"][1:]) != hef.input.shape:
            raise ValueError(f"{path} is no INT8 network for the input of {hef.path}")

    def run(self, stored: np.ndarray) -> dict[str, np.ndarray]:
        source, answer = self._input, self._output
        values = source.scale * (stored.astype(np.float64) - source.zero)
        if source.normalised:
            mean, scale = switch("normalization") or (127.5, 127.5)
            values = (values - mean) / scale
        step, zero = self._source["quantization"]
        # Pixels lie half-way between two steps of the TFLite: to the next higher one, whatever the last
        # digits are.
        steps = np.floor(np.round(values / step + zero, 2) + 0.5)
        self._interpreter.set_tensor(self._source["index"], np.clip(steps, -128, 127).astype(np.int8)[None])
        self._interpreter.invoke()
        step, zero = self._answer["quantization"]
        real = (
            self._interpreter.get_tensor(self._answer["index"]).reshape(answer.shape).astype(np.float64)
            - zero
        ) * step
        return {answer.name: answer.to_stored(real)}


def _interpreter():
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        import tensorflow

        return tensorflow.lite.Interpreter
    return Interpreter
