"""Take out of a trained network what never changes: dead units, and gates that became constants.

Some squeeze-and-excite units of a fine-tuned MobileNetV3 give 0 for every face. In float32 that is harmless.
A quantizer, however, gives a tensor of zeros a scale near 0, on which XNNPACK refuses the whole graph,
ai-edge-quantizer's result breaks down and Hailo's compiler reports slopes that it does not support. The float
network is therefore cleaned before anything is converted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np

from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.common.progress import track
from fer_hailo.training.convert.graph import Edit, Graph, graph_of, rebuild
from fer_hailo.training.data.rows import Images
from fer_hailo.training.evaluate.score import Scorer
from fer_hailo.training.models.inputs import FaceInput

CLEAN = "model_clean.keras"
BATCH = 256
MOST_MOVED = 1e-3  # a change that moves a validation logit by more is not made
STILL = 1e-6  # what changes the next layer by no more than this is constant
UNITWISE = (keras.layers.BatchNormalization, keras.layers.ReLU, keras.layers.Activation, keras.layers.Dropout)


@dataclass(frozen=True)
class Change:
    """What was done at a layer: `what` for people, removed units of `units`, largest difference of a
    validation logit, kept or not.
    """

    layer: str
    what: str
    removed: int
    units: int
    moved: float
    kept: bool


def clean_network(
    model: keras.Model, train: Images, val: Images, spec: PreprocessSpec
) -> tuple[keras.Model, list[Change]]:
    """Fold constant gates and prune constant units of a Functional classifier.

    train, val: uint8 (N, S, S[, 3]) cached images; constant means on every image of `train`. Returns
    (network, changes). A change is kept where no logit of `val` moves by more than 1e-3, counted from the
    original.
    """
    graph = graph_of(model)
    gates, units = list(_gates(model, graph)), list(_units(model, graph))
    probed = {gate for _, gate, _, _ in gates} | {last for _, _, last, _ in units}
    ranges = _ranges(model, sorted(probed), train, spec)
    reference = Scorer(model, spec).logits(val)
    changes: list[Change] = []
    steps = [(_fold_gate, "constant gate folded", gate) for gate in gates] + [
        (_prune, "constant units pruned", unit) for unit in units
    ]
    for make, what, place in track(steps, len(steps), "cleaning the graph"):
        if not _present(model, place[0]):  # it went with the gate that it belonged to
            continue
        edit, removed, count = make(model, *place, ranges)
        if not removed:
            continue
        candidate = rebuild(model, edit)
        moved = float(np.abs(Scorer(candidate, spec).logits(val) - reference).max())
        changes.append(Change(place[0], what, removed, count, moved, moved <= MOST_MOVED))
        model = candidate if moved <= MOST_MOVED else model
    return model, changes


def _gates(model: keras.Model, graph: Graph) -> Iterator[tuple[str, str, int, str]]:
    """(multiplication, what may be a constant gate, number of the other input, pointwise layer after):
    squeeze-and-excite blocks.
    """
    for operation in model.operations:
        after = graph.only_consumer(operation.name) if operation.name in graph.inputs else None
        if type(operation).__name__ != "Multiply" or len(graph.inputs[operation.name]) != 2 or not after:
            continue
        for kept, gate in ((0, 1), (1, 0)):
            names = graph.inputs[operation.name]
            if (
                _pointwise(_operation(model, after))
                and _operation(model, names[kept]).output.shape == operation.output.shape
            ):
                yield operation.name, names[gate], kept, after


def _units(model: keras.Model, graph: Graph) -> Iterator[tuple[str, list[str], str, str]]:
    """(producer, layers between, last of both, consumer): a layer with weights, only unit-wise layers, then a
    pointwise layer.
    """
    for layer in model.layers:
        chain, name = [], graph.only_consumer(layer.name)
        while name and isinstance(_operation(model, name), UNITWISE):
            chain.append(name)
            name = graph.only_consumer(name)
        if name and _weighted(layer) and _pointwise(_operation(model, name)):
            yield layer.name, chain, [layer.name, *chain][-1], name


def _fold_gate(
    model: keras.Model, multiplication: str, gate: str, kept: int, after: str, ranges: dict
) -> tuple[Edit, int, int]:
    """The gate's values go into the kernel of the layer that follows."""
    low, high = ranges[gate]
    kernel, *bias = model.get_layer(after).get_weights()
    if (high - low).max() > STILL or len(high) not in (1, kernel.shape[-2]):
        return Edit(), 0, len(high)
    return (
        Edit(weights={after: [kernel * high[:, None], *bias]}, bypass={multiplication: kept}),
        len(high),
        len(high),
    )


def _prune(
    model: keras.Model, producer: str, chain: list[str], last: str, consumer: str, ranges: dict
) -> tuple[Edit, int, int]:
    """Constant units go from the producer and the layers between; what they gave goes into the consumer's
    bias.
    """
    low, high = ranges[last]
    kernel, *bias = model.get_layer(consumer).get_weights()
    matrix = kernel.reshape(kernel.shape[-2:])
    dead = (high - low) * np.abs(matrix).max(axis=1) <= STILL
    dead[0] &= not dead.all()  # a layer cannot be empty
    keep = ~dead
    constant = (high[dead] @ matrix[dead]).astype(kernel.dtype)
    edit = Edit(weights={consumer: [kernel[..., keep, :], *bias]})
    if bias:
        edit.weights[consumer][1] = bias[0] + constant
    elif constant.any():
        edit.weights[consumer].append(constant)
        edit.config[consumer] = {"use_bias": True}
    for name in [producer, *chain]:
        edit.weights[name] = [weight[..., keep] for weight in model.get_layer(name).get_weights()]
    edit.config[producer] = {
        "units" if isinstance(model.get_layer(producer), keras.layers.Dense) else "filters": int(keep.sum())
    }
    return edit, int(dead.sum()), len(dead)


def _ranges(
    model: keras.Model, names: list[str], images: Images, spec: PreprocessSpec
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Smallest and largest value of each unit at the outputs of some operations, over all images: float32
    (units,) each.
    """
    if not names:
        return {}
    inputs = keras.Input(spec.source_shape, dtype="uint8")
    probe = keras.Model(model.inputs, [_operation(model, name).output for name in names])
    probe = keras.Model(inputs, probe(FaceInput(spec, dtype="float32")(inputs)))
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    starts = range(0, len(images), BATCH)
    for start in track(starts, len(starts), "looking for constant units"):
        outputs = probe.predict_on_batch(images[start : start + BATCH])
        for name, output in zip(names, outputs if isinstance(outputs, list) else [outputs], strict=True):
            values = np.asarray(output).reshape(-1, output.shape[-1])
            low, high = values.min(axis=0), values.max(axis=0)
            if name in found:
                low, high = np.minimum(low, found[name][0]), np.maximum(high, found[name][1])
            found[name] = low, high
    return found


def _weighted(layer) -> bool:
    """Whether each output is a weighted sum of inputs of every channel."""
    return isinstance(layer, keras.layers.Dense) or (
        isinstance(layer, keras.layers.Conv2D) and layer.groups == 1
    )


def _pointwise(layer) -> bool:
    """Whether each output is a weighted sum of the inputs at its own place."""
    return _weighted(layer) and (
        isinstance(layer, keras.layers.Dense) or tuple(layer.kernel_size) == (1, 1) == tuple(layer.strides)
    )


def _operation(model: keras.Model, name: str):
    """A layer or a bare operation (x + 3) of the model."""
    return next(operation for operation in model.operations if operation.name == name)


def _present(model: keras.Model, name: str) -> bool:
    return any(operation.name == name for operation in model.operations)
