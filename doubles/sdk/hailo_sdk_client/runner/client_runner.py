"""ClientRunner: parse, script, optimize, infer, compile, each in its state only."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import hailo_sdk_client
import numpy as np
from hailo_model_optimization.acceleras.utils.acceleras_exceptions import BadInputsShape
from hailo_sdk_client.exposed_definitions import CalibrationDataType, InferenceContext, States
from hailo_sdk_client.log import logger, native
from hailo_sdk_client.model_translator.translator import translate
from hailo_sdk_client.runner import har as hars
from hailo_sdk_client.runner.exceptions import InvalidStateException
from hailo_sdk_client.runner.har import Model
from hailo_sdk_client.sdk_backend import emulator
from hailo_sdk_client.sdk_backend.script import Settings, read_script
from hailo_sdk_client.sdk_backend.sdk_backend_exceptions import BackendAllocatorException, BackendValueError
from hailo_sdk_client.switches import delay, kill, ordered_exception, switch
from hef_writer import ARCHITECTURES, NC, Stream, write_hef

PARSED = (States.HAILO_MODEL, States.FP_OPTIMIZED_MODEL)
QUANTIZED = (States.QUANTIZED_MODEL, States.COMPILED_MODEL)
ALLOWED = {
    InferenceContext.SDK_NATIVE: (*PARSED, *QUANTIZED),
    InferenceContext.SDK_FP_OPTIMIZED: (States.FP_OPTIMIZED_MODEL, *QUANTIZED),
    InferenceContext.SDK_QUANTIZED: QUANTIZED,
}
RECOMMENDED = 1024  # images for the default optimization level of 2
GPU, FEW = "there's no available GPU", f"there's less data than the recommended amount ({RECOMMENDED})"
SNR = "layer_noise_analysis/snr"
saved: set[str] = set()  # steps whose HAR this process has saved


class ClientRunner:
    """One model, from its TFLite to its HEF. Paths may be text or Path; images are NHWC."""

    def __init__(self, hw_arch: str | None = None, *, har=None):
        if hw_arch is not None and hw_arch not in ARCHITECTURES:
            raise BackendValueError(f"unknown hw_arch {hw_arch!r}: {', '.join(ARCHITECTURES)}")
        self._given_arch = hw_arch
        self._model = Model(hw_arch or "hailo8")
        self._statistics: dict[str, np.float32] = {}
        if har is not None:
            self.load_har(har)

    @property
    def state(self) -> States:
        return self._model.state

    def translate_tf_model(
        self, model_path, net_name, /, *, start_node_names=None, end_node_names=None, tensor_shapes=None
    ):
        """Parse a TFLite. Returns (HN as a dictionary, parameters)."""
        self._begin("translate_tf_model", States.UNINITIALIZED)
        print(f"[info] Translation started on Tensorflow Lite model {net_name}")
        delay()
        content, hn = translate(
            Path(model_path).read_bytes(), net_name, start_node_names, end_node_names, tensor_shapes
        )
        self._model = Model(self._model.hw_arch, States.HAILO_MODEL, net_name, content, native_hn=hn)
        logger.info("Translation completed on Tensorflow Lite model %s", net_name)
        return self.get_hn_dict(), self.get_params()

    def save_har(self, har_path, /) -> None:
        self._begin("save_har", *PARSED, *QUANTIZED)
        hars.save(har_path, self._model, hailo_sdk_client.__version__)
        logger.info("Saved HAR to: %s", har_path)
        saved.add("parse" if self.state in PARSED else "optimize")

    def load_har(self, har, /) -> None:
        self._begin("load_har", *States)
        self._model = hars.load(har)
        self._model.hw_arch = self._given_arch or self._model.hw_arch

    def load_model_script(self, model_script, /, append: bool = False) -> None:
        """A path, or the script itself."""
        self._begin("load_model_script", *PARSED, *QUANTIZED)
        is_path = isinstance(model_script, Path) or (
            "\n" not in model_script and model_script.endswith(".alls")
        )
        text = Path(model_script).read_text() if is_path else model_script
        text = f"{self._model.script}\n{text}" if append else text
        read_script(text, self._model.native_hn)
        self._model.script = text
        logger.info("Loading model script commands to %s", self._model.name)

    def optimize_full_precision(self, calib_data=None) -> None:
        """Apply the script in float."""
        self._begin("optimize_full_precision", *PARSED)
        if calib_data is not None:
            self._images(calib_data)
        self._model.applied, self._model.state = self._model.script, States.FP_OPTIMIZED_MODEL
        logger.info("Full precision optimization is done")

    def optimize(self, calib_data, data_type=CalibrationDataType.auto, *, work_dir=None) -> None:
        """Quantize on the first `calibset_size` images.

        They are in the domain of the script: raw 0..255 where it normalises.
        """
        self._begin("optimize", *PARSED)
        if switch("kill_before") == "optimize":
            kill()
        ordered_exception("optimize")
        logger.info("Starting Model Optimization")
        images = self._images(calib_data)
        if switch("bad_shape"):
            raise BadInputsShape(self._shape_text(images.shape))
        delay()
        model = self._model
        model.applied = model.script
        settings = model.settings
        level = model.level = self._effective_level(settings, len(images))
        model.compression = settings.compression_level if level > 0 else 0
        if len(images) < settings.calibset_size:
            logger.warning("Only %d images for a calibset_size of %d", len(images), settings.calibset_size)
        used = images[: settings.calibset_size]
        native(f"Calibration: 100% of {len(used)} entries")
        seen = emulator.ranges(model.native, self._normalised(used))
        model.input_range = (
            (0.0, 255.0)
            if settings.normalization
            else (float(used.min()), max(float(used.max()), float(used.min()) + 1e-6))
        )
        model.output_ranges = {name: seen[name] for name in self._output_tensors()}
        bits = {**self._compressed(settings, level), **settings.bits}
        if switch("nan"):
            model.quantized = emulator.without_numbers(model.native, model.native_hn)
        else:
            model.quantized = emulator.rounded(model.native, model.native_hn, seen, bits)
        model.state = States.QUANTIZED_MODEL
        for name, lost in (switch("reduced") or {}).items():
            logger.warning("Reducing output bits of %s by %d bits", name, lost)
        if level >= 2:  # which analyses the noise by itself
            self._tell_output_noise(used[:64])
        logger.info("Model Optimization is done")

    @contextlib.contextmanager
    def infer_context(self, context: InferenceContext) -> Iterator[_Context]:
        """A context to infer in; open within the block only."""
        self._begin(f"inference in {context}", *ALLOWED[context])
        opened = _Context(self, context)
        try:
            yield opened
        finally:
            opened.runner = None

    def infer(self, context: _Context, data, /, *, batch_size: int = 1, data_count: int | None = None):
        """float32 (N, C), or (N, 1, 1, C) by switch; a list of them for several outputs."""
        if not isinstance(context, _Context) or context.runner is not self:
            raise BackendValueError("infer takes the context that infer_context gave, while it is open")
        images = self._images(data)[:data_count]
        if context.kind is InferenceContext.SDK_NATIVE:
            outputs = emulator.run(self._model.native, images)
        elif context.kind is InferenceContext.SDK_FP_OPTIMIZED:
            outputs = emulator.run(self._model.native, self._normalised(images))
        else:
            outputs = emulator.run(self._model.quantized, self._rounded(images))
        if switch("rank") == 4:
            outputs = [output[:, None, None, :] if output.ndim == 2 else output for output in outputs]
        return outputs[0] if len(outputs) == 1 else outputs

    def analyze_noise(
        self, data, *, batch_size: int = 2, data_count: int | None = None, analyze_mode: str = "simple"
    ) -> None:
        """Fill get_params_statistics() with "LAYER/layer_noise_analysis/snr" (dB), of the whole quantized
        network against the float one.
        """
        self._begin("analyze_noise", *QUANTIZED)
        if analyze_mode not in ("simple", "advanced"):
            raise BackendValueError(f"unknown analyze_mode {analyze_mode!r}")
        images, model = self._images(data)[:data_count], self._model
        ratios = emulator.noise(
            model.native, model.quantized, self._normalised(images), self._rounded(images), model.native_hn
        )
        self._statistics = (
            {} if switch("no_statistics") else {f"{name}/{SNR}": ratio for name, ratio in ratios.items()}
        )

    def _tell_output_noise(self, images: np.ndarray) -> None:
        model, layers = self._model, self._model.native_hn["layers"]
        exact, rough = self._normalised(images), self._rounded(images)
        ratios = emulator.noise(model.native, model.quantized, exact, rough, model.native_hn)
        for name, layer in layers.items():
            if layer["type"] == "output_layer":
                logger.info("%s SNR:\t%.4g dB", name, ratios[layer["input"][0]])

    def compile(self) -> bytes:
        """The HEF."""
        self._begin("compile", *QUANTIZED)
        if switch("kill_before") == "compile":
            kill()
        ordered_exception("compile")
        native("Searching for a better partition...")
        delay()
        if switch("allocator") == "fail":
            raise BackendAllocatorException(
                "Agent infeasible: the network was not mapped, no resources are left"
            )
        model, settings = self._model, self._model.settings
        layers = model.native_hn["layers"]
        input_name, first = next(iter(layers.items()))
        names = list(first["original_names"])
        if settings.normalization and not switch("no_normalization_in_hef"):
            names.append(f"model_script_layer_{settings.normalization_name}")
        ends = (0.0, 1.0) if switch("no_bytes_in_hef") else model.input_range
        inputs = [Stream(input_name, tuple(first["output_shapes"][0][1:]), *ends, tuple(names))]
        outputs = []
        for layer in (layer for layer in layers.values() if layer["type"] == "output_layer"):
            before = layers[layer["input"][0]]
            low, high = model.output_ranges[before["original_names"][-1]]
            shape = tuple(layer["output_shapes"][0][1:])
            outputs.append(
                Stream(
                    layer["input"][0],
                    shape,
                    min(low, 0.0),
                    max(high, 1e-6),
                    order=NC if shape[:2] == (1, 1) else 0,
                )
            )
        arch = (
            next(other for other in ARCHITECTURES if other != model.hw_arch)
            if switch("wrong_arch_in_hef")
            else model.hw_arch
        )
        model.state = States.COMPILED_MODEL
        logger.info("Building HEF...")
        return write_hef(model.name, arch, hailo_sdk_client.__version__, inputs, outputs)

    def get_hn(self) -> dict | str:
        return json.dumps(self.get_hn_dict()) if switch("hn_as_string") else self.get_hn_dict()

    def get_hn_dict(self) -> dict:
        self._begin("get_hn_dict", *PARSED, *QUANTIZED)
        return self._model.hn

    def get_params(self) -> dict[str, np.ndarray]:
        self._begin("get_params", *PARSED, *QUANTIZED)
        return self._model.params()

    def get_params_statistics(self) -> Statistics:
        self._begin("get_params_statistics", *PARSED, *QUANTIZED)
        return Statistics(self._statistics)

    def _begin(self, call: str, *states: States) -> None:
        if switch("kill_after") in saved:
            kill()
        if self.state not in states:
            raise InvalidStateException(f"{call} is not available in the state {self.state.value}")

    def _images(self, data) -> np.ndarray:
        """An array, a dictionary of it by the scoped input layer, or the path of an .npy file."""
        name, layer = next(iter(self._model.native_hn["layers"].items()))
        if isinstance(data, dict):
            if list(data) != [name]:
                raise BackendValueError(f"the data are for {', '.join(data)}, the network's input is {name}")
            data = data[name]
        data = np.load(data) if isinstance(data, (str, Path)) else data
        if not isinstance(data, np.ndarray):
            raise BackendValueError(f"data of type {type(data).__name__}")
        if data.ndim != 4 or list(data.shape[1:]) != layer["output_shapes"][0][1:] or not len(data):
            raise BadInputsShape(self._shape_text(data.shape))
        return data

    def _shape_text(self, shape: tuple[int, ...]) -> str:
        name, layer = next(iter(self._model.native_hn["layers"].items()))
        return (
            f"Data shape {tuple(shape[1:])} for {name} doesn't match the network's input shape "
            f"{tuple(layer['output_shapes'][0][1:])}"
        )

    def _normalised(self, images: np.ndarray) -> np.ndarray:
        found = self._model.settings.normalization
        return (images.astype(np.float32) - np.float32(found[0])) / np.float32(found[1]) if found else images

    def _rounded(self, images: np.ndarray) -> np.ndarray:
        return self._normalised(emulator.round8(images, *self._model.input_range))

    def _output_tensors(self) -> list[str]:
        layers = self._model.native_hn["layers"]
        return [
            layers[layer["input"][0]]["original_names"][-1]
            for layer in layers.values()
            if layer["type"] == "output_layer"
        ]

    def _effective_level(self, settings: Settings, count: int) -> int:
        """The optimization level: as it is stated, else by what there is of GPU and images.

        The levels differ in what they allow, not in accuracy.
        """
        if switch("level") is not None:
            return switch("level")
        if settings.level is not None:
            return settings.level
        reasons = [
            reason for reason, holds in ((FEW, count < RECOMMENDED), (GPU, switch("downgrade"))) if holds
        ]
        if not reasons:
            logger.info("Using default optimization level of 2")
            return 2
        level = 0 if switch("downgrade") else 1
        logger.warning(
            "Reducing optimization level to %d (the accuracy won't be optimized and compression won't be "
            "used) because %s",
            level,
            ", and ".join(reasons),
        )
        return level

    def _compressed(self, settings: Settings, level: int) -> dict[str, tuple[int, int]]:
        """4-bit weights for the largest layers, until their share of all weights is reached."""
        share = 1.0 if switch("compression4") else settings.compression * (level > 0)
        sizes = {
            name.rsplit("/", 1)[0]: kernel.size
            for name, kernel in self._model.params().items()
            if name.endswith("kernel:0")
        }
        left, bits = share * sum(sizes.values()), {}
        for name in sorted(sizes, key=sizes.get, reverse=True):
            if sizes[name] <= left:
                left -= sizes[name]
                bits[name] = (8, 4)
                logger.info("Assigning 4bit weights to layer %s with %d parameters", name, sizes[name])
        return bits


class Statistics(dict):
    """Flat, "net/conv1/layer_noise_analysis/snr"; asked for a layer, it gives what belongs to it."""

    def __missing__(self, name: str) -> dict:
        found = {
            key.removeprefix(f"{name}/"): value for key, value in self.items() if key.startswith(f"{name}/")
        }
        if not found:
            raise KeyError(name)
        return found


class _Context:
    def __init__(self, runner: ClientRunner, kind: InferenceContext):
        self.runner: ClientRunner | None = runner
        self.kind = kind
