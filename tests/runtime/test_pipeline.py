import math
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from fer_hailo.board.faces import SIDES, Face
from fer_hailo.board.frames import Reading, Shot
from fer_hailo.board.pipeline import Statistics, run
from fer_hailo.common.errors import UserError
from fer_hailo.predict.predictor import NoAnswer

LABELS = ("angry", "happy")
WAIT = 20  # seconds until a test that hangs fails


def shot(number, source="clip.mp4", **values):
    return Shot(
        source, np.full((40, 60, 3), number, np.uint8), **{"frame": number, "time_s": number / 10} | values
    )


class Given:
    """A source of given shots."""

    count = None

    def __init__(self, shots, live=False, name="clip.mp4"):
        self.name, self.live, self.given, self.stopped, self.ended = (
            name,
            live,
            shots,
            False,
            threading.Event(),
        )

    def shots(self):
        yield from self.given
        self.ended.set()

    def stop(self):
        self.stopped = True


class Analysis:
    """One face in each image; its probability of `happy` is the image's grey level / 255."""

    detectors = (None,)
    sides = SIDES

    def detect(self, image, side=1280):
        return [Face((5, 5, 20, 20), 1.0)]

    def search(self, image):
        return self.detect(image)

    def classify(self, image, faces):
        happy = image[0, 0, 0] / 255
        return np.array([[1 - happy, happy]])

    def readings(self, faces, probabilities):
        pairs = zip(faces, probabilities, strict=True)
        return tuple(
            Reading(face.box, face.score, LABELS, row, detected=face.detected) for face, row in pairs
        )

    def explained(self, image, faces, readings):
        return readings


class Kept:
    draws = False

    def __init__(self, before=lambda: None):
        self.results, self.drawn, self.before = [], [], before

    def write(self, result, drawn):
        self.before()
        self.results.append(result)
        self.drawn.append(drawn)

    def close(self):
        pass


def through(sources, sink, analysis=None, smooth=0.0, watched=False, every=1):
    statistics, problems = Statistics(), []
    try:
        run(
            sources,
            analysis or Analysis(),
            [sink],
            smooth,
            watched,
            statistics,
            problems.append,
            lambda result: None,
            every,
        )
    finally:
        assert all(source.stopped for source in sources)
        assert not [
            thread
            for thread in threading.enumerate()
            if thread.name.startswith(("detect", "search", "classify"))
        ]
    return statistics, problems


def test_all_frames_of_files_arrive_in_order():
    sink = Kept()
    statistics, _ = through(
        [Given([shot(n) for n in range(50)]), Given([shot(n, "b.mp4") for n in range(50)])], sink
    )
    assert [(r.shot.source, r.shot.frame) for r in sink.results] == [
        (s, n) for s in ("clip.mp4", "b.mp4") for n in range(50)
    ]
    assert (statistics.pictures, statistics.dropped, statistics.problems) == (100, 0, 0)
    assert [statistics.counts[part] for part in ("detect", "classify", "output")] == [100] * 3 and min(
        statistics.seconds.values()
    ) > 0
    assert [r.faces[0].probabilities[1] for r in sink.results[:50]] == [
        pytest.approx(n / 255) for n in range(50)
    ]


def test_faces_are_followed_within_a_video_and_not_beyond():
    sink = Kept()
    sources = [Given([shot(n) for n in range(3)]), Given([shot(n, "b.mp4") for n in range(200, 202)]),
               Given([Shot("a.png", np.zeros((9, 9, 3), np.uint8))], name="a.png")]  # fmt: skip
    through(sources, sink, smooth=10.0)
    assert [r.faces[0].track for r in sink.results] == [1, 1, 1, 1, 1, None]
    # Not smoothed with the other video's
    assert sink.results[3].faces[0].probabilities[1] == pytest.approx(200 / 255)


def test_a_video_that_is_named_twice_is_followed_anew():
    sink = Kept()
    again = [shot(200, frame=0, time_s=0.0), shot(205, frame=5, time_s=0.5)]
    through(
        [Given([shot(0), shot(5)]), Given(again), Given([shot(0)]), Given([shot(9, frame=0, time_s=0.0)])],
        sink,
        smooth=10.0,
    )
    assert {r.faces[0].track for r in sink.results} == {1}
    grey = [r.faces[0].probabilities[1] * 255 for r in sink.results]
    assert grey == pytest.approx([0, 5 * (1 - math.exp(-0.05)), 200, 200 + 5 * (1 - math.exp(-0.05)), 0, 9])


def test_a_slow_output_drops_frames_of_a_camera_and_gets_the_newest():
    camera = Given([shot(n) for n in range(100)], live=True)
    sink = Kept(before=lambda: camera.ended.wait(WAIT))  # as if one frame took as long as all
    statistics, _ = through([camera], sink)
    frames = [result.shot.frame for result in sink.results]
    assert frames == sorted(frames) and frames[-1] == 99 and len(frames) < 10
    assert statistics.dropped == 100 - len(frames)


def test_the_next_frame_is_detected_while_this_one_is_classified():
    met = []

    class Meeting(Analysis):
        barrier = threading.Barrier(2)

        def detect(self, image, side=1280):
            if image[0, 0, 0] == 1:
                met.append(self.barrier.wait(WAIT))
            return super().detect(image)

        def classify(self, image, faces):
            if image[0, 0, 0] == 0:
                met.append(self.barrier.wait(WAIT))
            return super().classify(image, faces)

    through([Given([shot(n) for n in range(3)])], Kept(), Meeting())
    assert sorted(met) == [0, 1]  # Barrier.wait raises if the other never came


def test_with_two_detectors_two_pictures_are_searched_at_once_and_their_order_stays():
    class Two(Analysis):
        detectors = (None, None)
        barrier = threading.Barrier(2)

        def detect(self, image, side=1280):
            self.barrier.wait(WAIT)  # raises if no second image ever comes
            time.sleep(0.02 if image[0, 0, 0] % 2 == 0 else 0)  # the later one is done first
            return super().detect(image)

    sink = Kept()
    statistics, _ = through([Given([shot(n) for n in range(20)])], sink, Two())
    assert [r.shot.frame for r in sink.results] == list(range(20)) and statistics.counts["detect"] == 20
    assert [r.faces[0].probabilities[1] for r in sink.results] == [pytest.approx(n / 255) for n in range(20)]


def test_frames_are_followed_in_order_and_images_between_them_searched_at_once():
    """Each plain grey frame is searched, since nothing in it can be followed; a textured one is not."""
    rng = np.random.default_rng(0)
    textured = np.repeat(rng.integers(0, 256, (40, 60, 1), np.uint8), 3, axis=2)

    class Two(Analysis):
        detectors = (None, None)
        barrier = threading.Barrier(2)

        def detect(self, image, side=1280):
            if image.shape == (9, 9, 3):
                self.barrier.wait(WAIT)  # raises if no second image ever comes
            return super().detect(image)

    film = [replace(shot(n), image=textured) for n in range(4)]
    again = [shot(0), Shot("clip.mp4", None, frame=1, time_s=0.1, problem="is damaged"), shot(2)]
    stills = [Shot(name, np.zeros((9, 9, 3), np.uint8)) for name in "ab"]
    sink = Kept()
    statistics, problems = through([Given(film), Given(again), Given(stills)], sink, Two(), every=3)
    assert [(r.shot.source, r.shot.frame) for r in sink.results] == [
        *[("clip.mp4", n) for n in (0, 1, 2, 3, 0, 1, 2)], ("a", None), ("b", None),
    ]  # fmt: skip
    found = [result.faces[0].detected if result.faces else None for result in sink.results]
    assert found == [True, False, False, True, True, None, True, True, True]
    assert statistics.counts["detect"] == 8 and len(problems) == 1


def test_what_was_searched_before_an_error_of_the_source_arrives():
    class Three(Analysis):
        detectors = (None, None, None)

    def shots():
        yield shot(0)
        yield shot(1)
        raise UserError("the camera burns")

    sink = Kept()
    with pytest.raises(UserError, match="burns"):
        through([Given(shots())], sink, Three())
    assert [r.shot.frame for r in sink.results] == [0, 1]


def test_what_could_not_be_read_is_counted_told_and_handed_on():
    sink = Kept()
    bad = Shot("clip.mp4", None, frame=1, time_s=0.1, problem="is damaged")
    statistics, problems = through([Given([shot(0), bad, shot(2)])], sink)
    assert [r.shot.frame for r in sink.results] == [0, 1, 2] and problems == [bad]
    assert (statistics.pictures, statistics.problems) == (2, 1)
    assert sink.results[1].to_dict() == {
        "source": "clip.mp4",
        "frame": 1,
        "time_s": 0.1,
        "problem": "is damaged",
    }


def test_what_got_no_answer_is_counted_told_and_handed_on():
    class Nan(Analysis):
        def classify(self, image, faces):
            if image[0, 0, 0] == 1:
                raise NoAnswer("it gave NaN")
            return super().classify(image, faces)

    sink = Kept()
    statistics, problems = through([Given([shot(n) for n in range(3)])], sink, Nan())
    assert (statistics.pictures, statistics.problems, statistics.unanswered) == (2, 0, 1)
    assert [(r.shot.frame, r.shot.problem, len(r.faces)) for r in sink.results] == [
        (0, "", 1),
        (1, "it gave NaN", 0),
        (2, "", 1),
    ]
    assert [lost.frame for lost in problems] == [1] and ", 1 got no answer" in statistics.line(live=False)


def test_a_device_that_is_lost_ends_the_run_after_what_was_done():
    class Lost(Analysis):
        def classify(self, image, faces):
            if image[0, 0, 0] == 3:
                raise UserError("the device is gone")
            return super().classify(image, faces)

    sink = Kept()
    with pytest.raises(UserError, match="the device is gone"):
        through([Given([shot(n) for n in range(100)])], sink, Lost())
    assert [r.shot.frame for r in sink.results] == [0, 1, 2]


@pytest.mark.parametrize("live", [False, True])
def test_an_output_that_ends_stops_all_threads(live):
    class End(Exception):
        pass

    def end():
        raise End

    with pytest.raises(End):
        through([Given((shot(n % 250) for n in range(10**9)), live)], Kept(end))


def test_a_camera_that_hangs_in_its_driver_does_not_keep_the_program():
    released = threading.Event()

    class Hanging(Given):
        def shots(self):
            yield from self.given
            released.wait(WAIT)

    class End(Exception):
        pass

    def end():
        raise End

    start = time.perf_counter()
    with pytest.raises(End):
        through([Hanging([shot(0)], live=True)], Kept(end))
    assert time.perf_counter() - start < WAIT / 2
    released.set()


def test_a_picture_is_drawn_once_and_only_for_outputs_that_want_it():
    plain, drawing = Kept(), Kept()
    drawing.draws = True
    statistics = Statistics()
    run(
        [Given([shot(100)])],
        Analysis(),
        [plain, drawing],
        0,
        False,
        statistics,
        lambda shot: None,
        lambda result: None,
    )
    assert drawing.drawn[0].shape == (40, 60, 3) and (drawing.drawn[0] != 100).any()
    assert (drawing.results[0].shot.image == 100).all() and plain.drawn[0] is drawing.drawn[0]
    through([Given([shot(100)])], alone := Kept())
    assert alone.drawn == [None]


def test_a_video_that_is_watched_plays_in_real_time():
    ends = []
    sink = Kept(before=lambda: ends.append(time.perf_counter()))
    statistics, _ = through([Given([shot(n, time_s=n / 20) for n in range(11)])], sink, watched=True)
    assert 0.3 < ends[-1] - ends[0] < 5 and len(ends) == 11  # 0.5 s, were the clock exact
    # From the moment that it was shown, as a camera's, not from when it was read
    assert statistics.latencies[-1] < 0.4


def test_statistics_by_hand():
    statistics = Statistics()
    assert statistics.latency_ms(50) == [0.0] and statistics.rate() == 0
    statistics.latencies.extend([0.01, 0.02, 0.03])
    statistics.ends.extend([5.0, 5.5, 6.0])
    assert statistics.latency_ms(0, 50, 100) == pytest.approx(
        [10, 20, 30]
    ) and statistics.rate() == pytest.approx(2)
    statistics.pictures, statistics.dropped = 1, 1234
    assert "1 image in" in statistics.line(live=False) and "latency" not in statistics.line(live=False)
    for part, count, spent in (("read", 4, 0.4), ("detect", 2, 0.03)):
        statistics.counts[part], statistics.seconds[part] = count, spent
    assert statistics.line(live=True).endswith("ms each: read 100.0, detect 15.0, classify 0.0, output 0.0")
    assert "could not be read" not in statistics.line(live=False)
    statistics.problems = 3
    assert statistics.line(live=False).endswith("/s), 3 could not be read")
    assert "1,234 dropped" in statistics.line(
        live=True
    ) and "latency p50 20.0 ms, p95 29.0 ms" in statistics.line(live=True)
