"""The values inside of a network over many images, on all cores.

LiteRT needs a third of the time that TensorFlow does for the same float network, so each change of it is
judged, and its dead units are found, by LiteRT. For few images, for which making a TFLite does not pay, and
on another backend than TensorFlow, from which none can be made, Keras computes them itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import keras
import numpy as np

from fer_hailo.common.preprocess import PreprocessSpec, normalise, prepare
from fer_hailo.common.progress import track
from fer_hailo.common.quiet import held
from fer_hailo.common.workers import cores, shared_out
from fer_hailo.predict.litert import interpreter_of
from fer_hailo.training.convert.tflite import flatbuffer_of
from fer_hailo.training.data.rows import Images

CHUNK = 64
MANY = 4096  # images from which making a TFLite pays
Values = dict[str, np.ndarray]
Watch = Callable[[Images, str], Iterator[Values]]


def watcher(model: keras.Model, names: list[str], spec: PreprocessSpec, most: int) -> Watch:
    """A function of (images, label) that yields, chunk by chunk in the images' order, the outputs of some
    operations: float32 (n, ...) by name.

    model: Functional, one input. names: of its operations. most: how many images will be watched at once.
    images: uint8 (N, S, S[, 3]) cached images. label: what the progress line says.
    """
    outputs = {operation.name: operation.output for operation in model.operations}
    # Numbers for keys, since not every name is one for TensorFlow's signatures
    probe = keras.Model(model.input, {str(number): outputs[name] for number, name in enumerate(names)})
    pays = most >= MANY and keras.backend.backend() == "tensorflow"
    workers = _litert(probe) if pays else [probe.predict_on_batch]

    def watch(images: Images, label: str) -> Iterator[Values]:
        starts = range(0, len(images), CHUNK)
        inputs = (
            normalise(np.stack([prepare(image, spec) for image in images[start : start + CHUNK]]), spec)
            for start in starts
        )
        for found in track(shared_out(workers, inputs), len(starts), label):
            yield {name: np.asarray(found[str(number)]) for number, name in enumerate(names)}

    return watch


def _litert(probe: keras.Model) -> list[Callable[[np.ndarray], Values]]:
    """A function for each core, of normalised inputs float32 (n, I, I, 3)."""
    content = flatbuffer_of(probe)

    def worker() -> Callable[[np.ndarray], Values]:
        with held():
            run = interpreter_of(content).get_signature_runner()

        def compute(inputs: np.ndarray) -> Values:
            rows = [run(image=image[None]) for image in inputs]
            return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

        return compute

    return [worker() for _ in range(cores())]
