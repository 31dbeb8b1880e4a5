"""A network on whole numbers: which grid each tensor has, where precisions change, and how it runs."""

from __future__ import annotations

import numpy as np

from fer_hailo.common.preprocess import PreprocessSpec, normalise
from fer_hailo.emulation.integer import KEEP_GRID, SOFTMAX_GRID, Site, integer_function, rescale
from fer_hailo.emulation.scheme import DTYPES, Grid, Scheme
from fer_hailo.emulation.steps import NotEmulated, Step, Visit, in_batches, run
from fer_hailo.formats.tflite_graph import Constant, Graph, Operation, Value

TIE = 1e-3  # of a step: bytes lie half-way between two steps of a [-1, 1] input, see fer_hailo.predict.litert


class IntegerNetwork:
    """A network computed with whole numbers only. Raises NotEmulated for an operator that is not known.

    grids: of every tensor by name. With a MeasuredScheme `graph` is the float TFLite's, with a FileScheme the
    INT8 one's.
    """

    def __init__(self, graph: Graph, scheme: Scheme):
        self.graph, self.scheme = graph, scheme
        self.grids: dict[str, Grid] = {graph.input.name: scheme.grid(graph.input, 8)}
        self.steps: list[Step] = []
        for operation in graph.operations:
            self._add(operation)

    def whole(self, images: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
        """The whole numbers that stand for prepared images, uint8 (N, I, I, 3): int8, the same shape."""
        grid = self.grids[self.graph.input.name]
        steps = np.floor(normalise(np.arange(256, dtype=np.uint8), spec) / grid.scale + grid.zero + 0.5 + TIE)
        return np.clip(steps, grid.low, grid.high).astype(DTYPES[grid.bits])[images]

    def run(self, values: np.ndarray, visit: Visit | None = None) -> np.ndarray:
        """Whole numbers (N, I, I, 3) to whole numbers (N, C). visit: is shown each tensor, and each in 8 bits
        that has 16.
        """
        return run(self.steps, self.graph.input.name, values, self.graph.output.name, visit)

    def logits(self, images: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
        """uint8 (N, I, I, 3) to float32 (N, C)."""
        whole = np.concatenate(list(in_batches(lambda batch: self.run(self.whole(batch, spec)), images)))
        return self.grids[self.graph.output.name].real(whole)

    def _add(self, operation: Operation) -> None:
        bits, sources = self.scheme.precision(operation).activations, []
        for value in operation.inputs:
            if value is not None and not isinstance(value, Constant):
                sources.append(self._narrowed(value, bits))
        grids = tuple(self.grids[name] for name in sources)
        if not grids:
            raise NotEmulated(operation, "it reads constants only")
        target = self._target(operation, grids[0], bits)
        site = Site(operation, grids, target, self.scheme)
        self.steps.append(Step(operation.name, integer_function(site), tuple(sources)))
        self.grids[operation.name] = target

    def _target(self, operation: Operation, source: Grid, bits: int) -> Grid:
        if operation.kind == "SOFTMAX":
            return SOFTMAX_GRID
        if operation.kind in KEEP_GRID:
            return source
        return self.scheme.grid(operation.output, bits)

    def _narrowed(self, value: Value, bits: int) -> str:
        """The name of a tensor as a layer of so many bits reads it. 8 bits are read in 16 as they are:
        nothing is lost.

        A tensor of 16 bits is rescaled for a layer of 8: the change of precision that the vendor's compiler
        puts in as well.
        """
        if self.grids[value.name].bits <= bits:
            return value.name
        name = f"{value.name} in {bits} bits"
        if name not in self.grids:
            self.grids[name] = self.scheme.grid(value, bits)
            self.steps.append(Step(name, rescale(self.grids[value.name], self.grids[name]), (value.name,)))
        return name
