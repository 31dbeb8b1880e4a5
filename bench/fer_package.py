"""The other side of bench/pipeline.py: the package `fer` reads a video. Runs in an environment of its own,
without fer_hailo.

Takes one JSON line for each order on standard input and answers with one on standard output: {"video",
"variant": "tflite" or "keras", "threads": OpenCV's, "parts"} -> {"seconds", "boxes": for each frame those of
its faces, [x, y, width, height], "ms": {part: a frame}, "alone_ms": the network's own time}; ms only where
"parts" is true. All else is as the package's own defaults have it.
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
    reader = _reader(order["variant"])
    capture, found = cv2.VideoCapture(order["video"], cv2.CAP_FFMPEG), []
    spent = dict.fromkeys(("read", "detect", "classify"), 0.0)

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
            found.append(timed("classify", reader.detect_emotions, image, face_rectangles=boxes))
        else:
            found.append(reader.detect_emotions(image))
    seconds = time.perf_counter() - start
    ms = {part: 1000 * taken / len(found) for part, taken in spent.items()}
    return {
        "seconds": seconds,
        "boxes": [[list(map(int, face["box"])) for face in faces] for faces in found],
        "ms": ms if order["parts"] else {},
        "alone_ms": _alone_ms(order["variant"]),
    }


@functools.cache
def _reader(variant: str):
    from fer.fer import FER

    return FER(use_tflite=variant == "tflite")


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
