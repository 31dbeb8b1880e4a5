import numpy as np

from fer_hailo.common.groups import FIVE_CLASSES
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.training.data.cache import load_pictures
from fer_hailo.training.data.sample import draw_face, write_sample_set
from fer_hailo.training.data.sources import SYNTHETIC_MARK, open_source


def test_faces_follow_the_seed():
    for label in FIVE_CLASSES:
        face = draw_face(label, np.random.default_rng(1))
        assert face.shape == (48, 48) and face.dtype == np.uint8 and face.std() > 5
        assert (face == draw_face(label, np.random.default_rng(1))).all()
        assert (face != draw_face(label, np.random.default_rng(2))).any()


def test_set_is_called_synthetic_and_not_written_twice(tmp_path):
    folder = write_sample_set(tmp_path / "s", train=3, test=2)
    files = sorted(folder.rglob("*.png"))
    stamps = [file.stat().st_mtime_ns for file in files]
    assert len(files) == 25 and "not photographs" in (folder / SYNTHETIC_MARK).read_text()
    assert open_source(folder).name == "synthetic sample set"
    write_sample_set(folder, train=3, test=2)
    assert [file.stat().st_mtime_ns for file in files] == stamps


def test_expressions_can_be_told_apart(sample_set):
    """A linear classifier on 12x12 thumbnails does better than twice chance: the classes differ in what is
    drawn.
    """
    from sklearn.linear_model import RidgeClassifier

    data = load_pictures(sample_set, PreprocessSpec(), None)
    small = data.images.reshape(-1, 12, 4, 12, 4).mean((2, 4)).reshape(len(data.ids), -1)
    train = data.splits == "train"
    model = RidgeClassifier(alpha=1e4).fit(small[train], data.labels[train])
    assert model.score(small[~train], data.labels[~train]) > 0.4
