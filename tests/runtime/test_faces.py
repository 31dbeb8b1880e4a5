import re
import shutil

import numpy as np
import pytest
from conftest import error_line

from fer_hailo.board.faces import (
    HAAR_MARGIN,
    TEMPLATE,
    YUNET,
    Face,
    HaarDetector,
    WholePicture,
    YuNetDetector,
    _fit,
    crop,
    cut,
    find_any_way,
    open_detector,
)
from fer_hailo.board.images import read_picture, write_picture
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import read_csv

EYES_AND_MOUTH = [(204, 104), (247, 104), (224, 128), (204, 143), (243, 144)]  # of the astronaut, seen by eye


@pytest.fixture
def photo(shared):
    return read_picture(shared / "data/photos/astronaut.png")


@pytest.fixture(params=["haar", "yunet"])
def detector(request):
    return open_detector(request.param)


def middle(box):
    x, y, width, height = box
    return x + width / 2, y + height / 2


# Detectors


def test_the_one_face_of_the_photograph(detector, photo):
    face = detector.find(photo)[0]
    assert middle(face.box) == pytest.approx((223, 120), abs=20) and 60 < face.box[2] < 140  # seen by eye
    assert type(face.score) is float and all(type(value) is int for value in face.box)


def test_landmarks(photo):
    (face,) = open_detector().find(photo)
    assert np.abs(np.array(face.landmarks) - EYES_AND_MOUTH).max() < 5
    haar = HaarDetector().find(photo)[0]
    assert haar.landmarks is None and haar.margin == HAAR_MARGIN and face.margin == 0


def test_every_face_the_largest_first(detector, photo):
    import cv2

    face = photo[20:220, 120:320]
    small, wall = (
        cv2.resize(face, (120, 120), interpolation=cv2.INTER_AREA),
        np.full((300, 500, 3), 128, np.uint8),
    )
    wall[40:160, 20:140], wall[40:240, 250:450] = small, face
    large, little = detector.find(wall)
    assert large.box[2] > 1.4 * little.box[2] and middle(large.box)[0] > 250 > 140 > middle(little.box)[0]


def test_a_huge_picture(detector, photo):
    import cv2

    huge = cv2.resize(photo, (4096, 4096), interpolation=cv2.INTER_LINEAR)
    face, usual = detector.find(huge)[0], detector.find(photo)[0]
    assert np.array(face.box) / 8 == pytest.approx(usual.box, abs=15)
    if face.landmarks:
        assert np.abs(np.array(face.landmarks) / 8 - EYES_AND_MOUTH).max() < 6


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 40, 3), (5, 7, 3), (30, 30), (1, 1)])
def test_tiny_pictures_hold_no_face(detector, shape):
    assert detector.find(np.full(shape, 128, np.uint8)) == []


def test_no_face_in_noise(detector):
    assert detector.find(np.random.default_rng(0).integers(0, 256, (120, 120, 3), dtype=np.uint8)) == []


def test_a_grey_picture(detector, photo):
    grey = np.ascontiguousarray(photo.mean(2).astype(np.uint8))
    assert middle(detector.find(grey)[0].box) == pytest.approx((223, 120), abs=20)


def test_haars_parameters_are_opencvs(photo):
    import cv2

    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    for factor, neighbors, least in ((1.1, 5, 50), (1.3, 2, 30), (1.05, 0, 60)):
        expected = cascade.detectMultiScale(
            grey, scaleFactor=factor, minNeighbors=neighbors, minSize=(least, least)
        )
        found = HaarDetector(factor, neighbors, least).find(photo)
        assert sorted(face.box for face in found) == sorted(tuple(map(int, box)) for box in expected)
    assert HaarDetector(min_size=200).find(photo) == []


def test_no_detector(photo):
    assert WholePicture().find(photo[:30, :50]) == [Face((0, 0, 50, 30), 1.0)]


def test_which_detector_is_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where a file of that name changes nothing: the package's own is meant
    (tmp_path / "my_yunet.onnx").write_bytes(b"junk")
    assert type(open_detector()) is YuNetDetector and type(open_detector("yunet")) is YuNetDetector
    assert type(open_detector("haar")) is HaarDetector and type(open_detector("none")) is WholePicture
    shutil.copy(YUNET, tmp_path / "own.onnx")
    assert type(open_detector("own.onnx")) is YuNetDetector
    with pytest.raises(UserError, match="my_yunet.onnx is no YuNet model"):
        open_detector("my_yunet.onnx")
    with pytest.raises(UserError, match="no face detector at x.onnx: give yunet, haar, none, a YuNet"):
        open_detector("x.onnx")


def test_the_smaller_the_search_the_larger_the_smallest_face(photo):
    """The face is 95 pixels wide: in an image reduced to 320 pixels 59, to 40 pixels 7, too few for any."""
    for name in ("haar", "yunet"):
        detector = open_detector(name)
        whole, small = detector.find(photo)[0], detector.find(photo, 320)[0]
        assert np.array(small.box) == pytest.approx(np.array(whole.box), abs=14)
        assert detector.find(photo, 40) == []
    assert np.abs(np.array(small.landmarks) - EYES_AND_MOUTH).max() < 6


@pytest.mark.parametrize("name", ["haar", "yunet"])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_photograph_on_its_side_is_searched_turned(photo, name, turns):
    """Its face is where the upright one's is, turned; and cut upright, as the upright one is."""
    upright = np.ascontiguousarray(photo[:300, 40:440])
    lying = np.ascontiguousarray(np.rot90(upright, turns))
    detector = open_detector(name)
    wanted, (face, *_) = detector.find(upright)[0], find_any_way(detector, lying)
    expected = [(wanted.box, wanted.landmarks or ())]
    for wide in (400, 300, 400)[:turns]:  # counter-clockwise: what was right comes to the top
        (x, y, w, h), points = expected[-1]
        expected.append(((y, wide - x - w, h, w), [(v, wide - u) for u, v in points]))
    assert face.turn == turns and face.box == expected[-1][0]
    assert np.array(face.landmarks or ()) == pytest.approx(np.array(expected[-1][1]))
    difference = cut(lying, face).astype(int) - cut(upright, wanted)
    assert np.abs(difference).max() <= 8 and np.abs(difference).mean() < 0.1  # warpAffine rounds


def test_a_wall_has_no_face_however_it_is_turned():
    assert find_any_way(open_detector(), np.full((60, 80, 3), 128, np.uint8)) == []


def test_an_image_with_a_sure_face_is_not_searched_again():
    """Else the way of the highest score is the image's; upright where they are equal."""

    class Scores:
        sure = 0.8

        def __init__(self, *scores):
            self.left = list(scores)

        def find(self, image):
            return [Face((1, 2, 3, 4), score) for score in self.left.pop(0)]

    def turn(*scores):
        detector = Scores(*scores)
        (face, *_) = find_any_way(detector, np.zeros((10, 20, 3), np.uint8))
        return face.turn, len(detector.left)

    assert turn([0.3, 0.8], [0.9], [], []) == (0, 3)
    assert turn([0.79, 0.79], [0.7], [0.7], [0.79]) == (0, 0)
    assert turn([], [0.1], [], [0.2]) == (3, 0) and turn([0.3], [], [0.7, 0.1], [0.5]) == (2, 0)


# Cutting


def test_crop_by_hand():
    image = np.arange(10, 110, dtype=np.uint8).reshape(10, 10)
    assert (crop(image, (2, 3, 4, 4), 0) == image[3:7, 2:6]).all()
    assert (crop(image, (2, 3, 4, 2), 0) == image[2:6, 2:6]).all()  # square around the middle
    assert crop(image, (2, 2, 4, 4), 0.5).shape == (6, 6)
    corner = crop(image, (-2, -2, 4, 4), 0)
    assert corner.shape == (4, 4) and (corner[:3, :3] == 10).all() and corner[3, 3] == 21


def test_margins_without_landmarks():
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    whole = WholePicture().find(image[:, :60])[0]
    assert (cut(image[:, :60], whole) == image[:, :60]).all()  # none: nothing is added, nothing lost
    haar = Face((20, 10, 20, 20), 9.0, margin=0.1)
    assert (cut(image, haar) == image[9:31, 19:41]).all() and (
        cut(image, haar, 0) == image[10:30, 20:40]
    ).all()
    assert (cut(image, haar, 0.5) == image[5:35, 15:45]).all()


def placed(along: complex, corner: complex) -> tuple:
    """The template's points under p -> along * p + corner."""
    points = [along * complex(*point) + corner for point in TEMPLATE]
    return tuple((point.real, point.imag) for point in points)


def test_an_upright_face_is_a_slice():
    image = np.random.default_rng(0).integers(0, 256, (90, 100, 3), dtype=np.uint8)
    face = Face((30, 20, 40, 40), 0.9, placed(40, 30 + 20j))
    assert (cut(image, face) == image[20:60, 30:70]).all()
    # Its box needs a margin; its landmarks give the frame all the same
    tight = Face((34, 24, 32, 32), 0.9, face.landmarks, margin=0.25)
    assert (cut(image, tight) == image[20:60, 30:70]).all()
    assert (cut(image, face, 0.5) == image[10:70, 20:80]).all() and (
        cut(image, face, -0.5) == image[30:50, 40:60]
    ).all()


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_face_on_its_side_comes_back_upright(turns):
    image = np.random.default_rng(0).integers(0, 256, (90, 100, 3), dtype=np.uint8)
    points = placed(40, 30 + 20j)
    lying = image
    for _ in range(turns):  # counter-clockwise: what was right comes to the top
        points = tuple((y, lying.shape[1] - x) for x, y in points)
        lying = np.ascontiguousarray(np.rot90(lying))
    assert (cut(lying, Face((0, 0, 40, 40), 0.9, points)) == image[20:60, 30:70]).all()


def test_a_tilted_face_comes_back_upright():
    import cv2

    y, x = np.mgrid[:200, :200]
    image = np.dstack([128 + 100 * np.sin(x / 15), 128 + 100 * np.cos(y / 11), (x + y) / 2]).astype(np.uint8)
    matrix = cv2.getRotationMatrix2D((99.5, 99.5), 20, 1.5)  # of pixel centres
    tilted = cv2.warpAffine(image, matrix, (200, 200), flags=cv2.INTER_CUBIC)
    points = np.array(placed(60, 70 + 70j)) - 0.5
    moved = np.column_stack([points, np.ones(5)]) @ matrix.T + 0.5
    square = cut(tilted, Face((0, 0, 9, 9), 0.9, tuple(map(tuple, moved))))
    assert square.shape == (90, 90, 3)  # 1.5 x 60
    back = cv2.resize(square, (60, 60), interpolation=cv2.INTER_AREA)
    assert np.abs(back.astype(int) - image[70:130, 70:130]).mean() < 2


def test_the_fit_is_the_least_squares_one():
    rng = np.random.default_rng(0)
    for _ in range(20):
        points = np.array(
            placed(complex(*rng.normal(0, 50, 2)), complex(*rng.normal(0, 50, 2)))
        ) + rng.normal(0, 3, (5, 2))
        # x = a u - b v + c, y = b u + a v + d: four unknowns, ten equations
        rows = [row for u, v in TEMPLATE for row in ((u, -v, 1, 0), (v, u, 0, 1))]
        a, b, c, d = np.linalg.lstsq(np.array(rows), points.ravel(), rcond=None)[0]
        assert np.allclose(_fit(tuple(map(tuple, points))), [complex(a, b), complex(c, d)])


def test_beyond_the_border_the_edge_is_repeated():
    image = np.full((40, 40, 3), 50, np.uint8)
    image[:, 0] = 200
    square = cut(image, Face((-20, 0, 40, 40), 0.9, placed(40, -20)))
    assert square.shape == (40, 40, 3) and (square[:, :21] == 200).all() and (square[:, 21:] == 50).all()


def test_real_landmarks_lie_where_the_template_says(photo):
    """Cut, and look again: eyes level, and in their places."""
    import cv2

    detector = open_detector()
    tilted = cv2.warpAffine(photo, cv2.getRotationMatrix2D((223, 120), 12, 1), (512, 512))
    for image in (photo, tilted):
        square = cut(image, detector.find(image)[0], 0.6)  # with something around it, for the detector
        (again,) = detector.find(square)
        seen = (np.array(again.landmarks) / len(square) - 0.5) * 1.6 + 0.5
        assert np.abs(seen - TEMPLATE).max() < 0.09


@pytest.mark.slow
def test_the_framing_is_fer2013s(command, shared):
    """The constants, on some hundred of the images that they were measured on."""
    medians = {}
    for name in ("haar", "yunet"):
        result = command(
            "tools/measure_framing.py",
            "--data",
            shared / "data/fer2013.zip",
            "--detector",
            name,
            "--count",
            150,
        )
        assert result.returncode == 0, result.stderr
        medians[name] = {
            key.strip(): float(value)
            for key, value in re.findall(r"(?m)^(\S.{21}) +(-?\d\.\d+) ", result.stdout)
        }
    haar, yunet = medians["haar"], medians["yunet"]
    assert haar["margin of the box"] == pytest.approx(HAAR_MARGIN, abs=0.04)
    assert all(
        values[f"box, middle {axis}"] == pytest.approx(0.5, abs=0.03)
        for values in (haar, yunet)
        for axis in "xy"
    )
    names = ("right eye", "left eye", "nose tip", "right mouth corner", "left mouth corner")
    found = [(yunet[f"{name}, x"], yunet[f"{name}, y"]) for name in names]
    assert np.abs(np.array(found) - TEMPLATE).max() < 0.03


# The tools


def test_crop_faces_command(command, photo, tmp_path):
    for name in ("happy/astronaut.png", "happy/astronaut.jpg"):
        write_picture(tmp_path / "photos" / name, photo)
    write_picture(tmp_path / "photos/angry/wall.png", np.full((200, 200, 3), 128, np.uint8))
    (tmp_path / "photos/angry/broken.jpg").write_bytes(b"junk")
    result = command("tools/crop_faces.py", "photos", "faces")
    assert result.returncode == 1 and "2 of 4 images gave faces" in result.stdout, result.stderr
    rows = {row["id"]: row for row in read_csv(tmp_path / "faces/report.csv")}
    assert (
        rows["angry/wall.png"]["problem"] == "no face found"
        and rows["angry/broken.jpg"]["problem"] == "is not an image"
    )
    face = read_picture(tmp_path / "faces/happy/astronaut_png_0.png")
    assert (face == cut(photo, open_detector().find(photo)[0])).all() and (
        tmp_path / "faces/happy/astronaut_jpg_0.png"
    ).is_file()
    assert "not an empty folder" in error_line(command("tools/crop_faces.py", "photos", "faces"))
    assert (
        command("tools/crop_faces.py", "photos", "haar", "--detector", "haar", "--margin", 0.2).returncode
        == 1
    )
    expected = cut(photo, HaarDetector().find(photo)[0], 0.2)
    assert (read_picture(tmp_path / "haar/happy/astronaut_png_0.png") == expected).all()


def test_mistakes(command, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no folder at none" in error_line(command("tools/crop_faces.py", "none", "out"))
    assert "holds no images" in error_line(command("tools/crop_faces.py", "empty", "out"))
    assert "--margin must be between" in error_line(
        command("tools/crop_faces.py", "empty", "out", "--margin", 3)
    )
    assert "no data at none" in error_line(command("tools/measure_framing.py", "--data", "none"))
    assert "--count must be" in error_line(
        command("tools/measure_framing.py", "--data", "empty", "--count", 0)
    )
