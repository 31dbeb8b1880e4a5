"""Another package's network on prepared faces, as that package prepares them. Runs in its own environment,
without fer_hailo.

    python peer.py NAME FACES.npy ANSWERS.npz

FACES: uint8 (N, 48, 48), grey, cut as FER2013 cuts them; no detector runs. ANSWERS gets probabilities float
(N, 7), labels str (7,) in FER2013's words, parameters, times_ms float (T,): the first hundred faces once
more, one by one, one thread, from bytes to probabilities.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

TIMED = 100


def main(name: str, faces: str, answers: str) -> None:
    import numpy as np

    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    program = {
        "fer-tflite": fer_tflite,
        "fer-keras": fer_keras,
        "facial_emotion_recognition": torch_network,
        "facex": facex_tflite,
        "face-api": face_api,
    }[name]
    np.savez(answers, **program(np.load(faces)))


def fer_tflite(faces) -> dict:
    return _fer(faces, use_tflite=True)


def fer_keras(faces) -> dict:
    return _fer(faces, use_tflite=False)


def _fer(faces, use_tflite: bool) -> dict:
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

    return _answers(faces, classify, [reader._get_labels()[number] for number in range(7)], parameters)


def torch_network(faces) -> dict:
    """The package facial_emotion_recognition, from the cut face on: its own transform and network."""
    import facial_emotion_recognition
    import numpy as np
    import torch
    from facial_emotion_recognition.networks import NetworkV2
    from torchvision import transforms

    torch.set_num_threads(1)
    network = NetworkV2(in_c=1, nl=32, out_f=7)
    weights = Path(facial_emotion_recognition.__file__).parent / "model" / "model.pkl"
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
    return _answers(faces, classify, labels, sum(p.numel() for p in network.parameters()))


def facex_tflite(faces) -> dict:
    """The package facex, from its cut of a Haar box on: detect_emotion, which enlarges the grey face to
    200x200x3, in [0, 1], with scikit-image. TFLite's interpreter takes one thread where none are named.
    """
    from facex import PoolManager

    pool = PoolManager(pool_size=1)
    reader = pool.get_classifier()
    # In the order of its own: anger, disgust, fear, happy, neutral, sadness, surprised
    labels = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]

    def classify(face):
        return list(reader.detect_emotion(face).values())

    return _answers(faces, classify, labels, _parameters(Path(pool.model_path)))


def _parameters(path: Path) -> int:
    """Constants of a TFLite file, without the whole numbers that say how to pad and reshape."""
    import numpy as np
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    held = [tensor for tensor in model.subgraphs[0].tensors if model.buffers[tensor.buffer].data is not None]
    return sum(int(np.prod(tensor.shape)) for tensor in held if tensor.type != schema.TensorType.INT32)


def face_api(faces) -> dict:
    """@vladmandic/face-api's faceExpressionNet on tfjs' WASM backend, asked by face_api.js."""
    modules, script = Path(sys.prefix) / "node_modules", Path(__file__).with_name("face_api.js")
    command = ["node", str(script), str(modules), str(faces.shape[1]), str(TIMED)]
    return json.loads(
        subprocess.run(command, input=faces.tobytes(), stdout=subprocess.PIPE, check=True).stdout
    )


def _answers(faces, classify, labels: list[str], parameters: int) -> dict:
    """classify: a face's probabilities. All faces first, which also warms up."""
    probabilities, times = [classify(face) for face in faces], []
    for face in faces[:TIMED]:
        start = time.perf_counter()
        classify(face)
        times.append(1000 * (time.perf_counter() - start))
    return {
        "probabilities": probabilities,
        "labels": labels,
        "parameters": parameters,
        "times_ms": times,
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
