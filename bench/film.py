"""The video of bench/pipeline.py, and where its faces are: a photograph three times in a row, panned, zoomed
and tilted.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from fer_hailo.board.faces import open_detector
from fer_hailo.board.images import read_picture, to_bgr
from fer_hailo.common.errors import UserError

WIDTH, HEIGHT, RATE = 640, 480, 30
SIZES = (1.0, 0.8, 1.2)  # of the three copies, the second one mirrored, in parts of PHOTO
PHOTO = 512  # pixels of the photograph's shorter side in the scene
TILT = 6.0  # degrees


def write_film(path: Path, photo: Path, frames: int) -> list[np.ndarray]:
    """Write an MP4 of so many frames, WIDTH x HEIGHT.

    Returns for each frame the faces that show their middle: float (F, 3), its x and y and the face's width,
    in pixels. Raises UserError where the photograph has no face.
    """
    import cv2

    scene, faces = _scene(photo)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), RATE, (WIDTH, HEIGHT))
    if not writer.isOpened():
        raise UserError("this OpenCV cannot write MP4 files: install opencv-python")
    told = []
    for turn in np.linspace(0, 2 * np.pi, frames):
        scale = 0.9 - 0.2 * np.cos(2 * turn)
        middle = scene.shape[1] * (0.5 - 0.3 * np.cos(turn)), scene.shape[0] * (0.4 + 0.05 * np.sin(3 * turn))
        matrix = cv2.getRotationMatrix2D(middle, TILT * np.sin(2 * turn), scale)
        matrix[:, 2] += np.array([WIDTH, HEIGHT]) / 2 - middle
        frame = cv2.warpAffine(scene, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
        writer.write(to_bgr(frame))
        places = faces[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        inside = ((places >= 0) & (places < (WIDTH, HEIGHT))).all(1)
        told.append(np.column_stack([places, faces[:, 2] * scale])[inside])
    writer.release()
    return told


def on_faces(boxes: list, faces: np.ndarray) -> int:
    """How many of a frame's faces have a box: its middle within half of the face's width of the face's, and
    half to twice as wide.
    """
    count = 0
    for x, y, width in faces:
        count += any(
            np.hypot(left + wide / 2 - x, top + high / 2 - y) < width / 2 and width / 2 < wide < 2 * width
            for left, top, wide, high in boxes
        )
    return count


def _scene(photo: Path) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (H, W, 3) RGB, and its faces, float (3, 3): x, y of the middle, width."""
    import cv2

    try:
        picture = read_picture(photo)
    except ValueError as error:
        raise UserError(f"{photo} {error}") from None
    found = open_detector().find(picture)
    if not found:
        raise UserError(f"{photo} shows no face: give another --photo, with a face seen from the front")
    x, y, wide, high = found[0].box
    parts, faces, left = [], [], 0
    for number, size in enumerate(SIZES):
        scale = size * PHOTO / min(picture.shape[:2])
        part = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        middle = scale * (x + wide / 2)
        if number % 2:
            part, middle = part[:, ::-1], part.shape[1] - middle
        faces.append((left + middle, scale * (y + high / 2), scale * wide))
        parts.append(part)
        left += part.shape[1]
    tallest = max(len(part) for part in parts)
    rows = [cv2.copyMakeBorder(p, 0, tallest - len(p), 0, 0, cv2.BORDER_REPLICATE) for p in parts]
    return np.hstack(rows), np.array(faces)
