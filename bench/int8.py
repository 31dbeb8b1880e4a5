"""Time of one image, INT8 against float TFLite, one thread, in turns. The goal is a ratio of at most 1.0.

    python bench/int8.py [FOLDER ...]      bundles, run folders or released folders [the released ones]

Where INT8 is slower, the share of each kind of operator follows, and who computes it: the delegate (XNNPACK)
or LiteRT's own kernels. LiteRT's Python package has no profiler of operators: each one is cut out of the INT8
file as a network of its own, and timed by itself.
"""

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from fer_hailo.common.cli import Parser, run
from fer_hailo.common.errors import UserError
from fer_hailo.common.runs import RUNS
from fer_hailo.deploy.bundle import FLOAT, INT8
from fer_hailo.predict import private
from fer_hailo.training.convert.flatbuffer import bytes_of, object_of, operators

RELEASED = [RUNS / name for name in ("released", "released_minimalistic")]
WARM = 20  # runs of a network before the first that counts
IN_A_ROW = 4  # runs in a turn, of which the first, whose cache is cold, does not count


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--turns", type=int, default=100, help="turns of each network [100]")
    arguments = parser.parse_args(argv)
    if arguments.turns < 1:
        raise UserError("--turns must be 1 or more")
    for folder in arguments.folders or RELEASED:
        compare(place_of(folder), folder, arguments.turns)


def compare(place: Path, name: Path, turns: int) -> None:
    """Print both medians and their ratio; above 1.0 the shares of the INT8 network's operators too."""
    contents = [(place / file).read_bytes() for file in (FLOAT, INT8)]
    exact, rounded = medians(contents, turns)
    print(f"{name}: float {exact:.2f} ms, INT8 {rounded:.2f} ms, ratio {rounded / exact:.2f}", flush=True)
    if rounded > exact:
        rows = shares(contents[1])
        whole = sum(seconds for _, _, seconds, _ in rows)
        for kind, count, seconds, delegated in rows:
            by = "XNNPACK" if delegated else "LiteRT"
            print(f"  {kind:<18} {count:>3} x   {seconds / whole:>4.0%}   {by}")


def medians(contents: list[bytes], turns: int) -> list[float]:
    """Median time of one image of each network, milliseconds, all by turns."""
    networks, times = [_opened(content) for content in contents], [[] for _ in contents]
    for turn in range(turns + 1):
        for network, found in zip(networks, times, strict=True):
            seconds = [_timed(network) for _ in range(IN_A_ROW if turn else WARM)]
            found += seconds[1:] if turn else []
    return [1000 * float(np.median(found)) for found in times]


def shares(content: bytes) -> list[tuple[str, int, float, bool]]:
    """(kind, how many, seconds of all, whether XNNPACK computes them) of the operators, the slowest first."""
    found: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for number, (kind, _) in enumerate(operators(object_of(content))):
        network = _opened(_alone(content, number))
        delegated = any(operator["op_name"] == "DELEGATE" for operator in private.operator_details(network))
        found[kind, delegated].append(float(np.median([_timed(network) for _ in range(3 * WARM)][WARM:])))
    rows = [(kind, len(seconds), sum(seconds), delegated) for (kind, delegated), seconds in found.items()]
    return sorted(rows, key=lambda row: -row[2])


def _alone(content: bytes, number: int) -> bytes:
    """A network of one operator of the file."""
    file = object_of(content)
    (graph,) = file.subgraphs
    operator = graph.operators[number]
    sources = [i for i in operator.inputs if i >= 0 and file.buffers[graph.tensors[i].buffer].data is None]
    graph.operators, graph.inputs, graph.outputs = [operator], np.int32(sources), np.int32(operator.outputs)
    file.signatureDefs = None
    return bytes_of(file)


def _opened(content: bytes):
    """An interpreter with one thread and inputs drawn by chance."""
    from ai_edge_litert.interpreter import Interpreter

    network, rng = Interpreter(model_content=content, num_threads=1), np.random.default_rng(0)
    network.allocate_tensors()
    for detail in network.get_input_details():
        network.set_tensor(detail["index"], rng.integers(-100, 100, detail["shape"]).astype(detail["dtype"]))
    return network


def _timed(network) -> float:
    start = time.perf_counter()
    network.invoke()
    return time.perf_counter() - start


def place_of(folder: Path) -> Path:
    """The folder that holds both files: that one, or its deploy/."""
    for place in (folder, folder / "deploy"):
        if (place / FLOAT).is_file() and (place / INT8).is_file():
            return place
    raise UserError(f"{folder} holds no {FLOAT} and {INT8}: give a bundle, a converted run or a release")


if __name__ == "__main__":
    sys.exit(run(main))
