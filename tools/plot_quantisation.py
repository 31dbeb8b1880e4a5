"""Draw what INT8 does to each layer of a network: before its treatment, and after.

    git show OLD:fer2013_keras_hailo/released/model_float32.tflite > old.tflite
    python tools/plot_quantisation.py old.tflite RUN docs/quantisation_full.png

old.tflite: the float network of a conversion before the treatment; it is quantized with the whole ranges of
the calibration images. RUN: a run folder, or a copy of a released one, that convert_tflite.py went through.
Above: signal-to-noise ratio of each layer's output against the float network, 64 validation images. Below:
the part of each tensor's 8-bit range in which 99.9 % of its values lie.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from fer_hailo.common.cli import Parser, run
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.deploy.bundle import FLOAT, INT8, load_bundle
from fer_hailo.emulation.noise import Noise
from fer_hailo.formats.tflite import read_tflite, single
from fer_hailo.predict.litert import LiteRT
from fer_hailo.training.convert.quantise import quantise_with
from fer_hailo.training.convert.ranges import WHOLE, tensor_ranges
from fer_hailo.training.evaluate.plots import new_figure, save_figure

IMAGES = 64
INNER = (0.05, 99.95)


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, metavar="OLD.tflite")
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("out", type=Path, metavar="OUT.png")
    arguments = parser.parse_args(argv)
    bundle = load_bundle(arguments.run / "deploy")
    evaluation = bundle.evaluation()
    images = evaluation.images[evaluation.split == "val"][:IMAGES]
    new = bundle.folder / FLOAT
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.tflite"
        ranges = tensor_ranges(arguments.old, bundle.calibration(), bundle.spec)
        limits = {name: tensor.ends[WHOLE] for name, tensor in ranges.items()}
        plain.write_bytes(quantise_with(arguments.old, limits, bundle.spec))
        series = {
            "before: whole ranges": layer_quality(arguments.old, plain, images, bundle.spec),
            "after": layer_quality(new, bundle.folder / INT8, images, bundle.spec),
        }
    layers = [layer.name for layer in read_tflite(new).layers]
    for name, (ratios, _) in series.items():
        print(
            f"{name}: median signal-to-noise ratio {np.median(list(ratios.values())):.1f} dB, predictions "
            f"{ratios[layers[-1]]:.1f} dB"
        )
    _plot(arguments.out, layers, series)


def layer_quality(float32: Path, int8: Path, images: np.ndarray, spec: PreprocessSpec) -> tuple[dict, dict]:
    """({layer: signal-to-noise ratio in dB}, {layer: used part of its 8-bit range, 0..1}), by the float
    network's names: a tensor `..._x6` of the INT8 file counts as a sixth of it. images: uint8 (N, I, I, 3).
    """
    exact, rounded = (LiteRT(path, keep_tensors=True) for path in (float32, int8))
    steps = {single(name)[0]: step / single(name)[1] for name, step in rounded.scales().items()}
    noise, values = Noise(), {}
    for image in images:
        found = {
            single(name)[0]: tensor / single(name)[1] for name, tensor in rounded.tensors(image, spec).items()
        }
        for name, tensor in exact.tensors(image, spec).items():
            if name in found and found[name].shape == tensor.shape:
                noise.add(name, tensor, found[name])
                values.setdefault(name, []).append(tensor.ravel())
    used = {}
    for name, parts in values.items():
        low, high = np.percentile(np.concatenate(parts), INNER)
        used[name] = float(min(1, (high - low) / (255 * steps[name])))
    return noise.ratios(), used


def _plot(path: Path, layers: list[str], series: dict[str, tuple[dict, dict]]) -> None:
    figure, (above, below) = new_figure(12, 7, rows=2, sharex=True)
    for name, found in series.items():
        for axis, numbers, factor in zip((above, below), found, (1, 100), strict=True):
            places = [i for i, layer in enumerate(layers) if layer in numbers]
            axis.plot(places, [factor * numbers[layers[i]] for i in places], label=name)
    above.set(ylabel="signal-to-noise ratio, dB", title=f"INT8 throughout, {IMAGES} validation images")
    below.set(ylabel="of the 8-bit range used, %", ylim=(0, 105))
    below.set_xticks(range(len(layers)), layers, rotation=90, fontsize=6)
    above.legend()
    save_figure(figure, path, dpi=90)


if __name__ == "__main__":
    sys.exit(run(main))
