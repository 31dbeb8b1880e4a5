"""Files, folders, videos and cameras as sources. Videos are written here, the camera follows a script."""

import os
import struct
import sys
import threading
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from films import RED, FakeCamera, clock, counting, film, index_first, patch, plain, retime

from fer_hailo.board.camera import waits
from fer_hailo.board.images import write_picture
from fer_hailo.board.sources import Video, open_sources, public
from fer_hailo.common.errors import UserError

PIXELS = 10**8


def shots(*arguments, max_pixels=PIXELS):
    return [
        shot
        for source in open_sources([str(argument) for argument in arguments], max_pixels)
        for shot in source.shots()
    ]


def told(*arguments, **options):
    """(source, problem) of what could not be read."""
    return [(shot.source, shot.problem) for shot in shots(*arguments, **options) if shot.image is None]


def greys(found):
    return [None if shot.image is None else round((float(shot.image.mean()) - 20) / 8) for shot in found]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Images, folders, patterns


def test_a_picture(place):
    write_picture("red.png", plain())
    (source,) = open_sources(["red.png"], PIXELS)
    (shot,) = source.shots()
    assert (source.name, source.live, source.count) == ("red.png", False, 1)
    assert (shot.source, shot.frame, shot.time_s, shot.problem) == ("red.png", None, 0.0, "")
    assert shot.image.shape == (48, 64, 3) and shot.image[0, 0].tolist() == list(RED)


def test_a_folder_in_natural_order(place):
    for name in ("b/10.png", "b/9.PNG", "b/2.png", "B.jpg", "a1/x.png", ".hidden/x.png", "._2.png"):
        write_picture(f"all/{name}", plain())
    film(place / "all/b/3.avi", counting(2))
    (place / "all/notes.txt").write_text("no image")
    names = [source.name for source in open_sources(["all"], PIXELS)]
    assert names == [
        f"all/{name}" for name in ("a1/x.png", "b/2.png", "b/3.avi", "b/9.PNG", "b/10.png", "B.jpg")
    ]
    assert [source.count for source in open_sources(["all"], PIXELS)] == [1, 1, 2, 1, 1, 1]


def test_patterns(place):
    for name in ("a/1.png", "a/c/2.png", "a/c/d/3.jpg", "a/[x].png"):
        write_picture(name, plain())
    (place / "a/notes.txt").write_text("no image")

    def names(pattern):
        return [source.name for source in open_sources([pattern], PIXELS)]

    assert names("a/*") == ["a/1.png", "a/[x].png"] and names("a/**/*.png") == [
        "a/1.png",
        "a/[x].png",
        "a/c/2.png",
    ]
    assert names("a/**") == ["a/1.png", "a/[x].png", "a/c/2.png", "a/c/d/3.jpg"]
    assert names("a/[x].png") == ["a/[x].png"]  # the file of that name, not a pattern
    assert told("b/*.png") == [("b/*.png", "matches no image or video")]


def test_the_kind_of_a_file_without_a_known_suffix(place):
    write_picture("photo.png", plain())
    os.rename("photo.png", "photo.dat")
    os.rename(film(place / "clip.avi", counting(3)), "clip.dat")
    (place / "notes.txt").write_text("FFmpeg would draw this\n" * 20)
    (place / "other.bin").write_bytes(bytes(range(256)) * 9)
    assert [shot.frame for shot in shots("photo.dat", "clip.dat")] == [None, 0, 1, 2]
    assert told("notes.txt", "other.bin") == [
        ("notes.txt", "is neither an image nor a video"),
        ("other.bin", "cannot be opened as a video"),
    ]


def test_bad_files_do_not_stop_the_good_ones(place):
    write_picture("good.png", plain())
    write_picture("dot.png", plain(size=(1, 1)))
    write_picture("large.png", plain(size=(400, 300)))
    (place / "text.jpg").write_text("no image")
    (place / "text.mp4").write_text("no video")
    (place / "empty.mp4").touch()
    (place / "folder").mkdir()
    found = shots(
        "none.png",
        "none.mp4",
        "text.jpg",
        "text.mp4",
        "empty.mp4",
        "folder",
        "large.png",
        "dot.png",
        "good.png",
        max_pixels=10**5,
    )
    assert [(shot.source, shot.problem) for shot in found] == [
        ("none.png", "does not exist"),
        ("none.mp4", "does not exist"),
        ("text.jpg", "is not an image"),
        ("text.mp4", "cannot be opened as a video"),
        ("empty.mp4", "is empty (0 bytes)"),
        ("folder", "holds no images or videos"),
        ("large.png", "is too large: 400 x 300 are more than 100,000 pixels (--max-pixels)"),
        ("dot.png", ""),
        ("good.png", ""),
    ]
    assert [shot.image is None for shot in found] == [True] * 7 + [False] * 2


def test_an_unreadable_folder(place, monkeypatch):
    write_picture("all/good.png", plain())
    (place / "all/closed").mkdir()
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)  # chmod does not keep root out
    assert told("all") == [("all/closed", "cannot be read: Permission denied")] and len(shots("all")) == 2
    assert told("all/closed") == [("all/closed", "cannot be read: Permission denied")]


# Videos


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_a_video(place, suffix):
    path = film(place / f"clip{suffix}", counting(12), rate=8)
    (source,) = open_sources([path.name], PIXELS)
    found = list(source.shots())
    assert (source.live, source.count) == (False, 12)
    assert [shot.frame for shot in found] == list(range(12)) and greys(found) == list(range(12))
    assert [shot.time_s for shot in found] == pytest.approx([n / 8 for n in range(12)], abs=1e-3)
    assert {shot.rate for shot in found} == {8.0} and found[0].image.shape == (48, 64, 3)


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_a_red_video_is_red(place, suffix):
    (shot,) = shots(film(place / f"red{suffix}", [plain()]))
    assert np.abs(shot.image.astype(int) - RED).max() < 8


def test_a_variable_frame_rate_keeps_its_times(place):
    path = film(place / "clip.mp4", counting(6), rate=10)
    tick = clock(path) // 10
    retime(path, [tick, 3 * tick, tick, 5 * tick, tick, tick])
    found = shots(path)
    assert greys(found) == list(range(6))
    # Sums of the durations before
    assert [shot.time_s for shot in found] == pytest.approx([0, 0.1, 0.4, 0.5, 1.0, 1.1], abs=1e-3)


# The matrix of the track's header, by which a player turns the film clockwise (ISO/IEC 14496-12)
MATRICES = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


def turned_film(place, degrees):
    """A film of 64 x 48 whose upper half is white, and whose header turns it."""
    image = plain((0, 0, 0))
    image[:24] = 255
    path = film(place / f"phone{degrees}.mp4", [image] * 3)
    a, b, c, d = (value * 65536 for value in MATRICES[degrees])
    patch(path, b"tkhd", 40, ">6i", a, b, 0, c, d, 0)
    return path


@pytest.mark.parametrize("degrees", MATRICES)
def test_a_turned_video_is_turned_back_once(place, degrees):
    """With OpenCVs that turn by themselves, and with those that do not."""
    first = shots(turned_film(place, degrees))[0].image
    assert first.shape == ((64, 48, 3) if degrees % 180 else (48, 64, 3)) and first.flags.c_contiguous
    white = {0: np.s_[:18], 90: np.s_[:, 30:], 180: np.s_[30:], 270: np.s_[:, :18]}[degrees]
    assert first[white].mean() > 240 and first.mean() == pytest.approx(127.5, abs=8)


def test_a_video_that_opencv_turns_whatever_it_is_told_is_not_turned_again(place):
    import cv2

    class Stubborn:
        def __init__(self, *arguments):
            self.film = cv2.VideoCapture(*arguments)

        def set(self, key, value):
            return False

        def __getattr__(self, name):
            return getattr(self.film, name)

        def get(self, key):
            turns = key == cv2.CAP_PROP_ORIENTATION_AUTO
            return 1.0 if turns else self.film.get(key)

    path = turned_film(place, 90)
    captured = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [])
    expected = captured.read()[1]
    first = next(Video(path, PIXELS, Stubborn).shots()).image
    assert (first == expected[..., ::-1]).all()


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_a_video_cut_in_half(place, suffix):
    rng = np.random.default_rng(0)
    path = film(
        place / f"clip{suffix}", [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(40)]
    )
    if suffix == ".mp4":
        index_first(path)
        assert len(shots(path)) == 40 and told(path) == []
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    *frames, end = shots(path)
    assert 5 < len(frames) < 35 and [shot.frame for shot in frames] == list(range(len(frames)))
    assert all(shot.image is not None for shot in frames) and end.image is None and end.frame is None
    assert end.problem == f"ends after {len(frames)} of 40 frames: the file is cut off"


def test_a_video_that_lost_its_index(place):
    path = film(place / "clip.mp4", counting(20))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert (
        told(path) == [(str(path), "cannot be opened as a video: the file is cut off")]
        and len(shots(path)) == 1
    )
    assert open_sources([str(path)], PIXELS)[0].count == 1


def test_a_trimmed_video_is_no_cut_one(place):
    path = film(place / "clip.mp4", counting(40), rate=10)
    patch(path, b"elst", 8, ">Ii", 2000, 2 * clock(path))  # show two seconds from the second second on
    found = shots(path)
    assert len(found) == 20 and all(shot.image is not None for shot in found)


def test_a_damaged_frame_is_skipped_and_counted(place):
    path = film(place / "clip.avi", counting(12), rate=10)
    data = bytearray(path.read_bytes())
    at = data.find(b"movi")
    for _ in range(6):  # the sixth frame
        at = data.find(b"00dc", at + 1)
    (size,) = struct.unpack_from("<I", data, at + 4)
    data[at + 8 : at + 8 + size] = bytes(size)
    path.write_bytes(data)
    found = shots(path)
    assert greys(found) == [0, 1, 2, 3, 4, None, 6, 7, 8, 9, 10, 11] and [
        shot.frame for shot in found
    ] == list(range(12))
    assert [shot.time_s for shot in found] == pytest.approx([n / 10 for n in range(12)], abs=1e-3)
    assert found[5].problem == "a frame could not be decoded"


class Tape:
    """A capture of ten frames whose header tells neither rate nor useful times."""

    def __init__(self, *arguments):
        self.left = 10

    def isOpened(self):
        return True

    def set(self, key, value):
        return False

    def get(self, key):
        import cv2

        return {cv2.CAP_PROP_FRAME_WIDTH: 4, cv2.CAP_PROP_FRAME_HEIGHT: 4, cv2.CAP_PROP_POS_MSEC: 70.0}.get(
            key, 0.0
        )

    def read(self):
        self.left -= 1
        return (True, np.zeros((4, 4, 3), np.uint8)) if self.left >= 0 else (False, None)

    def release(self):
        pass


def test_times_where_the_container_has_none(place):
    (place / "clip.mp4").write_bytes(bytes(100))
    source = Video(place / "clip.mp4", PIXELS, Tape)
    found = list(source.shots())
    assert source.count is None and {shot.rate for shot in found} == {None}
    # 25 frames a second
    assert [shot.time_s for shot in found] == pytest.approx([0.07 + n / 25 for n in range(10)])


def test_a_video_above_max_pixels(place):
    path = film(place / "clip.mp4", counting(3))
    (problem,) = told(path, max_pixels=64 * 48 - 1)
    assert "too large: 64 x 48" in problem[1] and len(shots(path, max_pixels=64 * 48)) == 3


def test_stopping_a_video(place):
    (source,) = open_sources([str(film(place / "clip.mp4", counting(20)))], PIXELS)
    found = source.shots()
    next(found)
    source.stop()
    assert list(found) == []


def test_opencv_and_ffmpeg_are_quiet(place, command):
    (place / "text.mp4").write_text("no video")
    film(place / "clip.avi", counting(12))
    (place / "clip.avi").write_bytes((place / "clip.avi").read_bytes()[:4000])
    code = (
        "from fer_hailo.board.sources import *; [list(s.shots()) for s in open_sources(['text.mp4', "
        "'clip.avi', 'none.png'], 10**8)]"
    )
    done = command([sys.executable, "-c", code])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# Cameras: the fake one gives blue images in BGR, (255, 0, 0), if told so; here BGR (0, 0, 255), which is red.


def camera(*script, argument="0"):
    fake = FakeCamera(script)
    (source,) = open_sources([argument], PIXELS, capture=fake, sleep=fake.sleep, clock=fake.clock)
    return fake, source


def test_frames_of_a_camera():
    fake, source = camera(["ok"] * 5)
    found = list(islice(source.shots(), 5))
    assert (source.name, source.live, source.count) == ("camera 0", True, None)
    assert [shot.frame for shot in found] == [0, 1, 2, 3, 4] and {shot.rate for shot in found} == {10.0}
    assert [shot.time_s for shot in found] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert [shot.taken for shot in found] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])  # when it was captured
    assert found[0].image[0, 0].tolist() == list(RED)


def test_a_failed_read_is_a_damaged_frame():
    _, source = camera(["ok", "bad", "ok", "bad", "bad", "ok"])
    found = list(islice(source.shots(), 6))
    assert [shot.frame for shot in found] == [0, 1, 2, 3, 4, 5]
    assert [shot.problem for shot in found] == [
        "",
        "a frame could not be decoded",
        "",
        *["a frame could not be decoded"] * 2,
        "",
    ]
    assert [shot.time_s for shot in found] == pytest.approx([0, 0.001, 0.101, 0.102, 0.103, 0.203])


def test_a_camera_that_stalls_dies_and_returns():
    fake, source = camera(["ok", 3.0, "ok"], None, [], ["bad"], None, ["ok", "ok"])
    found = list(islice(source.shots(), 6))
    assert [shot.problem for shot in found] == ["", "", "", "is gone, retrying", "", ""]
    assert [shot.frame for shot in found] == [0, 1, 2, None, 3, 4]
    # A frame, one 3 s later, one 0.1 s later; five failed reads of 1 ms; the waits with two failed reads; a
    # good one.
    back = 3.0 + 0.1 + 5 * 0.001 + 0.5 + 1 + 2 + 4 + 8 + 2 * 0.001 + 0.1
    assert [shot.time_s for shot in found] == pytest.approx([0, 3, 3.1, 0, back, back + 0.1])
    assert fake.slept == [0.5, 1, 2, 4, 8] and len(fake.opened) == fake.released == 6


def test_a_read_that_hangs_and_fails_means_gone_at_once():
    fake, source = camera(["ok", ("hang", 10.0)], ["ok"])
    found = list(islice(source.shots(), 3))
    assert [shot.problem for shot in found] == ["", "is gone, retrying", ""] and found[
        2
    ].time_s == pytest.approx(10 + 0.5 + 0.1)


def test_a_camera_that_never_returns_ends_with_stop():
    fake, source = camera(["ok"])
    stopping = fake.sleep

    def sleep(seconds):
        stopping(seconds)
        if len(fake.slept) == 8:
            source.stop()

    source._sleep = sleep
    assert [shot.problem for shot in source.shots()] == ["", "is gone, retrying"]
    assert fake.slept == [0.5, 1, 2, 4, 8, 10, 10, 10]


def test_waiting_times():
    assert list(islice(waits(), 7)) == [0.5, 1, 2, 4, 8, 10, 10]


def test_stop_does_not_wait_for_the_backoff():
    fake = FakeCamera([["ok"]])
    (source,) = open_sources(["0"], PIXELS, capture=fake)
    found = []
    thread = threading.Thread(target=lambda: found.extend(source.shots()), daemon=True)
    thread.start()
    while len(fake.opened) < 2:  # in the second wait, of a second
        time.sleep(0.01)
    source.stop()
    thread.join(0.5)
    assert not thread.is_alive() and found[-1].problem == "is gone, retrying"


def test_how_cameras_and_addresses_are_opened():
    import cv2

    assert camera([])[0].opened == [(0, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY, [])]
    assert camera([])[0].settings == {cv2.CAP_PROP_BUFFERSIZE: 1}
    assert camera([], argument="/dev/video2")[0].opened == [("/dev/video2", cv2.CAP_V4L2, [])]
    fake, source = camera([], argument="rtsp://me:secret@10.0.0.9:554/door?channel=1")
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 5000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 5000]
    assert fake.opened == [("rtsp://me:secret@10.0.0.9:554/door?channel=1", cv2.CAP_FFMPEG, limits)]
    assert source.name == "rtsp://10.0.0.9:554/door?channel=1"


def test_a_camera_that_cannot_be_opened():
    with pytest.raises(
        UserError, match=r"camera 7 cannot be opened: check its number .*group video.*no other program"
    ):
        camera(argument="7")
    with pytest.raises(UserError, match="http://host/cam cannot be opened: check the address") as error:
        camera(argument="http://me:secret@host/cam")
    assert "secret" not in str(error.value)


def test_an_empty_argument_is_not_the_current_folder(place):
    with pytest.raises(UserError, match="a SOURCE is empty"):
        open_sources([""], 10**8)


def test_a_live_source_must_be_alone(place):
    write_picture("a.png", plain())
    for arguments in (["a.png", "0"], ["0", "1"], ["RTSP://host/cam", "a.png"]):
        with pytest.raises(UserError, match="must be the only source"):
            open_sources(arguments, PIXELS)
    write_picture("0.png", plain())
    os.rename("0.png", "0")
    assert shots("./0")[0].image is not None  # how to name a file that looks like a camera


def test_passwords_are_not_shown():
    assert (
        public("rtsp://u:p%40@host:554/a?b=c") == "rtsp://host:554/a?b=c"
        and public(str(Path("a@b.png"))) == "a@b.png"
    )
