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
    workers = _litert(probe, spec) if pays else [_keras(probe, spec)]

    def watch(images: Images, label: str) -> Iterator[Values]:
        starts = range(0, len(images), CHUNK)
        chunks = (images[start : start + CHUNK] for start in starts)
        for found in track(shared_out(workers, chunks), len(images), label, each=CHUNK):
            yield {name: np.asarray(found[str(number)]) for number, name in enumerate(names)}

    return watch


def _keras(probe: keras.Model, spec: PreprocessSpec) -> Callable[[Images], Values]:
    """A function of a chunk of cached images."""
    return lambda images: probe.predict_on_batch(
        normalise(np.stack([prepare(image, spec) for image in images]), spec)
    )


def _litert(probe: keras.Model, spec: PreprocessSpec) -> list[Callable[[Images], Values]]:
    """The same for each core."""
    content = flatbuffer_of(probe)

    def worker() -> Callable[[Images], Values]:
        with held():
            interpreter = interpreter_of(content)
            interpreter.allocate_tensors()
        signature = interpreter.get_signature_runner()
        source = interpreter.tensor(signature.get_input_details()["image"]["index"])
        made = {
            name: interpreter.tensor(detail["index"])
            for name, detail in signature.get_output_details().items()
        }

        def compute(images: Images) -> Values:
            # One by one, as arrays of a whole chunk leave the processor's cache
            found = {
                name: np.empty((len(images), *tensor().shape[1:]), "f4") for name, tensor in made.items()
            }
            for number, image in enumerate(images):
                source()[0] = normalise(prepare(image, spec), spec)
                interpreter.invoke()
                for name, tensor in made.items():
                    found[name][number] = tensor()[0]
            return found

        return compute

    return [worker() for _ in range(cores())]
