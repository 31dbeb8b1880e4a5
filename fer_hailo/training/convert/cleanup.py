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

from fer_hailo.common.preprocess import PreprocessSpec, normalise, prepare
from fer_hailo.training.convert.graph import Edit, Graph, graph_of, rebuild
from fer_hailo.training.convert.watch import Values, Watch, watcher
from fer_hailo.training.data.rows import Images

CLEAN = "model_clean.keras"
BATCH = 64
LOOKED = 256  # images of the first look, which is enough for most networks: they have no constant unit
OTHERS = 64  # validation images on which each change is computed, whatever the units gave
MOST_MOVED = 1e-3  # a change that moves a validation logit by more is not made
STILL = 1e-6  # what changes the next layer by no more than this is constant
UNITWISE = (keras.layers.BatchNormalization, keras.layers.ReLU, keras.layers.Activation, keras.layers.Dropout)

Range = tuple[np.ndarray, np.ndarray]  # smallest and largest value of each unit: float32 (units,) each


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
    probed = sorted({gate for _, gate, _, _ in gates} | {last for _, _, last, _ in units})
    if not probed:
        return model, []
    places: list[tuple] = [(_fold_gate, "constant gate folded", gate[1], gate) for gate in gates]
    places += [(_prune, "constant units pruned", unit[2], unit) for unit in units]
    watch = watcher(model, probed, spec, len(train))
    ranges = _ranges(watch(train[:LOOKED], "a first look for constant units"))
    places = [place for place in places if place[0](model, *place[3], ranges)[1].any()]
    if not places:
        return model, []
    ranges = _ranges(watch(train, "looking for constant units"))
    judge: Judge | None = None
    changes: list[Change] = []
    for make, what, watched, place in places:
        if not _present(model, place[0]):  # it went with the gate that it belonged to
            continue
        edit, dead = make(model, *place, ranges)
        if not dead.any():
            continue
        judge = judge or Judge(model, watch, ranges, val, spec)
        candidate = rebuild(model, edit)
        moved = judge.moved(candidate, watched, dead)
        changes.append(Change(place[0], what, int(dead.sum()), len(dead), moved, moved <= MOST_MOVED))
        model = candidate if moved <= MOST_MOVED else model
    return model, changes


class Judge:
    """How far changes move the logits of validation images, without computing all of them for each change.

    An image on which all units that went have the value that they were taken for gives the same logits as
    before. The others are computed, and a few more, which would tell of a change that is wrong.
    """

    def __init__(
        self, model: keras.Model, watch: Watch, ranges: dict[str, Range], val: Images, spec: PreprocessSpec
    ):
        self._model, self._images, self._spec = model, val, spec
        self._before: dict[int, np.ndarray] = {}  # the original's logits (C,) by the image's number
        self._apart: dict[str, list[np.ndarray]] = {name: [] for name in ranges}
        for chunk in watch(val, "validation images where they vary"):
            for name, values in chunk.items():
                _, high = ranges[name]
                away = np.abs(values.reshape(len(values), -1, values.shape[-1]) - high)
                self._apart[name].append(away.max(axis=1) > STILL)
        self._touched = np.zeros(len(val), bool)
        self._touched[:: max(1, len(val) // OTHERS)] = True

    def moved(self, candidate: keras.Model, watched: str, dead: np.ndarray) -> float:
        """The largest difference of a logit. watched: the operation that gave the units. dead: bool (units,),
        those that went.

        Where it is small enough the change counts as made: its images are computed for the next ones too.
        """
        touched = self._touched | np.concatenate(self._apart[watched])[:, dead].any(axis=1)
        numbers = np.flatnonzero(touched).tolist()
        new = [number for number in numbers if number not in self._before]
        self._before |= zip(new, self._logits(self._model, new), strict=True)
        before = [self._before[number] for number in numbers]
        moved = float(np.abs(np.subtract(self._logits(candidate, numbers), before)).max(initial=0))
        if moved <= MOST_MOVED:
            self._touched = touched
        return moved

    def _logits(self, model: keras.Model, numbers: list[int]) -> list[np.ndarray]:
        """Of the images with these numbers, (C,) each."""
        found: list[np.ndarray] = []
        for start in range(0, len(numbers), BATCH):
            faces = [prepare(self._images[number], self._spec) for number in numbers[start : start + BATCH]]
            found += [*np.asarray(model(normalise(np.stack(faces), self._spec), training=False))]
        return found


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
    model: keras.Model, multiplication: str, gate: str, kept: int, after: str, ranges: dict[str, Range]
) -> tuple[Edit, np.ndarray]:
    """The gate's values go into the kernel of the layer that follows. Returns which of its units went, bool
    (units,): all or none.
    """
    low, high = ranges[gate]
    kernel, *bias = model.get_layer(after).get_weights()
    if (high - low).max() > STILL or len(high) not in (1, kernel.shape[-2]):
        return Edit(), np.zeros(len(high), bool)
    edit = Edit(weights={after: [kernel * high[:, None], *bias]}, bypass={multiplication: kept})
    return edit, np.ones(len(high), bool)


def _prune(
    model: keras.Model, producer: str, chain: list[str], last: str, consumer: str, ranges: dict[str, Range]
) -> tuple[Edit, np.ndarray]:
    """Constant units go from the producer and the layers between; what they gave goes into the consumer's
    bias. Returns which units went, bool (units,).
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
    return edit, dead


def _ranges(chunks: Iterator[Values]) -> dict[str, Range]:
    """Smallest and largest value of each unit over all images."""
    found: dict[str, Range] = {}
    for chunk in chunks:
        for name, output in chunk.items():
            values = output.reshape(-1, output.shape[-1])
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
