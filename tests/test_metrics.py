import numpy as np
import pytest

from fer_hailo.common.metrics import (
    compute_metrics,
    confusion_matrix,
    expected_calibration_error,
    format_metrics,
    reliability,
    softmax,
    wilson,
)

NAMES = ["a", "b", "c", "d"]


def scores(count=500, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    return softmax(rng.normal(size=(count, 4)) + 1.5 * np.eye(4)[labels]), labels


def metrics(probabilities, labels):
    return compute_metrics(probabilities, labels, NAMES, data="d", split="test", sha256="0")


def test_against_scikit_learn():
    from sklearn import metrics as sk

    probabilities, labels = scores()
    predicted, m = probabilities.argmax(1), metrics(probabilities, labels)
    assert m.accuracy == sk.accuracy_score(labels, predicted)
    assert m.macro_recall == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
    assert m.macro_f1 == pytest.approx(sk.f1_score(labels, predicted, average="macro"))
    np.testing.assert_array_equal(m.confusion_matrix, sk.confusion_matrix(labels, predicted))
    assert list(m.per_class_recall.values()) == pytest.approx(
        sk.recall_score(labels, predicted, average=None)
    )


def test_softmax_is_stable():
    np.testing.assert_allclose(
        softmax(np.array([[1000.0, 1000.0], [0.0, np.log(3)]])), [[0.5, 0.5], [0.25, 0.75]]
    )


def test_wilson_published_values():
    # Newcombe (1998), table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    for hits, count, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        assert wilson(hits, count) == pytest.approx((low, high), abs=5e-5)


def test_calibration_error_by_hand():
    # Two images at .9 (one right), two at .6 (both right): (2 x |.5 - .9| + 2 x |1 - .6|) / 4
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    assert expected_calibration_error(probabilities, np.array([0, 1, 0, 0])) == pytest.approx(0.4)
    bins = reliability(probabilities, np.array([0, 1, 0, 0]))
    assert len(bins) == 15 and sum(b.count for b in bins) == 4
    assert next(b for b in bins if b.count).high == pytest.approx(9 / 15)  # .6 belongs to (8/15, 9/15]


def test_rows_are_the_truth():
    assert confusion_matrix(np.array([0, 0, 1]), np.array([1, 1, 1]), 2).tolist() == [[0, 2], [0, 1]]


def test_absent_class_is_left_out_of_the_averages():
    probabilities = np.eye(4)[[0, 1, 1]]
    m = metrics(probabilities, np.array([0, 1, 0]))
    assert m.per_class_recall == {"a": 0.5, "b": 1.0, "c": None, "d": None}
    assert m.macro_recall == 0.75
    assert "no images" in format_metrics(m)


def test_not_finite_or_empty():
    with pytest.raises(ValueError, match="not finite"):
        metrics(np.full((2, 4), np.nan), np.array([0, 1]))
    with pytest.raises(ValueError, match="no images"):
        metrics(np.empty((0, 4)), np.empty(0, int))


def test_text_has_the_verdicts():
    labels = np.repeat([0, 1, 2, 3], 10)
    predicted = labels.copy()
    predicted[[10, 11]] = 0  # 8 of 10: OK
    predicted[[20, 21, 22]] = 0  # 7 of 10: WARN
    predicted[[30, 31, 32, 33]] = 0  # 6 of 10: LOW
    text = format_metrics(metrics(np.eye(4)[predicted], labels)).splitlines()
    assert [next(line for line in text if line.startswith(f"  {n} ")).split()[-1] for n in NAMES] == [
        "OK",
        "OK",
        "WARN",
        "LOW",
    ]
