"""What the option `weights` means."""

import pytest

from fer_hailo.training.networks.weights import Kind, parse_weights


@pytest.mark.parametrize(
    ("text", "kind", "files"),
    [
        ("none", Kind.SCRATCH, ()),
        ("imagenet", Kind.IMAGENET, ()),
        ("imagnet", Kind.UNKNOWN, ("imagnet",)),
        ("mine.keras", Kind.MODEL, ("mine.keras",)),
        ("w.weights.h5", Kind.BACKBONE, ("w.weights.h5",)),
        ("w.npz", Kind.ARRAYS, ("w.npz",)),
        ("a.npz, b.npz", Kind.ARRAYS, ("a.npz", "b.npz")),
        ("a.pth,b.npz", Kind.PYTORCH, ("a.pth", "b.npz")),
        ("best.pth.tar", Kind.PYTORCH, ("best.pth.tar",)),
        ("faces.dat", Kind.DLIB, ("faces.dat",)),
        ("a.pth,b.keras", Kind.MODEL, ("a.pth,b.keras",)),  # no list: a file that cannot be there
    ],
)
def test_kinds_and_files(text, kind, files):
    weights = parse_weights(text)
    assert (weights.text, weights.kind, weights.files) == (text, kind, files)
