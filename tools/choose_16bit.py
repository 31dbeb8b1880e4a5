"""Which layers of a network gain most from 16 bits: the quantization_param line of a model script, by
validation.

    python tools/choose_16bit.py RUN/deploy [--alls FILE]

First what each layer costs when it alone has 8 bits (mean KL divergence of the predictions from the float
network's), beside its own noise with an exact input. Then, among the dearest, one after the other the layer,
alone or with those that read it, that brings the predictions nearest to float, until another one gains less
than a twentieth. What the script says of calibration and bias correction is followed, its 16-bit lines are
not. By the emulation of docs/emulation.md, not by the chip.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: the emulation has threads of its own
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from fer_hailo.common.cli import Parser, run
from fer_hailo.common.metrics import softmax
from fer_hailo.common.preprocess import normalise
from fer_hailo.common.progress import track
from fer_hailo.deploy.bundle import SCRIPT, Bundle, EvalSet, load_bundle
from fer_hailo.emulation.float_network import CURVES
from fer_hailo.emulation.noise import Noise
from fer_hailo.emulation.program import IntegerNetwork
from fer_hailo.emulation.scheme import MODES, MeasuredScheme, with_activations
from fer_hailo.emulation.stages import NARROW, Emulation, emulation_of
from fer_hailo.script.text import read_script

ENOUGH = 0.95  # another layer must bring the divergence to this part of what it was
NOISE_IMAGES = 32


class Chooser:
    """Emulations of one bundle with other layers in 16 bits."""

    def __init__(self, bundle: Bundle, script: str, mode: str, images: EvalSet, trial: int):
        self.spec, self.mode, self.images = bundle.spec, MODES[mode], images
        self.emulation: Emulation = emulation_of(bundle, script)
        self.scheme: MeasuredScheme = self.emulation.networks[NARROW].scheme
        self.few = images.quick(trial)

    def network(self, names: tuple[str, ...]) -> IntegerNetwork:
        graph = self.emulation.exact.graph
        precisions = with_activations(graph, dict.fromkeys(names, self.mode))
        return IntegerNetwork(graph, MeasuredScheme(self.scheme.ranges, precisions, self.scheme.correct))

    def score(self, names: tuple[str, ...], images: EvalSet) -> tuple[float, float, float]:
        """(mean KL from the float predictions, nats; accuracy; part of the predictions that are float's)."""
        answers, exact = softmax(self.network(names).logits(images.images, self.spec)), softmax(images.logits)
        divergence = (exact * np.log((exact + 1e-9) / (answers + 1e-9))).sum(axis=1).mean()
        found = answers.argmax(axis=1)
        return (
            float(divergence),
            float((found == images.labels).mean()),
            float((found == exact.argmax(axis=1)).mean()),
        )

    def own_noise(self) -> dict[str, float]:
        """Each layer's own signal-to-noise ratio, dB: with an exact input, rounded to its 8 bits. The worst
        first; activations are counted with the layer that they belong to."""
        noise, exact, rounded = Noise(), self.emulation.exact, self.network(())
        images = self.images.images[:NOISE_IMAGES]
        values: dict[str, np.ndarray] = {}
        exact.run(normalise(images, self.spec), values.__setitem__)
        for step in rounded.steps:
            made = step.function(*(rounded.grids[name].whole(values[name]) for name in step.inputs))
            noise.add(step.name, values[step.name], rounded.grids[step.name].real(made))
        curves = {operation.name for operation in exact.graph.operations if operation.kind in CURVES}
        return {name: ratio for name, ratio in noise.ratios().items() if name not in curves}

    def costs(self, layers: list[str], count: int) -> dict[str, float]:
        """What each layer costs alone, the dearest first: the divergence with it in 8 bits and all others in
        16.
        """
        images, graph = self.few.quick(count), self.emulation.exact.graph
        part_of = {name: name for name in layers}
        for operation in graph.operations:
            part_of.setdefault(operation.name, part_of.get(operation.sources[0], ""))
        found = {}
        for layer in track(layers, len(layers), "the cost of each layer"):
            wide = tuple(name for name, owner in part_of.items() if owner != layer)
            found[layer] = self.score(wide, images)[0]
        return dict(sorted(found.items(), key=lambda entry: -entry[1]))

    def readers(self) -> dict[str, tuple[str, ...]]:
        """Which layers read each layer, its activation being part of it."""
        operations = self.emulation.exact.graph.operations
        owner = {operation.name: operation.name for operation in operations}
        for operation in operations:
            if operation.kind in CURVES:
                owner[operation.name] = owner.get(operation.sources[0], operation.name)
        found: dict[str, dict[str, None]] = {name: {} for name in owner}
        for operation in operations:
            for name in operation.sources:
                if name in owner and owner[name] != owner[operation.name]:
                    found[owner[name]][owner[operation.name]] = None
        return {name: tuple(others) for name, others in found.items()}

    def choose(self, dear: list[str], most: int) -> list[tuple[str, ...]]:
        """Sets of layers, each one larger than the one before, the empty one first; at most so many layers.

        A layer is tried alone and with those that read it: an 8-bit reader takes away what 16 bits have
        gained. Each layer that is added must bring the divergence to ENOUGH of what it was.
        """
        readers, sets, best = self.readers(), [()], self.score((), self.few)[0]
        while True:
            tried: dict[tuple[str, ...], float] = {}
            for name in dear:
                for group in ((name,), (name, *readers[name])):
                    names = (*sets[-1], *(one for one in group if one not in sets[-1]))
                    if names not in tried and len(sets[-1]) < len(names) <= most:
                        tried[names] = self.score(names, self.few)[0]
            worth = {
                names: divergence / ENOUGH ** (len(names) - len(sets[-1]))
                for names, divergence in tried.items()
            }
            names = min(worth, key=worth.get, default=())
            if not names or worth[names] > best:
                return sets
            added = " and ".join(names[len(sets[-1]) :])
            print(f"  + {added}: divergence {best:.4f} to {tried[names]:.4f}", file=sys.stderr, flush=True)
            sets, best = [*sets, names], tried[names]


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="folder that convert_tflite.py made")
    parser.add_argument("--alls", type=Path, metavar="FILE", help="model script [the bundle's]")
    parser.add_argument(
        "--mode", choices=("a16_w16", "a16_w8"), default="a16_w16", help="what the layers get [a16_w16]"
    )
    parser.add_argument(
        "--count", type=int, default=1000, metavar="N", help="validation images for the table [1000]"
    )
    parser.add_argument(
        "--trial", type=int, default=250, metavar="N", help="of them, those on which layers are tried [250]"
    )
    parser.add_argument(
        "--candidates",
        type=int,
        default=12,
        metavar="N",
        help="how many of the dearest layers are tried [12]",
    )
    parser.add_argument("--most", type=int, default=5, metavar="N", help="layers in 16 bit [5]")
    arguments = parser.parse_args(argv)
    bundle = load_bundle(arguments.bundle)
    pictures = bundle.evaluation()
    images = pictures.take(pictures.split == "val").quick(arguments.count)
    script = read_script(arguments.alls or bundle.folder / SCRIPT)
    chooser = Chooser(bundle, script, arguments.mode, images, arguments.trial)
    noise = chooser.own_noise()
    costs = chooser.costs(list(noise), arguments.trial // 3)
    candidates = list(costs)[: arguments.candidates]
    print("| layer alone in 8 bit | divergence | own noise, dB |\n|---|---|---|")
    for name in candidates:
        print(f"| {name} | {costs[name]:.4f} | {noise[name]:.1f} |", flush=True)
    sets = chooser.choose(candidates, arguments.most)
    print(
        f"| in 16 bit ({arguments.mode}) | divergence | accuracy ({len(images.labels):,} images) | float's "
        "prediction |\n|---|---|---|---|"
    )
    exact = float((images.logits.argmax(axis=1) == images.labels).mean())
    print(f"| float | 0 | {exact:.2%} | 100.00% |", flush=True)
    for names in sets:
        divergence, accuracy, same = chooser.score(names, images)
        title = ", ".join(names) or "nothing"
        print(f"| {title} | {divergence:.4f} | {accuracy:.2%} | {same:.2%} |", flush=True)
    if sets[-1]:
        quoted = ", ".join(f'"{name}"' for name in sets[-1])
        print(f"quantization_param([{quoted}], precision_mode={arguments.mode})")


if __name__ == "__main__":
    sys.exit(run(main))
