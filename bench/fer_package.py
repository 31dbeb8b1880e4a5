"""The other side of bench/pipeline.py: the package `fer` reads a video. Runs in an environment of its own,
without fer_hailo.

Takes one JSON line for each order on standard input and answers with one on standard output: {"video",
"variant": "tflite" or "keras", "threads": OpenCV's, "scale_factor", "min_neighbors", "min_size", "parts"} ->
{"seconds", "faces": [number in each frame], "ms": {part: a frame}, "alone_ms": the network's own time}; ms
only where "parts" is true.
"""

import contextlib
import functools
import json
import os
import sys
import time

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # both sides on the CPU
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def main() -> None:
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # whatever the packages print is no answer
        for line in sys.stdin:
            print(json.dumps(_read(json.loads(line))), file=answers, flush=True)


def _read(order: dict) -> dict:
    import cv2

    cv2.setNumThreads(order["threads"])
    reader = _reader(order["variant"], order["scale_factor"], order["min_neighbors"], order["min_size"])
    capture, faces, spent = (
        cv2.VideoCapture(order["video"], cv2.CAP_FFMPEG),
        [],
        dict.fromkeys(("read", "detect", "classify"), 0.0),
    )

    def timed(part, function, *arguments, **options):
        begin = time.perf_counter()
        result = function(*arguments, **options)
        spent[part] += time.perf_counter() - begin
        return result

    start = time.perf_counter()
    while True:
        there, image = timed("read", capture.read)
        if not there:
            break
        if order["parts"]:  # its detection and the rest, one after the other; turns the frame to grey twice
            boxes = timed("detect", reader.find_faces, image)
            faces.append(len(timed("classify", reader.detect_emotions, image, face_rectangles=boxes)))
        else:
            faces.append(len(reader.detect_emotions(image)))
    seconds = time.perf_counter() - start
    ms = {part: 1000 * taken / len(faces) for part, taken in spent.items()}
    return {
        "seconds": seconds,
        "faces": faces,
        "ms": ms if order["parts"] else {},
        "alone_ms": _alone_ms(order["variant"]),
    }


@functools.cache
def _reader(variant: str, scale_factor: float, min_neighbors: int, min_size: int):
    from fer.fer import FER

    return FER(
        mtcnn=False,
        use_tflite=variant == "tflite",
        scale_factor=scale_factor,
        min_neighbors=min_neighbors,
        min_face_size=min_size,
    )


def _alone_ms(variant: str) -> float:
    """Median time of the network for one face, milliseconds."""
    import numpy as np
    from fer.fer import FER

    face = np.zeros((1, 64, 64, 1), np.float32)
    run = FER._tflite_interpreter_cache.invoke if variant == "tflite" else lambda: FER._model_cache(face)
    times = []
    for _ in range(40):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return 1000 * sorted(times[8:])[16]


if __name__ == "__main__":
    main()
