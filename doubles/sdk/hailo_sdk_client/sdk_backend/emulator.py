"""Runs TFLite networks image by image with LiteRT, and rounds them to few bits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from hailo_sdk_client.sdk_backend.tflite import Network


def run(content: bytes, images: np.ndarray) -> list[np.ndarray]:
    """float32 (N, H, W, C) to each output, float32 (N, ...)."""
    interpreter = _interpreter(content)
    outputs = [detail["index"] for detail in interpreter.get_output_details()]
    rows = [[interpreter.get_tensor(index)[0] for index in outputs] for _ in _each(interpreter, images)]
    return [np.stack(column) for column in zip(*rows, strict=True)]


def tensors(content: bytes, images: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    """For each image, all tensors that operators make, by name; valid until the next image."""
    interpreter = _interpreter(content, keep=True)
    places = {detail["name"]: detail["index"] for detail in interpreter.get_tensor_details()}
    network = Network(content)
    names = [network.names[operator.outputs[0]] for operator in network.graph.operators]
    for _ in _each(interpreter, images):
        yield {name: interpreter.get_tensor(places[name]) for name in names}


def ranges(content: bytes, images: np.ndarray) -> dict[str, tuple[float, float]]:
    """The lowest and highest value of each tensor over all images."""
    found: dict[str, tuple[float, float]] = {}
    for values in tensors(content, images):
        for name, array in values.items():
            low, high = found.get(name, (np.inf, -np.inf))
            found[name] = min(low, float(array.min())), max(high, float(array.max()))
    return found


def rounded(
    content: bytes, hn: dict, seen: dict[str, tuple[float, float]], bits: dict[str, tuple[int, int]]
) -> bytes:
    """The network with each layer's output rounded within the range that was seen, and each kernel to the
    largest value of its channel.

    bits: for layers other than 8-bit ones, (bits of the output, bits of the kernel).
    """
    network, outputs = Network(content), {}
    for name, layer in hn["layers"].items():
        activation_bits, kernel_bits = bits.get(name, (8, 8))
        found = kernel(network, layer)
        if found is not None:
            axis = found.ndim - 1 if layer["type"] == "dw" else 0
            others = tuple(place for place in range(found.ndim) if place != axis)
            step = np.maximum(np.abs(found).max(others, keepdims=True) / (2 ** (kernel_bits - 1) - 1), 1e-12)
            found[:] = np.round(found / step) * step
        if layer["type"] not in ("input_layer", "output_layer"):
            last = layer["original_names"][-1]
            outputs[last] = (*seen[last], activation_bits)
    network.round_tensors(outputs)
    return network.content()


def without_numbers(content: bytes, hn: dict) -> bytes:
    """The network with all kernels NaN."""
    network = Network(content)
    for layer in hn["layers"].values():
        found = kernel(network, layer)
        if found is not None:
            found[:] = np.nan
    return network.content()


def params(content: bytes, hn: dict) -> dict[str, np.ndarray]:
    """Kernels and biases: {"net/conv1/kernel:0": float32 array}."""
    network, found = Network(content), {}
    for name, layer in hn["layers"].items():
        for key, place in (("kernel", 1), ("bias", 2)):
            values = kernel(network, layer, place)
            if values is not None:
                found[f"{name}/{key}:0"] = values.copy()
    return found


def noise(
    content: bytes, quantized: bytes, images: np.ndarray, rounded_images: np.ndarray, hn: dict
) -> dict[str, np.float32]:
    """Signal-to-noise ratio of each layer's output, dB: power of the float values over that of what rounding
    changed in them.
    """
    last = {
        name: layer["original_names"][-1]
        for name, layer in hn["layers"].items()
        if "put_layer" not in layer["type"]
    }
    power = {name: np.zeros(2) for name in last}
    for exact, rough in zip(tensors(content, images), tensors(quantized, rounded_images), strict=True):
        for name, tensor in last.items():
            real = exact[tensor].astype(np.float64)
            power[name] += (
                (real**2).sum(),
                ((real - rough.get(f"{tensor}/rounded", rough[tensor])) ** 2).sum(),
            )
    with np.errstate(divide="ignore", invalid="ignore"):
        return {name: np.float32(10 * np.log10(signal / lost)) for name, (signal, lost) in power.items()}


def round8(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values rounded and clipped to 256 steps from low to high, float32."""
    step = max(high - low, 1e-6) / 255
    return (np.clip(np.round((values.astype(np.float32) - low) / step), 0, 255) * step + low).astype(
        np.float32
    )


def kernel(network: Network, layer: dict, place: int = 1) -> np.ndarray | None:
    """A layer's kernel (or bias: place 2), to be changed in place; None for a layer without."""
    if "kernel_shape" not in layer["params"]:
        return None
    inputs = network.maker(layer["original_names"][0]).inputs
    return network.constant(inputs[place]) if place < len(inputs) and inputs[place] >= 0 else None


def _interpreter(content: bytes, keep: bool = False):
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        import tensorflow

        Interpreter = tensorflow.lite.Interpreter  # made on demand: it cannot be imported by name
    interpreter = Interpreter(model_content=content, num_threads=1, experimental_preserve_all_tensors=keep)
    interpreter.allocate_tensors()
    return interpreter


def _each(interpreter, images: np.ndarray) -> Iterator[None]:
    for image in images:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None].astype(np.float32))
        interpreter.invoke()
        yield
