"""INT8 accuracy of a converted run by several ways of quantizing it: the table of docs/converting.md.

python bench/quantizers.py RUN        a run folder that convert_tflite.py has been through; some 5 minutes on
2 cores
"""

import contextlib
import io
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from fer_hailo.common.cli import Parser, run
from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import normalise
from fer_hailo.common.runs import MODEL
from fer_hailo.deploy.bundle import FLOAT, INT8, load_bundle
from fer_hailo.predict.litert import LiteRT
from fer_hailo.training.convert.bias_correction import correct_biases
from fer_hailo.training.convert.cleanup import CLEAN
from fer_hailo.training.convert.quantise import quantise_with
from fer_hailo.training.convert.ranges import WHOLE, limits_of, tensor_ranges


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("run", type=Path)
    arguments = parser.parse_args(argv)
    bundle = load_bundle(arguments.run / "deploy")
    pictures, calibration = bundle.evaluation(), bundle.calibration()
    val = pictures.take(pictures.split == "val")

    def show(name: str, path: Path) -> None:
        try:
            logits = LiteRT(path).logits(val.images, bundle.spec)
        except UserError as error:
            print(f"{name}: {error}", flush=True)
            return
        noise = 10 * np.log10(val.logits.var() / max(((logits - val.logits) ** 2).mean(), 1e-12))
        print(f"{name}: {(logits.argmax(axis=1) == val.labels).mean():.2%}, {noise:.1f} dB", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "candidate.tflite"
        show("float", bundle.folder / FLOAT)
        for file in (MODEL, CLEAN):
            for name, make in (("TensorFlow", _tensorflow), ("ai-edge-quantizer", _edge_quantizer)):
                path.write_bytes(make(arguments.run / file, calibration, bundle.spec))
                show(f"{name}, {file}", path)
        source = bundle.folder / FLOAT
        ranges = tensor_ranges(source, calibration, bundle.spec)
        means = {name: tensor.mean for name, tensor in ranges.items()}
        for percentile in (WHOLE, "99.97"):
            path.write_bytes(
                quantise_with(source, limits_of(ranges, bundle.network, percentile), bundle.spec)
            )
            show(f"deploy/{FLOAT}, ranges to the percentile {percentile}", path)
            path.write_bytes(correct_biases(path.read_bytes(), source.read_bytes(), means))
            show("the same, biases corrected", path)
        show(f"what conversion chose, deploy/{INT8}", bundle.folder / INT8)


def _saved(model: Path, folder: str) -> None:
    import keras
    import tensorflow as tf

    network, archive = keras.models.load_model(model, compile=False), keras.export.ExportArchive()
    archive.track(network)
    image = tf.TensorSpec((1, *network.input_shape[1:]), tf.float32, name="image")
    archive.add_endpoint("serve", lambda image: network(image, training=False), input_signature=[image])
    archive.write_out(folder, verbose=False)


def _tensorflow(model: Path, calibration: np.ndarray, spec) -> bytes:
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        _saved(model, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([normalise(image[None], spec)] for image in calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        return converter.convert()


def _edge_quantizer(model: Path, calibration: np.ndarray, spec) -> bytes:
    import tensorflow as tf
    from ai_edge_quantizer import quantizer, recipe

    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        _saved(model, folder)
        path = Path(folder) / "float.tflite"
        path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())
        worker = quantizer.Quantizer(str(path))
        worker.load_quantization_recipe(recipe.static_wi8_ai8())
        found = worker.calibrate(
            {"serving_default": [{"image": normalise(image[None], spec)} for image in calibration]}
        )
        return bytes(worker.quantize(found).quantized_model)


if __name__ == "__main__":
    sys.exit(run(main))
