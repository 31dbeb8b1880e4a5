"""Faces followed from frame to frame: where they are, and when they are searched for."""

import numpy as np
import pytest

from fer_hailo.board.faces import SIDES, Face, open_detector
from fer_hailo.board.follow import FAR, Follower, _Known, _side, follow
from fer_hailo.board.images import read_picture

BOX = (140, 100, 60, 60)
EYES_AND_MOUTH = [(204, 104), (247, 104), (224, 128), (204, 143), (243, 144)]  # of the astronaut, seen by eye


def texture(seed=0, size=(320, 240)):
    """Something to hold on to, with large and small forms: uint8 (H, W, 3)."""
    import cv2

    rng = np.random.default_rng(seed)
    parts = [
        cv2.resize(
            rng.uniform(0, 255, (size[1] // step, size[0] // step)), size, interpolation=cv2.INTER_CUBIC
        )
        for step in (8, 20)
    ]
    return np.repeat(np.clip(sum(parts) / 2, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def turned(image, degrees=0.0, scale=1.0, by=(0.0, 0.0), about=(170, 130)):
    """The image under a similarity, and that as a function of points (N, 2) in pixels from the corner."""
    import cv2

    matrix = cv2.getRotationMatrix2D((about[0] - 0.5, about[1] - 0.5), degrees, scale)  # of pixel centres
    matrix[:, 2] += by
    size = image.shape[1::-1]
    moved = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return (
        moved,
        lambda points: np.column_stack([np.array(points) - 0.5, np.ones(len(points))]) @ matrix.T + 0.5,
    )


@pytest.mark.parametrize(
    "motion",
    [{}, {"by": (5, -3)}, {"degrees": 6}, {"scale": 1.08}, {"degrees": -4, "scale": 0.95, "by": (2, 4)}],
)
def test_a_known_motion_is_measured(motion):
    before = texture()
    now, place = turned(before, **motion)
    along, shift = follow(BOX, before, now)
    corners = np.array([(140, 100), (200, 100), (140, 160), (200, 160)])
    there = along * (corners @ (1, 1j)) + shift
    assert np.abs(there - place(corners) @ (1, 1j)).max() < 0.7


def test_what_is_gone_is_not_followed():
    grey = np.full((240, 320, 3), 128, np.uint8)
    assert follow(BOX, texture(0), texture(1)) is None
    assert follow(BOX, texture(0), grey) is None and follow(BOX, grey, grey) is None


def test_a_face_that_moved_by_hand():
    face = Face((10, 20, 40, 60), 0.9, ((20, 30), (40, 30), (30, 45), (22, 60), (38, 60)), margin=0.1)
    known = _Known(face)
    assert known.now() is face and not known.is_far()
    # A quarter turn clockwise about the origin, (x, y) -> (-y, x), twice as large, then 200 to the right
    moved = known.moved(2j, 200).now()
    assert moved.box == (200 - 2 * 50 - 40, 2 * 30 - 60, 80, 120)  # about its middle, (30, 50) before
    assert moved.landmarks[0] == (200 - 60, 40) and (moved.score, moved.margin) == (0.9, 0.1)
    assert not moved.detected and face.detected
    assert known.moved(1, 5).moved(2, 3j).shift == 10 + 3j  # one motion after the other
    assert not known.moved(1, FAR * 60 - 1).is_far() and known.moved(1, FAR * 60 + 1).is_far()


class Seen:
    """A detector's `find` that knows where the face is, and notes how large an image it was given."""

    def __init__(self, box=BOX, least=0):
        self.box, self.least, self.sides = box, least, []

    def __call__(self, image, side):
        self.sides.append(side)
        return [Face(self.box, 0.9)] if self.box and side > self.least else []


def played(find, every, count=12, rate=10.0, images=None, sides=SIDES):
    """For each frame: the sides that were searched, and whether its face was detected; None without one."""
    follower, told = Follower(find, every, sides), []
    for number, image in enumerate(images or [texture()] * count):
        before = len(find.sides)
        faces = follower.step(image, number / rate)
        told.append((find.sides[before:], faces[0].detected if faces else None))
    return told


def test_a_face_that_stays_is_searched_for_now_and_then():
    # 320 pixels, of which 48 are needed of 60: 256, and the next of the sides is 320, the whole frame
    told = played(Seen(), every=5)
    assert [number for number, (sides, _) in enumerate(told) if sides] == [0, 5, 10]
    assert [found for _, found in told[:6]] == [True, False, False, False, False, True]
    assert [n for n, (sides, _) in enumerate(played(Seen(), None)) if sides] == [0, 2, 4, 6, 8, 10]  # 0.2 s
    assert [n for n, (sides, _) in enumerate(played(Seen(), None, rate=3)) if sides] == list(range(12))


def test_large_faces_are_searched_in_a_small_image_and_the_whole_one_each_second():
    large = texture(size=(960, 720))
    find = Seen((300, 200, 300, 300))  # 960 x 48 / 300 = 153.6
    told = played(find, 4, images=[large] * 14)
    assert [(n, sides) for n, (sides, _) in enumerate(told) if sides] == [
        (0, [960]), (4, [160]), (8, [160]), (10, [960]),
    ]  # fmt: skip
    assert [_side([(0, 0, 9, side)], 1920, SIDES) for side in (600, 150, 100, 20)] == [160, 640, 960, 1280]


def test_a_detector_of_one_size_is_asked_once_a_search_and_for_no_smaller_image():
    large, small = texture(size=(960, 720)), texture()
    told = played(Seen((300, 200, 300, 300)), 4, images=[large] * 9, sides=(640,))
    assert [(n, sides) for n, (sides, _) in enumerate(told) if sides] == [(0, [640]), (4, [640]), (8, [640])]
    for image, side in ((large, 640), (small, 320)):
        gone = played(Seen(box=None), 4, images=[image] * 3, sides=(640,))
        assert [sides for sides, _ in gone] == [[side]] * 3


def test_without_a_face_each_frame_is_searched_small_and_now_and_then_whole():
    told = played(Seen(box=None), 5, images=[texture(size=(640, 480))] * 12)
    assert [sides for sides, _ in told] == [[640], *[[320]] * 9, [640], [320]]


def test_a_face_that_the_small_image_does_not_show_is_sought_in_the_whole():
    find = Seen((300, 200, 300, 300), least=500)
    told = played(find, 3, images=[texture(size=(960, 720))] * 5)
    assert told[3] == ([160, 960], True) and told[4] == ([], False)
    find.box = None
    assert played(find, 3, images=[texture(size=(960, 720))] * 2)[1] == ([320], None)


def test_a_cut_is_searched_whole_at_once():
    find = Seen((300, 200, 300, 300))
    one, other = texture(0, (960, 720)), texture(1, (960, 720))
    told = played(find, 100, images=[one, one, other, other])
    assert told == [([960], True), ([], False), ([960], True), ([], False)]
    smaller = texture(0, (640, 480))  # a camera that came back in another size
    assert played(find, 100, images=[one, smaller])[1] == ([640], True)


def test_a_face_that_moves_far_is_searched_for_at_once():
    find = Seen()
    images = [turned(texture(), by=(7 * step, 0))[0] for step in range(8)]
    told = played(find, 100, images=images)  # FAR x 60 = 30: by the fifth step of 7 pixels
    assert [number for number, (sides, _) in enumerate(told) if sides] == [0, 5]


def test_a_face_that_leaves_the_frame_is_no_longer_known():
    """Its middle is at 10, 4 and -2; none is sought in the whole frame, as for one that is lost."""
    find = Seen((-25, 90, 70, 70))
    images = [turned(texture(size=(640, 240)), by=(-6 * step, 0))[0] for step in range(3)]
    follower = Follower(find, 100)
    assert follower.step(images[0], 0.0) and follower.step(images[1], 0.1)
    find.box = None
    assert follower.step(images[2], 0.2) == [] and find.sides == [640, 320]


def test_the_astronauts_landmarks_go_along(shared):
    """Panned, zoomed and turned: at each frame within a tenth of the face of where they are, seen by eye."""
    photo = read_picture(shared / "data/photos/astronaut.png")
    follower, detected, off = Follower(open_detector().find, None), [], []
    for number in range(16):
        turn = number / 8
        image, place = turned(
            photo, 8 * np.sin(turn), 1.1 - 0.1 * np.cos(turn), (30 * np.sin(turn), 9 * turn), (223, 120)
        )
        (face,) = follower.step(image, number / 30)
        detected.append(face.detected)
        off.append(np.abs(np.array(face.landmarks) - place(EYES_AND_MOUTH)).max() / face.box[2])
    assert 1 <= sum(detected) <= 8 and detected[0] and max(off) < 0.1
