"""Run a TFLite file with LiteRT: logits, the values of every tensor, the time for one image."""

from __future__ import annotations

import functools
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fer_hailo.common.errors import UserError, one_line
from fer_hailo.common.preprocess import PreprocessSpec, normalise
from fer_hailo.common.quiet import held
from fer_hailo.common.reading import read_whole
from fer_hailo.common.results import FLOAT_STEM
from fer_hailo.common.workers import cores
from fer_hailo.formats.tflite import MOST_BYTES, read_tflite
from fer_hailo.predict import private

TIE = 1e-3  # of an INT8 step
MISSING = "LiteRT is not installed: pip install ai-edge-litert (or tensorflow)"


class LiteRT:
    """One TFLite file, ready to run on the CPU with the default delegate (XNNPACK).

    path: the file. threads: CPU threads. keep_tensors: make `tensors` possible; runs without the delegate,
    which hides them. Raises UserError where LiteRT is missing or the file is none of a classifier.
    """

    def __init__(self, path: Path | str, threads: int = 1, keep_tensors: bool = False):
        self.path = Path(path)
        try:
            content = read_whole(path, MOST_BYTES)
            with held():  # that it made a delegate
                self._interpreter = interpreter_of(content, threads, keep_tensors)
                self._interpreter.allocate_tensors()
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from None
        except (ValueError, RuntimeError) as error:
            raise UserError(f"{path} cannot be run by LiteRT: {one_line(error, 200)}") from None
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0]["shape"]) != 4:
            raise UserError(
                f"{path} is no classifier of images: it has {len(inputs)} inputs and {len(outputs)} outputs"
            )
        self._input, self._output = inputs[0], outputs[0]
        if self.dtype not in (np.float32, np.int8, np.uint8):
            raise UserError(f"{path} takes {self.dtype}: float32, int8 and uint8 inputs are known")
        # Functions that give NumPy's view of a tensor. The views must not live on: LiteRT refuses to run
        # while one is held.
        self._at_input, self._at_output = (
            self._interpreter.tensor(detail["index"]) for detail in (self._input, self._output)
        )
        self._spec: PreprocessSpec | None = None
        self._steps = np.empty(0)

    @functools.cached_property
    def stage(self) -> str:
        """As in results.csv: tflite, tflite-int8, or the latter's FLOAT_STEM where some layers compute in
        float.
        """
        if self.dtype == np.float32:
            return "tflite"
        return FLOAT_STEM if read_tflite(self.path).float_layers() else "tflite-int8"

    @property
    def dtype(self) -> np.dtype:
        """Type of the input: float32, or int8 (rarely uint8) for a quantized file."""
        return np.dtype(self._input["dtype"])

    def logits(self, images: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
        """uint8 (N, I, I, 3) as `prepare` makes them to float32 (N, C)."""
        answers = np.empty((len(images), int(np.prod(self._output["shape"]))), self._output["dtype"])
        for answer, image in zip(answers, images, strict=True):
            self._run(image, spec)
            answer[:] = self._at_output().reshape(-1)
        return _real(answers, self._output)

    def close(self) -> None:
        """Nothing is held but memory."""

    def tensors(self, image: np.ndarray, spec: PreprocessSpec) -> dict[str, np.ndarray]:
        """Every tensor that an operator makes of one image, uint8 (I, I, 3): name to float32 array,
        dequantized.
        """
        return {name: np.array(values) for name, values in self.views(image, spec)}

    def views(self, image: np.ndarray, spec: PreprocessSpec) -> Iterator[tuple[str, np.ndarray]]:
        """As `tensors`, without a copy: to be read before the next step only, and not to be kept.

        LiteRT refuses to run while one is held.
        """
        self._run(image, spec)
        for detail in self._made:
            yield detail["name"], _real(self._interpreter.tensor(detail["index"])(), detail)

    def scales(self) -> dict[str, float]:
        """The scale of each tensor that an operator makes; 0 where it is not quantized."""
        return {detail["name"]: float(detail["quantization"][0]) for detail in self._made}

    def latency_ms(self, rounds: int = 200) -> float:
        """Median time of one inference, milliseconds, after a warm-up of a fifth of the rounds."""
        self._interpreter.set_tensor(self._input["index"], np.zeros(self._input["shape"], self.dtype))
        times = []
        for _ in range(rounds + rounds // 5):
            start = time.perf_counter()
            self._interpreter.invoke()
            times.append(time.perf_counter() - start)
        return 1000 * float(np.median(times[rounds // 5 :]))

    def _run(self, image: np.ndarray, spec: PreprocessSpec) -> None:
        values = self._at_input()[0]
        if self._input["dtype"] is np.float32:  # as `normalise`, bit for bit, but without arrays between
            values[:] = image
            np.subtract(values, np.float32(spec.mean), out=values)
            np.divide(values, np.float32(spec.scale), out=values)
        elif cv2 := sys.modules.get("cv2"):  # loaded by whoever reads images; scoring a bundle needs none
            cv2.LUT(image, self._table(spec), dst=values)
        else:
            steps = image.tobytes().translate(self._table(spec).tobytes())
            values[:] = np.frombuffer(steps, self.dtype).reshape(image.shape)
        del values
        try:
            self._interpreter.invoke()
        except RuntimeError as error:  # of a file whose parts do not fit together
            raise UserError(f"{self.path} cannot be run by LiteRT: {one_line(error, 200)}") from None

    def _table(self, spec: PreprocessSpec) -> np.ndarray:
        """What a quantized input takes for each of the 256 bytes."""
        if spec is not self._spec:
            (scale, zero), limits = self._input["quantization"], np.iinfo(self.dtype)
            values = normalise(np.arange(256, dtype=np.uint8), spec)
            # Bytes lie half-way between two steps of a [-1, 1] input: which way they go must not be left to
            # rounding errors.
            steps = np.clip(np.floor(values / scale + zero + 0.5 + TIE), limits.min, limits.max)
            self._spec, self._steps = spec, steps.astype(self.dtype)
        return self._steps

    @functools.cached_property
    def _made(self) -> list[dict]:
        # Private, but the one way to know the operators' outputs; tensors that no operator makes are weights.
        made = {
            index for operator in private.operator_details(self._interpreter) for index in operator["outputs"]
        }
        return [detail for detail in self._interpreter.get_tensor_details() if detail["index"] in made]


def on_all_cores(path: Path | str, spec: PreprocessSpec) -> list[Callable[[np.ndarray], np.ndarray]]:
    """Functions of images, as `LiteRT.logits` takes them, to logits, one for each core: the same network."""
    return [functools.partial(LiteRT(path).logits, spec=spec) for _ in range(cores())]


def _real(values: np.ndarray, detail: dict) -> np.ndarray:
    scale, zero = detail["quantization"]
    return (values.astype(np.float32) - zero) * np.float32(scale) if scale else np.asarray(values, np.float32)


def interpreter_of(content: bytes, threads: int = 1, keep_tensors: bool = False) -> Any:
    """LiteRT's interpreter of a TFLite file's bytes, no tensors allocated yet. Raises as LiteRT does, and
    UserError where it is missing.
    """
    # About the memory that keeping tensors takes; about TensorFlow's copy being old
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _interpreter()(
            model_content=content, num_threads=threads, experimental_preserve_all_tensors=keep_tensors
        )


def _interpreter():
    """LiteRT's interpreter class, from its own package or from TensorFlow's copy."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        try:
            import tensorflow

        except ImportError:
            raise UserError(MISSING) from None
        return tensorflow.lite.Interpreter  # loaded lazily: it cannot be imported by name
    return Interpreter
