"""Would an input of one grey channel be faster? The network's three inputs are copies of one.

    python bench/grey_input.py [FOLDER ...]      as bench/int8.py; the released ones

The INT8 network as it is, with the sum of its first kernel over the three channels on one (in float the same
function: the logits are compared), and that on 80 px without the first stride, which computes as much. By
turns, one image, one thread.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.int8 import RELEASED, medians, place_of
from fer_hailo.common.cli import Parser, run
from fer_hailo.common.errors import UserError
from fer_hailo.deploy.bundle import FLOAT, INT8
from fer_hailo.training.convert.flatbuffer import bytes_of, constant, object_of, operators, replace_constant

TURNS = 100
NAMES = ("RGB", "grey", "grey, 80 px")


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", default=RELEASED)
    for folder in parser.parse_args(argv).folders:
        exact, rounded = ((place_of(folder) / file).read_bytes() for file in (FLOAT, INT8))
        times = medians([rounded, grey(rounded, np.int8), grey(rounded, np.int8, halved=True)], TURNS)
        ratios = ", ".join(f"{what} {time:.3f} ms" for what, time in zip(NAMES, times, strict=True))
        print(f"{folder}: {ratios}; logits apart by {difference(exact):.1e} in float", flush=True)


def grey(content: bytes, dtype: type, halved: bool = False) -> bytes:
    """The network with one input channel; halved: of half the size, its first stride left out.

    dtype: of its kernels. The sum of an int8 kernel is cut to a third, so that it fits:
    only its time counts.
    """
    file = object_of(content)
    (graph,) = file.subgraphs
    kind, first = next(operators(file))
    image, kernel = (graph.tensors[first.inputs[place]] for place in (0, 1))
    if kind != "CONV_2D":
        raise UserError(f"the first operator is {kind}, not CONV_2D: there is no first kernel to sum")
    values = constant(file, kernel, dtype)
    share = 1 if dtype is np.float32 else values.shape[3]
    replace_constant(file, first, 1, (values.sum(3, keepdims=True) / share).astype(dtype))
    graph.tensors[first.inputs[1]].shape = np.int32([*values.shape[:3], 1])
    side = image.shape[1] // 2 if halved else image.shape[1]
    image.shape, image.shapeSignature = np.int32([1, side, side, 1]), None
    if halved:
        first.builtinOptions.strideH = first.builtinOptions.strideW = 1
    return bytes_of(file)


def difference(content: bytes) -> float:
    """The largest one between the logits of both float networks on an image drawn by chance."""
    from ai_edge_litert.interpreter import Interpreter

    found = []
    for network in (content, grey(content, np.float32)):
        interpreter = Interpreter(model_content=network)
        interpreter.allocate_tensors()
        (image,) = interpreter.get_input_details()
        one = np.random.default_rng(0).uniform(-1, 1, [*image["shape"][:3], 1]).astype(np.float32)
        interpreter.set_tensor(image["index"], np.broadcast_to(one, image["shape"]).copy())
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return float(np.abs(found[0] - found[1]).max())


if __name__ == "__main__":
    sys.exit(run(main))
