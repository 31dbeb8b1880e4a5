"""The face detector on the chip: which output is which, boxes and points worked out by hand, and both
networks on one device. The device is the double's, and so is its detector, which takes what is red for a
face.
"""

import json
import math
from contextlib import closing
from dataclasses import replace

import board
import films
import numpy as np
import pytest

from fer_hailo.api import Model
from fer_hailo.board.chip_faces import fit
from fer_hailo.board.faces import find_any_way, open_detector
from fer_hailo.board.images import write_picture
from fer_hailo.board.scrfd import decode, recognise
from fer_hailo.board.session import Settings, analyse
from fer_hailo.common.errors import UserError
from fer_hailo.formats.hef import read_hef
from fer_hailo.predict import device

LOGITS = board.RANGES | {2: (-9.0, 4.0)}


@pytest.fixture
def order(monkeypatch, tmp_path):
    monkeypatch.setattr(device, "SERVICE", tmp_path / "no-service")
    with board.double_of_hailort(monkeypatch, tmp_path / "record") as put:
        yield put


@pytest.fixture
def hef(tmp_path):
    return board.scrfd_hef(tmp_path / "scrfd_2.5g.hef")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return board.classifier_hef(tmp_path_factory.mktemp("board") / "deploy")


def scene(size, left, top, wide, high) -> np.ndarray:
    """Grey, uint8 (H, W, 3), with a red rectangle. size: width and height."""
    image = films.plain((128, 128, 128), size)
    image[top : top + high, left : left + wide] = (255, 0, 0)
    return image


def calls(path, name) -> list[dict]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if line["call"] == name]


# What the file says


def names(scrfd) -> list[tuple[str, ...]]:
    return [(level.score, level.box, level.points) for level in scrfd.levels]


@pytest.mark.parametrize("parts", [(8, 2, 20), (20, 8, 2)])
def test_outputs_are_known_by_their_shapes_in_any_order(tmp_path, parts):
    path = board.scrfd_hef(tmp_path / "any name.hef", parts=parts, side=320)
    found = recognise(read_hef(path), path)
    assert found.shape == (320, 320) and not any(level.logits for level in found.levels)
    assert names(found) == [tuple(f"scrfd/conv{s}_{part}" for part in (2, 8, 20)) for s in (8, 16, 32)]


def test_the_real_file_is_read_and_not_run(shared, monkeypatch):
    path = shared / "data/hef/scrfd_2.5g.hef"
    monkeypatch.setattr(device, "import_hailort", lambda: pytest.fail("the device was touched"))
    with pytest.raises(
        UserError, match="scrfd_2.5g.hef is for HAILO15H, none of HAILO8, .*Zoo has for your chip"
    ) as said:
        open_detector(path)
    assert "\n" not in str(said.value)
    found = recognise(replace(read_hef(path), architecture="HAILO8L"), path)
    # The model zoo's script puts a sigmoid on conv42, 49 and 55
    convs = [(42, 43, 44), (49, 50, 51), (55, 56, 57)]
    assert found.shape == (640, 640) and not any(level.logits for level in found.levels)
    assert names(found) == [tuple(f"scrfd_2_5g/conv{number}" for number in level) for level in convs]


@pytest.mark.parametrize(
    ("score", "logits"),
    [
        ({"qp_scale": 1 / 255, "qp_zp": 0.0}, False),
        ({"qp_scale": 0.0038, "qp_zp": 2.0}, False),  # -0.008 to 0.96
        ({"type": "UINT16", "qp_scale": 1 / 65535, "qp_zp": 0.0}, False),
        ({"qp_scale": 0.05, "qp_zp": 200.0}, True),  # -10 to 2.75
        ({"type": "UINT16", "qp_scale": 0.0002, "qp_zp": 50_000.0}, True),  # -10 to 3.1
        ({"qp_scale": 0.02, "qp_zp": 0.0}, None),  # 0 to 5.1: nothing is ever rejected
        ({"qp_scale": 1 / 255, "qp_zp": 100.0}, None),  # -0.39 to 0.61: no score below 0.4
        ({"qp_scale": 0.05, "qp_zp": 255.0}, True),  # -12.75 to 0: never above a half, and yet logits
        ({"qp_scale": 0.001, "qp_zp": 18_000.0}, None),  # 16-bit values that are called UINT8
        ({"qp_scale": None, "qp_zp": 0.0}, None),
        ({"qp_scale": 0.0, "qp_zp": 0.0}, None),
    ],
)
def test_whether_scores_are_probabilities_is_seen_from_their_quantisation(hef, score, logits):
    read = read_hef(hef)
    group = read.groups[0]
    outputs = tuple(replace(o, **score) if o.shape == (40, 40, 2) else o for o in group.outputs)
    changed = replace(read, groups=(replace(group, outputs=outputs),))
    if logits is None:
        with pytest.raises(UserError, match="no SCRFD.*conv16_2.*are neither probabilities nor logits"):
            recognise(changed, hef)
    else:
        found = [level.logits for level in recognise(changed, hef).levels]
        assert found == [False, logits, False]


def twice_the_scores(output):
    return replace(output, shape=(*output.shape[:2], 4)) if output.shape[2] == 2 else output


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"outputs": lambda streams: streams[:-1]}, "its outputs are 80x80x8, 80x80x2, 80x80x20, 40x40x8"),
        ({"outputs": lambda streams: (*streams[:-1], streams[0])}, "its outputs are"),
        ({"outputs": lambda streams: (*streams[:-1], replace(streams[-1], order="NHW"))}, "its outputs are"),
        # RetinaFace has two scores an anchor
        ({"outputs": lambda streams: map(twice_the_scores, streams)}, "its outputs are 80x80x8, 80x80x4"),
        ({"inputs": lambda streams: streams * 2}, "does not take one RGB image"),
        ({"inputs": lambda s: (replace(s[0], shape=(640, 640, 1)),)}, "does not take one RGB image"),
        ({"inputs": lambda s: (replace(s[0], takes_bytes=False),)}, "does not take the bytes 0 to 255"),
    ],
)  # fmt: skip
def test_other_networks_are_refused(hef, change, line):
    read = read_hef(hef)
    group = read.groups[0]
    group = replace(
        group, **{side: tuple(function(getattr(group, side))) for side, function in change.items()}
    )
    with pytest.raises(UserError, match=f"no SCRFD face detector, .*{line}.*: take scrfd_500m.hef, "):
        recognise(replace(read, groups=(group,)), hef)


def test_a_classifier_is_no_detector(classifier, tmp_path):
    with pytest.raises(UserError, match=r"no SCRFD face detector, its outputs are 4: take"):
        open_detector(classifier)
    with pytest.raises(UserError, match="no face detector at none.hef: give yunet, .* or an SCRFD .hef file"):
        open_detector("none.hef")
    (tmp_path / "junk.hef").write_bytes(b"no HEF at all")
    with pytest.raises(UserError, match="is not a HEF"):
        open_detector(tmp_path / "junk.hef")


# What the outputs say


def maps(levels, background=0.0) -> dict[str, np.ndarray]:
    """Outputs without any face."""
    made = {}
    for level, side in zip(levels, (80, 40, 20), strict=True):
        made[level.score] = np.full((side, side, 2), background, np.float32)
        made[level.box] = np.zeros((side, side, 8), np.float32)
        made[level.points] = np.zeros((side, side, 20), np.float32)
    return made


def test_boxes_and_points_by_hand(hef):
    levels = recognise(read_hef(hef), hef).levels
    outputs = maps(levels)
    fine, middle, coarse = levels
    # Stride 16, column 20, row 10: the place (320, 160). Second anchor
    outputs[middle.score][10, 20] = 0.25, 0.75
    outputs[middle.box][10, 20, 4:] = 1.5, 2, 2.5, 3  # 24 to the left, 32 up, 40 to the right, 48 down
    outputs[middle.points][10, 20, 10:] = -0.5, -1, 0.5, -1, 0, 0.25, -0.25, 1.5, 0.25, 1.5
    # Stride 32, column 3, row 19: (96, 608). First anchor. Its box goes beyond the image
    outputs[coarse.score][19, 3] = 0.5, 0
    outputs[coarse.box][19, 3, :4] = 4, 1, 0, 2
    # Stride 8, column 79, row 0: (632, 0). Both anchors, of which one is not sure enough
    outputs[fine.score][0, 79] = 0.49, 1
    outputs[fine.box][0, 79, 4:] = 0.5, 0, 1, 1
    boxes, scores, points = decode(outputs, levels, 0.5)
    assert scores.tolist() == [1, 0.75, 0.5]
    assert boxes.tolist() == [[628, 0, 12, 8], [296, 128, 64, 80], [-32, 576, 128, 96]]
    assert points[1].tolist() == [[312, 144], [328, 144], [320, 164], [316, 184], [324, 184]]
    assert points[2].tolist() == [[96, 608]] * 5
    assert len(decode(maps(levels), levels, 0.5)[0]) == 0


def test_logits_go_through_a_sigmoid(tmp_path):
    path = board.scrfd_hef(tmp_path / "logits.hef", ranges=LOGITS)
    levels = recognise(read_hef(path), path).levels
    assert all(level.logits for level in levels)
    outputs = maps(levels, -200.0)
    outputs[levels[2].score][4, 5, 0] = math.log(3)  # 3 to 1: 75 %
    outputs[levels[1].score][4, 5, 1] = 0.4  # 59.9 %
    outputs[levels[0].score][4, 5] = math.log(0.61 / 0.39), 0.0
    _, scores, _ = decode(outputs, levels, 0.6)
    assert scores == pytest.approx([0.75, 0.61], abs=1e-6)


@pytest.mark.parametrize(
    ("size", "there", "scale"),
    [((1280, 960), (640, 480), 2), ((320, 160), (640, 320), 0.5), ((100, 1000), (64, 640), 1.5625)],
)
def test_an_image_fills_the_networks_input_at_its_upper_left(size, there, scale):
    image = np.full((size[1], size[0]), 200, np.uint8)
    for pixels in (image, np.repeat(image[..., None], 3, axis=2)):
        fitted, found = fit(pixels, (640, 640))
        wide, high = there
        assert fitted.shape == (640, 640, 3) and (fitted[:high, :wide] == 200).all()
        assert fitted.sum() == 200 * 3 * wide * high and found == pytest.approx([scale, scale])


# On the device


@pytest.mark.parametrize("api", ["jobs", "vstreams"])
def test_a_face_in_the_frame_by_hand(order, hef, api):
    order(**({"api": "vstreams"} if api == "vstreams" else {}))
    with closing(open_detector(hef)) as detector:
        (face,) = detector.find(scene((1280, 960), 400, 300, 200, 240))
        (small,) = detector.find(scene((160, 120), 10, 20, 60, 50))
        assert detector.find(scene((160, 120), 10, 20, 60, 50)[..., ::-1]) == []  # blue
        assert detector.find(np.zeros((120, 160), np.uint8)) == []
    # Halved it is 100 x 120 at (200, 150): stride 16, place (240, 208), and again, less sure, at (256, 208)
    step = 0.5 * 16 * 2 * 5.06 / 255  # half a step of the boxes' quantisation, in pixels of the frame
    assert face.box == pytest.approx((400, 300, 200, 240), abs=2 * step + 0.5)
    assert face.score == pytest.approx(0.9, abs=0.5 / 255) and face.margin == 0
    # The double's points lie at 30 and 70 % of the box, and so on
    places = [(460, 396), (540, 396), (500, 444), (470, 492), (530, 492)]
    assert np.array(face.landmarks) == pytest.approx(np.array(places), abs=0.5 * 16 * 2 * 6.66 / 255 + 0.01)
    # Enlarged four times it is 240 x 200 at (40, 80): stride 32
    assert small.box == pytest.approx((10, 20, 60, 50), abs=1)


def test_an_image_on_its_side_is_searched_in_all_ways(order, hef):
    record = order()
    with closing(open_detector(hef)) as detector:
        (face,) = find_any_way(detector, scene((640, 480), 200, 150, 100, 120))
    assert face.turn == 0 and len(calls(record, "run_async")) == 4


def test_one_device_has_both_networks_and_is_given_back_once(order, hef, classifier):
    record = order()
    image = scene((640, 480), 200, 150, 100, 120)
    with Model(classifier, str(hef)) as model:
        (face,) = model.predict(image)
        third = open_detector(hef)
    with closing(third):
        assert not calls(record, "release")
        assert third.find(image)[0].box == face.box == pytest.approx((200, 150, 100, 120), abs=1)
    third.close()
    assert [len(calls(record, name)) for name in ("open", "configure", "release")] == [1, 3, 1]


def test_a_network_that_cannot_be_opened_leaves_the_others_alone(order, hef, classifier, tmp_path):
    record = order(architecture="HAILO8L")
    light = board.scrfd_hef(tmp_path / "light.hef", "hailo8l")
    line = "is for HAILO8, but the device is a HAILO8L: take the file that .* Zoo has for HAILO8L"
    with closing(open_detector(light)) as detector:
        with pytest.raises(UserError, match=line):
            open_detector(hef)
        with pytest.raises(UserError, match="is for HAILO8, but the device is a HAILO8L: .*-arch hailo8l"):
            Model(classifier, str(light))
        assert len(detector.find(scene((640, 480), 200, 150, 100, 120))) == 1
    assert [len(calls(record, name)) for name in ("open", "release")] == [1, 1]


@pytest.mark.parametrize("every", [1, None, 3])
def test_the_next_frame_is_searched_while_this_one_is_classified(
    order, hef, classifier, tmp_path, every, capfd
):
    marks = np.random.default_rng(0).integers(0, 45, (12, 10), np.uint8).repeat(6, 0).repeat(6, 1)
    film = [scene((320, 240), 80 + 4 * number, 60, 60, 72) for number in range(10)]
    for number, image in enumerate(film):
        image[60:132, 80 + 4 * number : 140 + 4 * number, 1] = marks  # to hold on to
    films.film(tmp_path / "clip.avi", film, 10)
    record = order(seconds=0.02)
    settings = Settings(
        [str(tmp_path / "clip.avi")], str(classifier), detector=str(hef), every=every, form="json"
    )
    assert analyse(settings) == 0
    frames = json.loads(capfd.readouterr().out)
    boxes = [frame["faces"][0]["box"] for frame in frames]
    assert len(boxes) == 10 and all(len(frame["faces"]) == 1 for frame in frames)
    for number, box in enumerate(boxes):
        assert box == pytest.approx((80 + 4 * number, 60, 60, 72), abs=3)
    jobs = calls(record, "run_async")
    found = sum(job["network"] == "scrfd" for job in jobs)
    assert len(jobs) - found == 10 and found == {1: 10, None: 5, 3: 4}[every]
    assert max(job["on_device"] for job in jobs) == 2
    assert [len(calls(record, name)) for name in ("open", "release")] == [1, 1]


def test_the_detector_on_the_chip_and_the_classifier_on_the_cpu(order, hef, classifier, tmp_path, capfd):
    order()
    write_picture(tmp_path / "a.png", scene((640, 480), 200, 150, 100, 120))
    labels = []
    for model in (classifier, classifier.parents[1] / "model_float32.tflite"):
        assert analyse(Settings([str(tmp_path / "a.png")], str(model), detector=str(hef), form="json")) == 0
        out, said = capfd.readouterr()
        labels.append(json.loads(out)[0]["faces"][0]["label"])
        assert f"detector {hef}\n" in said
    assert labels[0] == labels[1]


@pytest.mark.parametrize(
    ("switches", "line"),
    [
        ({"devices": 0}, "no Hailo device found"),
        ({"lost_after": 2}, "scrfd_2.5g.hef: the device was lost in mid-run"),
    ],
)
def test_a_device_that_fails_is_one_line(order, hef, switches, line):
    order(**switches)
    with pytest.raises(UserError, match=line) as said, closing(open_detector(hef)) as detector:
        for _ in range(3):
            detector.find(scene((640, 480), 200, 150, 100, 120))
    assert "\n" not in str(said.value)
