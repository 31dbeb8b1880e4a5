import numpy as np
import pytest

from fer_hailo.common.preprocess import PreprocessSpec, cubic, cubic_matrix, normalise, prepare, to_source

SPEC = PreprocessSpec()


def noise(*shape):
    return np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)


def test_kernel_by_hand():
    # a = -0.75 at 0.5: (1.25 * 0.5 - 2.25) * 0.25 + 1; at 1.5: -0.75 * (3.375 - 5 * 2.25 + 8 * 1.5 - 4)
    assert cubic(np.array([0.0, 1.0, 2.0, 3.0])).tolist() == [1, 0, 0, 0]
    np.testing.assert_allclose(cubic(np.array([0.5, -0.5, 1.5])), [0.59375, 0.59375, -0.09375])


def test_matrix_by_hand():
    # 2 to 4 pixels: the first output lies at -0.25; its taps -2..1 fall on the borders 0, 0, 0 and on 1.
    matrix = cubic_matrix(2, 4)
    weight_of_second = cubic(np.array([1.25]))[0]
    np.testing.assert_allclose(matrix[0], [1 - weight_of_second, weight_of_second], atol=1e-6)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-6)


@pytest.mark.parametrize("size", [64, 96, 112, 128, 224])
def test_matrix_is_opencv_within_one_level(size):
    import cv2

    image, matrix = noise(48, 48), cubic_matrix(48, size)
    ours = np.clip(np.round(matrix @ image @ matrix.T), 0, 255)
    theirs = cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)
    assert np.abs(ours - theirs).max() <= 1


def test_grey_48_is_only_enlarged():
    import cv2

    face = noise(48, 48)
    out = prepare(face, SPEC)
    assert out.shape == (128, 128, 3) and out.dtype == np.uint8 and out.flags.c_contiguous
    assert (out[..., 0] == cv2.resize(face, (128, 128), interpolation=cv2.INTER_CUBIC)).all()
    assert (out[..., 0] == out[..., 1]).all() and (out[..., 1] == out[..., 2]).all()


def test_larger_faces_are_reduced_first_and_smaller_ones_never_enlarged_to_48():
    import cv2

    large, tiny = noise(200, 200), noise(20, 20)
    reduced = cv2.resize(large, (48, 48), interpolation=cv2.INTER_AREA)
    assert (prepare(large, SPEC) == prepare(reduced, SPEC)).all() and (
        to_source(large, SPEC) == reduced
    ).all()
    assert (prepare(tiny, SPEC)[..., 0] == cv2.resize(tiny, (128, 128), interpolation=cv2.INTER_CUBIC)).all()
    assert to_source(tiny, SPEC).shape == (48, 48)


def test_oblong_is_padded_with_its_border():
    face = np.full((48, 24), 10, np.uint8)
    face[:, :12] = 200
    out = prepare(face, PreprocessSpec(input_size=48))
    assert (out[:, :12] == 200).all() and (out[:, -12:] == 10).all() and (out[:, 12:24] == 200).all()


def test_colour_order_is_rgb():
    red = np.zeros((48, 48, 3), np.uint8)
    red[..., 0] = 255
    assert (prepare(red, SPEC) == 76).all()  # 0.299 x 255: red's weight, not blue's 29
    assert (prepare(red, PreprocessSpec(color=True))[0, 0] == [255, 0, 0]).all()


def test_cached_picture_gives_the_same_input():
    face = noise(300, 180, 3)
    assert (prepare(to_source(face, SPEC), SPEC) == prepare(face, SPEC)).all()


def test_normalise():
    np.testing.assert_allclose(
        normalise(np.array([0, 127, 255], np.uint8), SPEC), [-1, -0.5 / 127.5, 1], rtol=1e-6
    )


@pytest.mark.parametrize(
    "face",
    [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8), np.zeros(4, np.uint8)],
)
def test_other_arrays_are_refused(face):
    with pytest.raises(ValueError, match="a face must be uint8"):
        prepare(face, SPEC)


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        PreprocessSpec(color=True),
        PreprocessSpec(input_size=48),
        PreprocessSpec(source_size=64, input_size=96),
    ],
)
def test_in_graph_input_is_prepare_within_one_level(spec):
    """Parity of all stages: what training and Keras evaluation see is what calibration and the board see."""
    from fer_hailo.training.models.inputs import FaceInput

    sources = noise(8, *spec.source_shape)
    in_graph = np.asarray(FaceInput(spec)(sources))
    outside = np.stack([normalise(prepare(face, spec), spec) for face in sources])
    assert in_graph.dtype == np.float32 and in_graph.shape == outside.shape
    assert np.abs(in_graph - outside).max() <= 1.001 / 127.5
