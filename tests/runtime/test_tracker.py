import math

import numpy as np
import pytest

from fer_hailo.board.frames import Reading
from fer_hailo.board.tracker import PATIENCE_S, Tracker, overlap

LABELS = ("angry", "happy")


def face(box, happy=0.5):
    return Reading(box, 1.0, LABELS, np.array([1 - happy, happy]))


def test_overlap_by_hand():
    assert overlap((0, 0, 10, 10), (5, 0, 10, 10)) == pytest.approx(50 / 150)
    assert overlap((0, 0, 10, 10), (20, 0, 10, 10)) == 0
    assert overlap((0, 0, 10, 10), (20, 20, 10, 10)) == 0
    assert overlap((2, 3, 4, 5), (2, 3, 4, 5)) == 1


@pytest.mark.parametrize("rate", [10, 30])
def test_after_the_time_constant_63_percent_have_come_through_at_any_rate(rate):
    tracker, box = Tracker(smooth_s=0.4), (10, 10, 50, 50)
    tracker.update([face(box, 0.0)], 0.0)
    for frame in range(1, round(0.4 * rate) + 1):
        (seen,) = tracker.update([face(box, 1.0)], frame / rate)
    assert seen.probabilities[1] == pytest.approx(1 - math.exp(-1), abs=1e-9)
    assert seen.probabilities.sum() == pytest.approx(1)


def test_without_smoothing_the_answers_stay():
    tracker = Tracker(smooth_s=0)
    tracker.update([face((0, 0, 9, 9), 0.2)], 0.0)
    (seen,) = tracker.update([face((0, 0, 9, 9), 0.9)], 0.1)
    assert seen.track == 1 and seen.probabilities[1] == pytest.approx(0.9) and seen.label == "happy"


def test_two_faces_keep_their_numbers_whatever_their_order():
    tracker = Tracker()
    first = tracker.update([face((0, 0, 50, 50)), face((100, 0, 40, 40))], 0.0)
    second = tracker.update([face((104, 2, 40, 40)), face((6, 0, 50, 50))], 0.1)
    assert [reading.track for reading in first] == [1, 2] and [reading.track for reading in second] == [2, 1]


def test_the_best_pair_wins():
    tracker = Tracker()
    tracker.update([face((0, 0, 10, 10))], 0.0)
    near, nearer = tracker.update([face((4, 0, 10, 10)), face((1, 0, 10, 10))], 0.1)
    assert (near.track, nearer.track) == (2, 1)


def test_a_face_that_jumps_is_another_one():
    for step, same in ((5, True), (6, False)):  # of boxes 10 wide: intersection over union 5/15 and 4/16
        tracker = Tracker()
        tracker.update([face((0, 0, 10, 10))], 0.0)
        (seen,) = tracker.update([face((step, 0, 10, 10))], 0.1)
        assert seen.track == (1 if same else 2)


def test_a_face_between_two_is_the_nearer_one():
    tracker = Tracker()
    tracker.update([face((0, 0, 10, 10)), face((6, 0, 10, 10))], 0.0)
    (seen,) = tracker.update([face((2, 0, 10, 10))], 0.1)
    assert seen.track == 1


def test_a_face_is_followed_across_the_picture():
    tracker = Tracker()
    seen = [tracker.update([face((4 * step, 0, 10, 10))], step / 10)[0] for step in range(8)]
    assert {reading.track for reading in seen} == {1}


def test_a_face_that_was_away_too_long_is_another_one_and_not_smoothed_with_the_first():
    tracker, box = Tracker(smooth_s=5), (0, 0, 10, 10)
    tracker.update([face(box, 0.0)], 0.0)
    (kept,) = tracker.update([face(box, 0.0)], PATIENCE_S)
    (fresh,) = tracker.update([face(box, 1.0)], 2 * PATIENCE_S + 0.01)
    assert (kept.track, fresh.track) == (1, 2) and fresh.probabilities[1] == 1.0
