"""Keras to float32 TFLite: fixed batch of 1, batch norms folded, tensors named after the Keras layers."""

from __future__ import annotations

import itertools
import re
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fer_hailo.common.errors import UserError, one_line
from fer_hailo.common.quiet import held
from fer_hailo.formats.tflite import WEIGHTED
from fer_hailo.training.convert.graph import last_operation
from fer_hailo.training.convert.ranges import WHOLE, TensorRange

WITH_WEIGHTS = ("Conv2D", "DepthwiseConv2D", "Dense")
MOST_BIAS = 2**28
UNNAMED = ("Activation", "ReLU")  # layers that keras.applications leaves to automatic numbers


def to_tflite(model: keras.Model) -> bytes:
    """The float32 TFLite of a Functional classifier: one input `image` (1, I, I, 3), one output (1, C).

    Raises UserError where TensorFlow's converter refuses the network.
    """
    from tensorflow.lite.tools import flatbuffer_utils

    file = flatbuffer_utils.convert_bytearray_to_object(bytearray(flatbuffer_of(model)))
    name_tensors(file, model)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(file))


def flatbuffer_of(model: keras.Model) -> bytes:
    """TensorFlow's own float32 TFLite of a Functional network with one input, `image`, and any outputs, with
    one signature.

    Raises UserError as `to_tflite` does.
    """
    import tensorflow as tf

    image = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="image")
    function = tf.function(
        lambda image: model(image, training=False), input_signature=[image], autograph=False
    ).get_concrete_function()
    # Not by Keras' own export, which makes the same file and takes twice the time: it saves every layer, too
    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"serving_default": function})
        try:
            with held():
                return tf.lite.TFLiteConverter.from_saved_model(folder).convert()
        except Exception as error:  # its own class, which is not public
            known = re.findall(r"tf\.\w+", str(error))
            reason = f"it has no {', '.join(sorted(set(known)))}" if known else one_line(error, 160)
            raise UserError(
                f"TensorFlow cannot convert this network to TFLite: {reason}; nothing was written"
            ) from None


def name_tensors(file: Any, model: keras.Model) -> None:
    """Rename the tensors of a TFLite (an object of TensorFlow's flatbuffer_utils) after the Keras layers that
    they come from.

    TensorFlow's own names join every operation that was fused, "A;B;C", and number the scopes. Model scripts,
    reports and Hailo's parser show these names, so each becomes one layer's: the layer with the weights where
    there is one.
    """
    from tensorflow.lite.tools import flatbuffer_utils

    (graph,) = file.subgraphs
    kinds = {operation.name: type(operation).__name__ for operation in model.operations}
    taken: set[str] = set()

    def rename(index: int, name: str) -> None:
        others = (f"{name}#{number}" for number in itertools.count(2))
        unique = next(n for n in itertools.chain([name], others) if n not in taken)
        taken.add(unique)
        graph.tensors[index].name = unique.encode()

    def name_of(index: int) -> str:
        return graph.tensors[index].name.decode()

    rename(graph.inputs[0], "image")
    rename(graph.outputs[0], last_operation(model).name)
    for operator in graph.operators:
        kind = flatbuffer_utils.opcode_to_name(file, operator.opcodeIndex)
        for output in operator.outputs:
            if output != graph.outputs[0]:
                # Activations have numbers for names, bare operations (x / 6) none: they are called after what
                # they work on.
                rename(
                    output,
                    _layer_of(name_of(output), kinds)
                    or f"{name_of(_source(file, graph, operator))}_{kind.lower()}",
                )
        if kind in WEIGHTED:
            for role, index in zip(("kernel", "bias"), operator.inputs[1:], strict=False):
                if index >= 0:  # -1: the layer has no bias
                    rename(index, f"{name_of(operator.outputs[0])}/{role}")


def _source(file, graph, operator) -> int:
    """The first input that is no constant."""
    constant = [file.buffers[graph.tensors[index].buffer].data is not None for index in operator.inputs]
    return operator.inputs[constant.index(False)]


def raise_small_kernels(path: Path, ranges: dict[str, TensorRange]) -> int:
    """Make sure that no output channel's kernel is too small for INT8, in a float TFLite. Returns how many
    channels were changed.

    A bias is counted in scale of input x scale of weights, in 32 bits. Where weight decay drove a whole
    channel towards 0, that overflows: one such layer cost 52 points of accuracy. One weight of such a channel
    is raised until the bias is at most 2^28; that adds to an output no more than 1.3e-4 of its bias.
    """
    from tensorflow.lite.tools import flatbuffer_utils

    file, changed = flatbuffer_utils.read_model_with_mutable_tensors(str(path)), 0
    (graph,) = file.subgraphs
    for operator in graph.operators:
        kind = flatbuffer_utils.opcode_to_name(file, operator.opcodeIndex)
        if kind not in WEIGHTED or len(operator.inputs) < 3 or operator.inputs[2] < 0:
            continue
        low, high = ranges[graph.tensors[operator.inputs[0]].name.decode()].ends[WHOLE]
        kernel, bias = (_values(file, graph.tensors[index]) for index in operator.inputs[1:3])
        channels = (
            kernel.reshape(-1, kernel.shape[-1]).T
            if kind == "DEPTHWISE_CONV_2D"
            else kernel.reshape(len(kernel), -1)
        )
        least = np.abs(bias) * (127 * 255 / MOST_BIAS / max(high - low, 1e-9))
        small = np.abs(channels).max(axis=1) < least
        channels[small, 0] = least[small]  # a view of `kernel`
        file.buffers[graph.tensors[operator.inputs[1]].buffer].data = kernel.reshape(-1).view(np.uint8)
        changed += int(small.sum())
    path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(file)))
    return changed


def _values(file, tensor) -> np.ndarray:
    """A constant of a flatbuffer object, float32, as a copy that can be written to."""
    return np.array(file.buffers[tensor.buffer].data, np.uint8).view(np.float32).reshape(tensor.shape)


def _layer_of(fused: str, kinds: dict[str, str]) -> str | None:
    """The Keras layer of a fused name: of several the one with weights, else the first.

    None for a bare operation.
    """
    # model/layer/operation; TensorFlow opens each layer's scope twice in one graph, so that `conv` is called
    # `conv_1`.
    scopes = [part.split("/")[1] for part in fused.split(";") if part.count("/") > 1]
    found = [name for scope in scopes if (name := re.sub(r"_\d+$", "", scope)) in kinds]
    found = [name for name in found if kinds[name] not in UNNAMED]
    return next((name for name in found if kinds[name] in WITH_WEIGHTS), found[0] if found else None)
