import numpy as np
import pytest

from fer_hailo.common.preprocess import PreprocessSpec, prepare
from fer_hailo.training.convert.calibration import calibration_set, choose, write_sheet
from fer_hailo.training.data.dataset import Part


def test_every_class_gets_its_share():
    labels = np.repeat(np.arange(5), [300, 400, 500, 600, 700])
    chosen = choose(labels, 1024, 0)
    assert len(set(chosen)) == 1024
    assert sorted(np.bincount(labels[chosen])) == [204, 205, 205, 205, 205]  # 1024 = 4 x 205 + 204


def test_what_a_small_class_lacks_comes_from_the_others():
    labels = np.repeat(np.arange(3), [10, 500, 500])
    assert np.bincount(labels[choose(labels, 110, 0)]).tolist() == [10, 50, 50]


def test_fewer_pictures_than_wanted_are_all_taken():
    assert sorted(choose(np.array([0, 1, 1, 1]), 1024, 0)) == [0, 1, 2, 3]


def test_choice_follows_the_seed_and_is_shuffled():
    labels = np.repeat(np.arange(5), 50)
    assert (choose(labels, 100, 3) == choose(labels, 100, 3)).all()
    assert set(choose(labels, 100, 3)) != set(choose(labels, 100, 4))
    assert (np.diff(labels[choose(labels, 100, 3)]) < 0).sum() > 20


def test_pictures_are_prepared_plainly_and_copies_left_out(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (12, 48, 48), dtype=np.uint8)
    images[5] = images[2]
    labels = np.arange(12) % 2
    spec = PreprocessSpec(input_size=32)
    out, truth = calibration_set(Part(images, labels, np.arange(12).astype(str)), spec, seed=0, count=12)
    assert out.shape == (11, 32, 32, 3) and out.dtype == np.uint8
    known = {prepare(images[i], spec).tobytes(): labels[i] for i in range(12) if i != 5}
    assert [known[image.tobytes()] for image in out[:3]] == truth[:3].tolist()
    write_sheet(tmp_path / "sheet.png", out, truth)
    cv2 = pytest.importorskip("cv2")
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (2 * 48, 32 * 48, 3)  # a row for each class
