"""From a TFLite file to the HN: the layers with scoped names, their types, edges, shapes, and names in the
TFLite file.
"""

from __future__ import annotations

from hailo_sdk_client.model_translator.exceptions import (
    MisspellNodeError,
    ParsingWithRecommendationException,
    UnsupportedModelError,
)
from hailo_sdk_client.sdk_backend.tflite import Network
from hailo_sdk_client.switches import ordered_exception, switch

# The HN's name of a layer (before its number) and its type.
LAYERS = {
    "CONV_2D": ("conv", "conv"),
    "DEPTHWISE_CONV_2D": ("dw", "dw"),
    "FULLY_CONNECTED": ("fc", "dense"),
    "MEAN": ("avgpool", "avgpool"),
    "AVERAGE_POOL_2D": ("avgpool", "avgpool"),
    "MAX_POOL_2D": ("maxpool", "maxpool"),
    "ADD": ("ew_add", "ew_add"),
    "MUL": ("ew_mult", "ew_mult"),
    "SOFTMAX": ("softmax", "softmax"),
    "HARD_SWISH": ("act", "activation"),
    "LOGISTIC": ("act", "activation"),
    "RELU": ("act", "activation"),
    "RELU6": ("act", "activation"),
}
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def translate(
    content: bytes,
    net: str,
    start: list[str] | None,
    end: list[str] | None,
    shapes: dict[str, list[int]] | None,
) -> tuple[bytes, dict]:
    """The TFLite file cut at the end nodes, and the HN. Raises the parser's exceptions."""
    ordered_exception("parse")
    network = _opened(content, shapes or {})
    for name in [*(start or []), *(end or []), *(shapes or {})]:
        if name not in network.names:
            raise MisspellNodeError(f"Unable to find the node {name!r}, please check its spelling")
    if start and start != [network.input.name.decode()]:
        raise UnsupportedModelError("the double starts at the model's input only")
    if end:
        network.end_at(end)
    elif switch("parse") == "recommend":
        raise _recommendation("the last layers are not recognised", network.outputs)
    _check_operators(network)
    if switch("parse_wrong"):
        kernel = next(
            network.constant(op.inputs[1]) for op in network.graph.operators if network.kind(op) == "CONV_2D"
        )
        kernel[0::2] *= 1.25  # as if a batch normalisation had been folded with its channels out of place
        kernel[1::2] *= 0.8
    return network.content(), _hn(network, net)


def _opened(content: bytes, shapes: dict[str, list[int]]) -> Network:
    if content[4:8] != b"TFL3":
        raise UnsupportedModelError("the file is not a TFLite model")
    network = Network(content)
    if network.is_quantized() or not network.is_float():
        raise UnsupportedModelError("the model is quantized: only float32 TFLite models can be parsed")
    fixed = shapes.get(network.input.name.decode())
    if fixed:
        network.input.shape, network.input.shapeSignature = list(fixed), None
    signature = network.input.shapeSignature
    shape = list(network.input.shape if signature is None else signature)
    if len(network.graph.inputs) != 1 or len(shape) != 4 or shape[0] != 1 or -1 in shape:
        raise UnsupportedModelError(
            f"the model's input must be one of fixed shape with a batch of 1, it is {shape}"
        )
    return network


def _check_operators(network: Network) -> None:
    """Raise ParsingWithRecommendationException where operators are not taken, with the tensors before them as
    end nodes.
    """
    made = {index for operator in network.graph.operators for index in operator.outputs} | {
        network.graph.inputs[0]
    }
    good, ends, bad = {network.graph.inputs[0]}, [], []
    for operator in network.graph.operators:
        taken = network.kind(operator) in {*LAYERS, "RESHAPE"} - set(switch("refuses") or ())
        read = made.intersection(operator.inputs)
        if taken and read <= good:
            good.update(operator.outputs)
            continue
        ends += [network.names[index] for index in sorted(read & good) if index != network.graph.inputs[0]]
        if not taken:
            bad.append(f"{network.kind(operator)} ({network.names[operator.outputs[0]]})")
    if bad and not ends:
        raise UnsupportedModelError(f"unsupported operators: {', '.join(bad)}")
    if bad:
        raise _recommendation(f"unsupported operators: {', '.join(bad)}", list(dict.fromkeys(ends)))


def _recommendation(reason: str, ends: list[str]) -> ParsingWithRecommendationException:
    return ParsingWithRecommendationException(
        f"Parsing failed: {reason}\nThe model can be parsed in part: try again using these end node names: "
        f"{', '.join(ends)}"
    )


def _hn(network: Network, net: str) -> dict:
    """An activation that follows a layer and is its only reader becomes a part of it, as does a reshaping;
    both leave their names.
    """
    layers: dict[str, dict] = {}
    made: dict[int, str] = {}  # tensor to the layer that makes it
    counts: dict[str, int] = {}
    readers = [index for operator in network.graph.operators for index in operator.inputs] + list(
        network.graph.outputs
    )

    def add(kind: str, type_: str, sources: list[int], tensor: int, names: list[str], params: dict) -> None:
        counts[kind] = counts.get(kind, 0) + 1
        name = f"{net}/{kind}{counts[kind]}"
        for source in sources:
            layers[made[source]]["output"].append(name)
        layers[name] = {
            "type": type_,
            "input": [made[source] for source in sources],
            "output": [],
            "input_shapes": [_shape(network, source) for source in sources or [tensor]],
            "output_shapes": [_shape(network, tensor)],
            "original_names": names,
            "params": params,
        }
        if type_ != "output_layer":
            made[tensor] = name

    add(
        "input_layer",
        "input_layer",
        [],
        network.graph.inputs[0],
        [network.names[network.graph.inputs[0]]],
        {},
    )
    for operator in network.graph.operators:
        sources, tensor = [index for index in operator.inputs if index in made], operator.outputs[0]
        kind, type_ = LAYERS.get(network.kind(operator), ("", ""))
        before = layers[made[sources[0]]]
        if not kind or (
            kind == "act"
            and readers.count(sources[0]) == 1
            and before["type"] not in ("input_layer", "activation")
        ):
            made[tensor] = made[sources[0]]
            before["original_names"].append(network.names[tensor])
            before["output_shapes"] = [_shape(network, tensor)]
            continue
        if kind == "ew_mult" and len(sources) == 1:
            _check_factor(network, operator)
            kind, type_ = "normalization", "normalization"
        shape = (
            network.graph.tensors[operator.inputs[1]].shape if network.kind(operator) in WEIGHTED else None
        )
        params = {} if shape is None else {"kernel_shape": [int(size) for size in shape]}
        add(kind, type_, sources, tensor, [network.names[tensor]], params)
    for tensor in network.graph.outputs:
        add("output_layer", "output_layer", [tensor], tensor, [], {})
    return {"name": net, "net_params": {"version": "1.0", "stage": "HN"}, "layers": layers}


def _check_factor(network: Network, operator) -> None:
    """Raise UnsupportedModelError where a MUL's constant is more than a number a channel, which no
    normalization can take.
    """
    channels = int(network.graph.tensors[operator.outputs[0]].shape[-1])
    for index in operator.inputs:
        factor = network.constant(index)
        if factor is not None and factor.size not in (1, channels):
            raise UnsupportedModelError("ew_mult1 expects 2 inputs but found 1")


def _shape(network: Network, index: int) -> list[int]:
    """[-1, H, W, C], of vectors too."""
    rest = [int(size) for size in network.graph.tensors[index].shape][1:]
    return [-1, *[1] * (3 - len(rest)), *rest]
