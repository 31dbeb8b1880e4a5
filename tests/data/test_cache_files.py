"""A data cache whose parts are not what this program writes is refused in one line, or made again."""

import numpy as np
import pytest
from conftest import ROOT

from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.training.data.cache import load_pictures

SAVED = ROOT / "tests" / "saved" / "data" / "a789061b55a83ff9.npz"
SPEC = PreprocessSpec(48, 32, False)
NO_LETTER = np.frombuffer(b"\xff\xff\xff\x7f" * 130, "<U1")  # beyond Unicode's last
NEARLY = np.frombuffer(b"a\0\0\0\x00\x00\x11\x00" * 130, "<U2")  # Python makes a text of it, and fails later


def kept(tmp_path, **changes):
    """A copy of the saved cache, of 130 images, with other parts."""
    with np.load(SAVED) as file:
        values = dict(file) | changes
    images = values.pop("images", np.load(SAVED.with_suffix(".images.npy")))
    np.savez(tmp_path / "kept.npz", **values)
    np.save(tmp_path / "kept.images.npy", images)
    return tmp_path / "kept.npz"


def test_the_saved_one_opens(tmp_path):
    assert load_pictures(kept(tmp_path), SPEC, None).images.shape == (130, 48, 48)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"ids": np.array("one")}, "TypeError|len"),
        ({"labels": np.array(["angry"])}, r"labels is <U5 of shape \(1,\)"),
        ({"labels": NO_LETTER}, "labels has letters that Unicode does not have"),
        ({"labels": NEARLY}, "labels has letters that Unicode does not have"),
        ({"labels": np.zeros(130)}, "labels is float64"),
        ({"votes": np.zeros((130, 3), np.float32)}, r"votes is float32 of shape \(130, 3\)"),
        ({"exact": np.full(130, 2**60)}, "exact names images that are not there"),
        ({"near": np.array([[0, 130]])}, "near names images that are not there"),
        ({"near": np.array([1, 2])}, "near is int64"),
        ({"bad": np.zeros((0, 3), "U1")}, "bad is <U1"),
        ({"images": np.array(7, np.uint8)}, "does not belong to kept.npz"),
    ],
)
def test_parts_that_do_not_fit(tmp_path, changes, word):
    with pytest.raises(UserError, match=word) as caught:
        load_pictures(kept(tmp_path, **changes), SPEC, None)
    assert "kept." in str(caught.value) and len(str(caught.value)) < len(str(tmp_path)) * 2 + 200


def test_elements_without_a_size(tmp_path):
    """With these, and a size that is to be found, NumPy ends the process (SIGFPE)."""
    path = kept(tmp_path)
    header = b"{'descr': '|V0', 'fortran_order': False, 'shape': (-1,), }\n"
    size = len(header).to_bytes(2, "little")
    path.with_suffix(".images.npy").write_bytes(b"\x93NUMPY\x01\x00" + size + header + bytes(64))
    with pytest.raises(UserError, match="its elements have no size"):
        load_pictures(path, SPEC, None)
