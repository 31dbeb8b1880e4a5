"""Refined labels: a file of probabilities by image, and what becomes of the labels."""

import hashlib

import numpy as np
import pytest

from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.training.data import targets as module
from fer_hailo.training.data.targets import (
    Targets,
    image_digests,
    read_targets,
    refined,
    shortened,
    write_targets,
)

TWO = ("angry", "happy")
MADE = {"models": [], "data": {"key": "k"}, "split": {}, "source_size": 48, "color": False}
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 48, 48), dtype=np.uint8)


def write(path, images=IMAGES, likely=((0.75, 0.25), (0.5, 0.5), (1, 0), (0, 1)), classes=TWO, **made):
    digests = image_digests(images)
    order = np.argsort(digests)
    write_targets(path, Targets(digests[order], np.float16(likely)[order], classes, MADE | made))
    return str(path)


def test_an_image_is_known_by_the_sha256_of_its_pixels():
    digest = hashlib.sha256(IMAGES[1].tobytes()).hexdigest()
    assert int(image_digests(IMAGES)[1]) == int(digest[:16], 16)
    assert (image_digests(IMAGES[[0, 0, 2]]) == image_digests(IMAGES)[[0, 0, 2]]).all()


def test_digests_that_collide_are_told():
    alike = [bytes(8) + b"one", bytes(8) + b"two"]
    assert shortened(alike[:1] * 2).tolist() == [0, 0]  # the same image twice
    with pytest.raises(UserError, match="two images share the first 8 bytes"):
        shortened(alike)


def test_targets_by_hand(tmp_path):
    """Label, extra class, an image that the file lacks, and a target that votes have softened."""
    path = write(tmp_path / "labels.npz")
    images = np.concatenate([IMAGES[[1, 0, 3]], 255 - IMAGES[:1]])
    labels = np.float32([[0, 1, 0], [0, 0, 1], [0.5, 0.5, 0], [1, 0, 0]])
    config = Config.of(classes=TWO, extra_classes=("sad",), targets=path, targets_weight=0.4)
    mixed, count = refined(images, labels, config)
    wanted = [[0.2, 0.8, 0], [0.3, 0.1, 0.6], [0.3, 0.7, 0], [1, 0, 0]]
    np.testing.assert_allclose(mixed, wanted, atol=1e-6)
    many = np.concatenate([images, 255 - IMAGES, IMAGES // 2])  # of extra classes, of which it knows none
    assert refined(many, np.tile(labels, (3, 1)), config)[1] == 3
    assert count == 3 and mixed.dtype == np.float32 and labels[0].tolist() == [0, 1, 0]


def test_rows_sum_to_one_though_float16_does_not(tmp_path):
    third = [[1 / 3, 2 / 3]] * 4
    config = Config.of(classes=TWO, targets=write(tmp_path / "t.npz", likely=third), targets_weight=1.0)
    mixed, _ = refined(IMAGES, np.eye(2, dtype="f4")[[0, 0, 1, 1]], config)
    np.testing.assert_allclose(mixed.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(mixed, third, atol=5e-4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": 255 - IMAGES}, "knows 0 of 4 training images: it is another data set's"),
        ({"classes": ("happy", "sad")}, "tells happy, sad apart, this training angry, happy"),
        ({"source_size": 100}, "was made for source_size 100, not 48"),
        ({"color": True}, "was made for color True, not False"),
    ],
)
def test_files_of_other_data_are_refused(tmp_path, changes, said):
    config = Config.of(classes=TWO, targets=write(tmp_path / "t.npz", **changes))
    with pytest.raises(UserError, match=said):
        refined(IMAGES, np.eye(2, dtype="f4")[[0, 0, 1, 1]], config)


def damaged(path, name):
    """A file that is not what it should be."""
    if name == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif name == "text":
        path.write_text("angry,happy\n")
    elif name == "absent":
        path.unlink()
    elif name == "votes":
        np.savez(path, votes=np.ones(3))
    else:
        with np.load(path) as file:
            values = dict(file)
        values |= {
            "version": {"version": 2},
            "order": {"digests": values["digests"][::-1]},
            "shape": {"probabilities": values["probabilities"][:3]},
            "sum": {"probabilities": values["probabilities"] * np.float16(0.5)},
            "negative": {"probabilities": np.float16([[2, -1]] * 4)},
            "nan": {"probabilities": np.full((4, 2), np.nan, np.float16)},
            "kind": {"probabilities": values["probabilities"].astype("f8")},
            "twice": {"classes": np.array(["angry", "angry"])},
            "empty": {"digests": values["digests"][:0], "probabilities": values["probabilities"][:0]},
            "made": {"made": '{"models": []}'},
            "list": {"made": "[]"},
        }[name]
        np.savez(path, **values)


FILES = ["cut", "text", "absent", "votes"]
VALUES = ["version", "order", "shape", "sum", "negative", "nan", "kind", "twice", "empty", "made", "list"]


@pytest.mark.parametrize("name", FILES + VALUES)
def test_files_that_hold_no_refined_labels(tmp_path, name):
    path = tmp_path / "t.npz"
    write(path)
    assert read_targets(path).classes == TWO
    damaged(path, name)
    with pytest.raises(UserError, match=r"t.npz holds no refined labels, or is damaged \("):
        read_targets(path)


def test_a_file_that_unpacks_to_more_than_memory_may_hold_is_not_unpacked(tmp_path):
    np.savez_compressed(tmp_path / "t.npz", version=1, digests=np.zeros(9_000_000, np.uint64))
    assert (tmp_path / "t.npz").stat().st_size < 100_000
    with pytest.raises(UserError, match="too large"):
        read_targets(tmp_path / "t.npz")


def test_a_file_is_small(tmp_path):
    """18 bytes an image of five classes."""
    rng = np.random.default_rng(0)
    likely = rng.dirichlet(np.ones(5), 2000).astype(np.float16)
    digests = np.sort(rng.integers(0, 2**63, 2000, dtype=np.uint64))
    write_targets(tmp_path / "t.npz", Targets(digests, likely, tuple("abcde"), MADE))
    assert (tmp_path / "t.npz").stat().st_size < 18 * 2000 + 2000
    again = read_targets(tmp_path / "t.npz")
    assert (again.digests == digests).all() and (again.probabilities == likely).all() and again.made == MADE
    assert module.DIGEST == 8
