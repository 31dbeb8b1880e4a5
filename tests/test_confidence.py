"""Temperature and the threshold of "unsure", on predictions whose right ones are known."""

import numpy as np
import pytest

from fer_hailo.common.confidence import Confidence, fit_confidence
from fer_hailo.common.metrics import softmax


def test_the_temperature_that_made_the_labels_is_found():
    """Labels drawn from softmax(z / 2): of the logits z, temperature 2 has the greatest likelihood."""
    rng = np.random.default_rng(0)
    logits = 3 * rng.normal(size=(40000, 5))
    labels = (rng.random((40000, 1)) > softmax(logits / 2).cumsum(axis=1)).sum(axis=1)
    assert fit_confidence(logits, labels).temperature == pytest.approx(2.0, abs=0.05)


def test_threshold_by_hand():
    """Ten predictions of falling probability, of which the 6th and the last two are wrong: right are 8/9 = 89
    % of nine, 7/8 of eight, 5/6 of six, and all of the first five.
    """
    margins = np.linspace(3, 0.5, 10)
    logits = np.stack([margins, np.zeros(10)], axis=1)
    labels = np.zeros(10, int)
    labels[[5, 8, 9]] = 1
    found = fit_confidence(logits, labels, right=0.87)
    assert found.unsure_below == pytest.approx(softmax(logits / found.temperature)[7, 0])  # 7 of 8 are 87.5 %
    assert fit_confidence(logits, labels, right=0.9).unsure_below == pytest.approx(
        softmax(logits / found.temperature)[4, 0]
    )
    assert fit_confidence(logits, 1 - np.zeros(10, int)).unsure_below == 1  # never right


def test_probabilities_keep_the_answer():
    logits = np.array([[2.0, 1.0, -1.0]])
    softened = Confidence(temperature=2.0).probabilities(logits)
    np.testing.assert_allclose(softened, np.exp([[1, 0.5, -0.5]]) / np.exp([1, 0.5, -0.5]).sum())
    assert (Confidence().probabilities(logits) == softmax(logits)).all()


@pytest.mark.parametrize("values", [{"temperature": 0}, {"temperature": float("nan")}, {"unsure_below": 1.5}])
def test_impossible_values(values):
    with pytest.raises(ValueError):
        Confidence(**values)
