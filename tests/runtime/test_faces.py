import numpy as np
import pytest
from conftest import error_line

from fer_hailo.errors import UserError
from fer_hailo.files import read_csv
from fer_hailo.runtime.faces import crop, open_detector


def photo(shared):
    import cv2

    return cv2.imread(str(shared / "data/photos/astronaut.png"))[..., ::-1]


@pytest.mark.parametrize("model", [None, "data/detectors/yunet_n_640_640.onnx"])
def test_the_one_face_of_the_photograph(shared, model):
    faces = open_detector(shared / model if model else None).find(np.ascontiguousarray(photo(shared)))
    x, y, width, height = faces[0].box
    assert abs(x + width / 2 - 223) < 20 and abs(y + height / 2 - 120) < 25 and 60 < width < 140  # the face, seen by eye


def test_no_face_in_noise():
    assert open_detector().find(np.random.default_rng(0).integers(0, 256, (120, 120, 3), dtype=np.uint8)) == []


def test_crop_by_hand():
    image = np.arange(100, dtype=np.uint8).reshape(10, 10)
    assert (crop(image, (2, 3, 4, 4), 0) == image[3:7, 2:6]).all()
    assert (crop(image, (2, 3, 4, 2), 0) == image[2:6, 2:6]).all()  # square around the middle
    assert crop(image, (2, 2, 4, 4), 0.5).shape == (6, 6)
    corner = crop(image, (-2, -2, 4, 4), 0)
    assert corner.shape == (4, 4) and (corner[:3, :3] == 0).all() and corner[3, 3] == 11


def test_detector_files_that_do_not_work(tmp_path):
    with pytest.raises(UserError, match="no face detector at"):
        open_detector(tmp_path / "x.onnx")
    (tmp_path / "x.onnx").write_bytes(b"junk")
    with pytest.raises(UserError, match="no YuNet model"):
        open_detector(tmp_path / "x.onnx")


def test_crop_faces_command(command, shared, tmp_path):
    import cv2

    for label in ("happy", "angry"):
        (tmp_path / "photos" / label).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "photos/happy/astronaut.png"), photo(shared)[..., ::-1])
    cv2.imwrite(str(tmp_path / "photos/happy/astronaut.jpg"), photo(shared)[..., ::-1])
    cv2.imwrite(str(tmp_path / "photos/angry/wall.png"), np.full((200, 200, 3), 128, np.uint8))
    (tmp_path / "photos/angry/broken.jpg").write_bytes(b"junk")
    result = command("tools/crop_faces.py", "photos", "faces")
    assert result.returncode == 1 and "2 of 4 pictures gave faces" in result.stdout, result.stderr
    rows = {row["id"]: row for row in read_csv(tmp_path / "faces/report.csv")}
    assert rows["angry/wall.png"]["problem"] == "no face found" and rows["angry/broken.jpg"]["problem"] == "is not a picture"
    face = cv2.imread(str(tmp_path / "faces/happy/astronaut_png_0.png"))
    assert face.shape[0] == face.shape[1] > 60 and (tmp_path / "faces/happy/astronaut_jpg_0.png").is_file()
    assert "not an empty folder" in error_line(command("tools/crop_faces.py", "photos", "faces"))


def test_crop_faces_mistakes(command, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no folder at none" in error_line(command("tools/crop_faces.py", "none", "out"))
    assert "holds no pictures" in error_line(command("tools/crop_faces.py", "empty", "out"))
