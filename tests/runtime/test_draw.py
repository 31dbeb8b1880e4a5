import time
from dataclasses import replace

import numpy as np
import pytest

from fer_hailo.board.draw import PALETTE, USUAL, colours, draw
from fer_hailo.board.frames import Reading

LABELS = ("angry", "disgust", "happy", "neutral", "surprise")
SHARES = (0.1, 0.5, 0.2, 0.16, 0.04)
GREY = np.full((960, 1280, 3), 128, np.uint8)


def reading(box, shares=SHARES, track=None, labels=LABELS):
    return Reading(box, 1.0, labels, np.array(shares), track)


def spots(image, label):
    """Where an image has exactly the colour of a label: (N, 2) of y, x."""
    return np.argwhere((image == colours(LABELS)[label]).all(-1))


@pytest.mark.parametrize("winner", LABELS)
def test_the_edge_of_the_box_has_the_colour_of_the_label(winner):
    drawn = draw(GREY, [reading((500, 400, 200, 100), [0.6 if name == winner else 0.1 for name in LABELS])])
    expected = colours(LABELS)[winner]
    for y, x in ((450, 500), (450, 699), (400, 690), (499, 600)):  # left, right, top, bottom
        assert tuple(drawn[y, x]) == expected
    assert (drawn[415:485, 515:685] == 128).all()  # the face itself stays visible


def test_a_face_that_was_followed_has_the_corners_of_its_box_only():
    (face,) = [reading((500, 400, 200, 100), (0.6, 0.1, 0.1, 0.1, 0.1))]
    drawn = draw(GREY, [replace(face, detected=False)])
    for y, x in ((410, 500), (490, 500), (410, 699), (499, 540), (400, 660)):  # a quarter of each side
        assert tuple(drawn[y, x]) == colours(LABELS)["angry"]
    for y, x in ((450, 500), (450, 699), (499, 600)):
        assert tuple(drawn[y, x]) == (128, 128, 128)


@pytest.mark.parametrize(
    "x, y", [(500, 400), (0, 0), (1180, 0), (0, 860), (1180, 860), (-60, 300), (1240, 930), (600, -40)]
)
def test_bars_are_as_long_as_the_probabilities_wherever_the_face_is(x, y):
    drawn = draw(GREY, [reading((x, y, 100, 100), track=7)])
    # 960 pixels high: lines of 30, bars of 5 x 30 = 150 for probability 1, and each as high as the others.
    for name, share in zip(LABELS, SHARES, strict=True):
        if name == "disgust":
            continue  # the winner's colour is in the box and the label too
        high, wide = np.ptp(spots(drawn, name), axis=0) + 1
        assert abs(wide - 150 * share) <= 1 and high == 16
        assert len(spots(drawn, name)) == wide * high


def test_the_bar_of_the_winner_stands_in_its_row():
    drawn = draw(GREY, [reading((100, 300, 200, 200))])
    (top, left), (bottom, _) = spots(drawn, "angry").min(0), spots(drawn, "happy").max(0)
    rows = spots(drawn[top : bottom + 1, left:], "disgust")
    assert (
        abs(np.ptp(rows[:, 1]) + 1 - 75) <= 1
        and len(spots(drawn[top : bottom + 1, left - 1 : left], "disgust")) == 0
    )


def test_bars_of_one_face_do_not_hide_another():
    free = [reading((400, 400, 150, 150))]
    crowded = [*free, reading((560, 400, 150, 150), (0.9, 0.1, 0, 0, 0))]
    assert spots(draw(GREY, free), "happy")[:, 1].min() > 550  # to the right,
    assert spots(draw(GREY, crowded), "happy")[:, 1].max() < 400  # or to the left where a face is in the way
    assert (draw(GREY, crowded)[420:530, 575:695] == 128).all()


def test_the_picture_itself_is_not_changed():
    image = GREY.copy()
    drawn = draw(image, [reading((500, 400, 200, 100))])
    assert (image == GREY).all() and drawn.shape == GREY.shape and drawn.dtype == np.uint8
    empty = draw(image, [])
    assert (empty == GREY).all() and not np.shares_memory(empty, image)


def test_sizes_follow_the_picture():
    def line(high, wide):
        drawn = draw(
            np.full((high, wide, 3), 128, np.uint8), [reading((wide // 3, high // 3, wide // 3, high // 3))]
        )
        return len(spots(drawn[high // 2 : high // 2 + 1, : wide // 2], "disgust"))

    assert line(240, 320) >= 1 and line(2160, 3840) >= 4 * line(240, 320)


@pytest.mark.parametrize("ground", [0, 255])
def test_readable_on_bright_and_dark_ground(ground):
    drawn = draw(np.full((480, 640, 3), ground, np.uint8), [reading((100, 200, 120, 120))])
    (top, left), (bottom, right) = spots(drawn, "angry").min(0), spots(drawn, "surprise").max(0)
    pane = drawn[top : bottom + 1, left - 60 : right + 1]  # the names and the shortest bars
    assert np.percentile(pane, 30) < 70 and (pane.min(-1) > 180).sum() > 100  # white words on a dark pane


def luminance(rgb):
    """Relative luminance as in WCAG 2."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in rgb)]
    return np.dot(linear, (0.2126, 0.7152, 0.0722))


@pytest.mark.parametrize("colour", PALETTE.values())
def test_the_label_stands_out_from_its_ground(colour, monkeypatch):
    monkeypatch.setitem(PALETTE, "yellow", colour)
    drawn = draw(GREY, [reading((500, 400, 300, 100), (0, 0, 1, 0, 0))])
    tag = drawn[372:398, 506:700].reshape(-1, 3)
    lights = [luminance(pixel) for pixel in tag]
    ground = luminance(colour)
    best = max((max(light, ground) + 0.05) / (min(light, ground) + 0.05) for light in lights)
    assert best >= 4.5 and (tag == colour).all(-1).mean() > 0.3


@pytest.mark.parametrize(
    "seen_by",
    [  # Machado, Oliveira and Fernandes 2009: what people without one kind of cone see, in linear RGB
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        np.eye(3),
    ],
)
def test_colours_differ_for_people_who_are_colour_blind(seen_by):
    import cv2

    rgb = np.array(list(colours(tuple(USUAL)).values()), np.float32) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(seen_by).T, 0, 1)
    lab = cv2.cvtColor(
        np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055).astype(np.float32)[None],
        cv2.COLOR_RGB2Lab,
    )[0]
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1)[~np.eye(len(lab), dtype=bool)]
    assert distances.min() > 10  # 2 is just noticeable


def test_colours_are_fixed():
    assert colours(("happy", "angry"))["happy"] == colours(LABELS)["happy"] == (240, 228, 66)
    own = colours(("bored", "happy", "awake"))
    assert own == colours(("awake", "bored", "happy")) and len(set(own.values())) == 3
    many = colours([f"c{number}" for number in range(20)])
    assert len(many) == 20 and len(set(many.values())) == len(PALETTE)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (12, 12), (48, 48), (64, 64), (100, 30)])
def test_pictures_too_small_for_words(size):
    image = np.full((*size, 3), 128, np.uint8)
    drawn = draw(image, [reading((0, 0, size[1], size[0]), track=1)])
    assert drawn.shape == image.shape and (drawn != image).any()
    if size == (48, 48):
        assert all(len(spots(drawn, name)) for name in LABELS)  # bars without names


def test_it_is_cheap():
    faces = [
        reading(box, track=number)
        for number, box in enumerate([(20, 10, 160, 160), (280, 150, 120, 120), (500, 300, 100, 100)])
    ]
    image, times = np.full((480, 640, 3), 128, np.uint8), []
    for _ in range(20):
        start = time.perf_counter()
        draw(image, faces)
        times.append(time.perf_counter() - start)
    assert np.median(times) < 0.01  # 0.4 ms on a 2026 server core; a Raspberry Pi is some four times slower


def test_an_unsure_answer_has_a_question_mark():
    unsure, sure = (
        Reading((0, 0, 9, 9), 1.0, LABELS, np.array(SHARES), unsure_below=least) for least in (0.51, 0.5)
    )
    assert (unsure.said, unsure.sure, sure.said, sure.sure) == ("disgust?", False, "disgust", True)
    assert unsure.to_dict()["sure"] is False and unsure.to_dict()["label"] == "disgust"
