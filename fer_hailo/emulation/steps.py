"""A network as a list of steps, each a function of earlier results: how the float and the integer network
run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from fer_hailo.common.errors import UserError
from fer_hailo.formats.tflite_graph import Operation

Result = TypeVar("Result")
Visit = Callable[[str, np.ndarray], None]  # is shown tensors by name
BATCH = 8  # images whose largest tensors stay in the processor's cache


class NotEmulated(UserError):
    """The network has an operator, or a form of one, that is not emulated."""

    def __init__(self, operation: Operation, why: str = ""):
        super().__init__(f"{operation.name} ({operation.kind}) is not emulated{why and f': {why}'}")


@dataclass(frozen=True)
class Step:
    """name: of the result; function: of the results that `inputs` names, arrays whose first axis are the
    images.
    """

    name: str
    function: Callable[..., np.ndarray]
    inputs: tuple[str, ...]


def run(
    steps: Sequence[Step], source: str, values: np.ndarray, target: str, visit: Visit | None = None
) -> np.ndarray:
    """The result called `target` for the input `values` called `source`. visit: is shown each result with its
    name, the input too.

    A result is forgotten after its last reader: only a few tensors are held at a time.
    """
    last = {name: number for number, step in enumerate(steps) for name in step.inputs}
    held = {source: values}
    if visit:
        visit(source, values)
    for number, step in enumerate(steps):
        result = step.function(*(held[name] for name in step.inputs))
        if visit:
            visit(step.name, result)
        for name in {name for name in step.inputs if last[name] == number and name != target}:
            del held[name]
        if step.name in last or step.name == target:
            held[step.name] = result
    return held[target]


def in_batches(
    function: Callable[[np.ndarray], Result], images: np.ndarray, size: int = BATCH
) -> Iterator[Result]:
    """`function` of one batch after the other, on all processors at once: numpy lets go of Python's lock
    while it computes.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(function, (images[start : start + size] for start in range(0, len(images), size)))
