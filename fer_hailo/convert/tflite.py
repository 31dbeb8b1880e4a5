"""Keras to float32 TFLite: fixed batch of 1, batch norms folded, tensors named after the Keras layers."""

from __future__ import annotations

import itertools
import re
import tempfile

import keras
import numpy as np

WEIGHTED = ("Conv2D", "DepthwiseConv2D", "Dense")
WEIGHTED_OPERATORS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
SMALLEST = 1e-4
UNNAMED = ("Activation", "ReLU")  # layers that keras.applications leaves to automatic numbers


def to_tflite(model: keras.Model) -> bytes:
    """The float32 TFLite of a Functional classifier with one input `image` (1, I, I, 3) and one output `logits` (1, C)."""
    import tensorflow as tf
    from tensorflow.lite.tools import flatbuffer_utils

    with tempfile.TemporaryDirectory() as folder:
        archive = keras.export.ExportArchive()
        archive.track(model)
        image = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="image")
        archive.add_endpoint("serve", lambda image: model(image, training=False), input_signature=[image])
        archive.write_out(folder, verbose=False)
        content = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
    file = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    name_tensors(file, model)
    raise_small_kernels(file)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(file))


def name_tensors(file, model: keras.Model) -> None:
    """Rename the tensors of a TFLite (an object of TensorFlow's flatbuffer_utils) after the Keras layers that they come from.

    TensorFlow's own names join every operation that was fused, "A;B;C", and number the scopes. Model scripts, reports and
    Hailo's parser show these names, so each becomes one layer's: the layer with the weights where there is one.
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
    rename(graph.outputs[0], model.layers[-1].name)
    for operator in graph.operators:
        (output,) = operator.outputs
        kind = flatbuffer_utils.opcode_to_name(file, operator.opcodeIndex)
        if output != graph.outputs[0]:
            # Activations have numbers for names, bare operations (x / 6) none: they are called after what they work on.
            rename(output, _layer_of(name_of(output), kinds) or f"{name_of(operator.inputs[0])}_{kind.lower()}")
        if kind in WEIGHTED_OPERATORS:
            for role, index in zip(("kernel", "bias"), operator.inputs[1:], strict=False):
                if index >= 0:  # -1: the layer has no bias
                    rename(index, f"{name_of(output)}/{role}")


def raise_small_kernels(file) -> None:
    """Give each output channel of a layer with weights one weight of at least 1e-4 of the layer's largest.

    Where weight decay drove a whole channel towards 0, its INT8 scale would be so small that the bias, counted in
    scale of input x scale of weights, overflows 32 bits: one such layer cost 52 points of accuracy. What the raised weight
    adds to an output is below a millionth of what the others can.
    """
    from tensorflow.lite.tools import flatbuffer_utils

    (graph,) = file.subgraphs
    for operator in graph.operators:
        kind = flatbuffer_utils.opcode_to_name(file, operator.opcodeIndex)
        if kind not in WEIGHTED_OPERATORS:
            continue
        tensor = graph.tensors[operator.inputs[1]]
        kernel = np.array(file.buffers[tensor.buffer].data, np.uint8).view(np.float32).reshape(tensor.shape)
        channels = kernel.reshape(-1, kernel.shape[-1]).T if kind == "DEPTHWISE_CONV_2D" else kernel.reshape(len(kernel), -1)
        least = SMALLEST * np.abs(kernel).max()
        small = np.abs(channels).max(axis=1) < least
        channels[small, 0] = least  # a view of `kernel`
        file.buffers[tensor.buffer].data = kernel.reshape(-1).view(np.uint8)


def _layer_of(fused: str, kinds: dict[str, str]) -> str | None:
    """The Keras layer of a fused name: of several the one with weights, else the first. None for a bare operation."""
    # model/layer/operation; TensorFlow opens each layer's scope twice in one graph, so that `conv` is called `conv_1`.
    scopes = [part.split("/")[1] for part in fused.split(";") if part.count("/") > 1]
    found = [name for scope in scopes if (name := re.sub(r"_\d+$", "", scope)) in kinds]
    found = [name for name in found if kinds[name] not in UNNAMED]
    return next((name for name in found if kinds[name] in WEIGHTED), found[0] if found else None)
