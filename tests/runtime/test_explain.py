"""`--explain` of run.py and evaluate.py."""

import json
import shutil

import numpy as np
import pytest
from conftest import error_line
from films import film, plain

from fer_hailo.board.images import read_picture
from fer_hailo.common.preprocess import prepare
from fer_hailo.common.runs import MODEL
from fer_hailo.deploy.home import resolve
from fer_hailo.explain.contact import EACH, SIDE
from fer_hailo.explain.explainer import Explainer
from fer_hailo.explain.sheet import GAP, LINE
from fer_hailo.predict.predictor import load


def extent(side: int, maps: int = 1) -> tuple[int, int]:
    """Height and width of a strip with its edges."""
    return side + 2 * LINE + 2 * GAP, (1 + maps) * side + 2 * GAP


@pytest.fixture
def photos(sample_set, tmp_path):
    for number, path in enumerate(sorted((sample_set / "test").rglob("*.png"))[:2]):
        (tmp_path / "photos").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


def test_run(inside, trained, photos, tmp_path):
    film(photos / "clip.avi", [plain(), plain()])
    command = ["run.py", "photos", "--detector", "none", "--model", trained / MODEL, "--json"]
    done = inside(*command, "--save", "out", "--explain")
    assert done.returncode == 0 and "note: --explain leaves videos out: photos/clip.avi" in done.stderr
    saved = {path.name for path in (tmp_path / "out").iterdir()}
    assert saved == {"0.png", "0-explained.png", "1.png", "1-explained.png", "clip.mp4"}
    assert read_picture(tmp_path / "out/0-explained.png").shape[:2] == extent(224)
    assert json.loads(inside(*command).stdout) == json.loads(done.stdout)
    assert "add --save DIR" in error_line(inside(*command, "--explain"))
    film_only = ["run.py", "photos/clip.avi", "--model", trained / MODEL, "--save", "out", "--explain"]
    assert "--explain is for images, and photos/clip.avi is a video" in error_line(inside(*film_only))


def test_each_kind_of_file_has_its_maps(trained, converted, photos):
    for path, name in ((trained / MODEL, "Grad-CAM"), (converted / "model_int8.tflite", "occlusion")):
        with load(resolve(path)) as predictor:
            face = prepare(read_picture(photos / "0.png"), predictor.spec)
            (found,) = Explainer(predictor).explain(face[None], [int(predictor.predict(face[None]).argmax())])
        (heat,) = found.maps.values()
        assert list(found.maps) == [name] and heat.shape == face.shape[:2] and (found.face == face).all()
        assert (heat.min(), heat.max()) == (0, 1)


def test_evaluate(inside, trained, tmp_path):
    done = inside("evaluate.py", trained, "--out", "mine", "--explain")
    assert done.returncode == 0 and "mine/explained_test.png" in done.stderr, done.stderr
    shown = read_picture(tmp_path / "mine/explained_test.png")
    height, width = extent(SIDE)
    assert shown.shape[:2] == (5 * height, 2 * EACH * width)
    matrix = np.array(json.loads((tmp_path / "mine/metrics_test.json").read_text())["confusion_matrix"])
    for row, hits in enumerate(matrix):
        for half, count in enumerate((hits[row], hits.sum() - hits[row])):
            for place in range(EACH):
                left = (half * EACH + place) * width
                cell = shown[row * height : (row + 1) * height, left : left + width]
                assert (cell.min() < 255) == (place < count)
    assert "--explain does not go with" in error_line(
        inside("evaluate.py", trained, "--explain", "--corruptions")
    )
