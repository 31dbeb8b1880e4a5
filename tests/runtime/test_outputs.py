import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import PATHS, ROOT

from fer_hailo.board import mp4, outputs
from fer_hailo.board.frames import Reading, Result, Shot
from fer_hailo.board.images import read_picture, write_picture
from fer_hailo.board.outputs import Csv, Json, JsonLines, SavedPictures, SavedVideo, Stop, Table, Window
from fer_hailo.common.errors import UserError

LABELS = ("angry", "happy")


def picture(source, *faces, level=128, size=(40, 60)):
    return Result(Shot(source, np.full((*size, 3), level, np.uint8)), faces)


def frame(number, *faces, source="film.mp4", rate=10.0, time_s=None, level=128, size=(48, 64)):
    return Result(
        Shot(
            source,
            np.full((*size, 3), level, np.uint8),
            number,
            number / rate if time_s is None else time_s,
            rate,
        ),
        faces,
    )


def lost(number, source="film.mp4", rate=10.0):
    return Result(Shot(source, None, number, number / rate, rate, problem="is corrupt"))


def happy(share=0.75, track=None):
    return Reading((1, 2, 30, 31), 5.5, LABELS, np.array([1 - share, share]), track)


def show(sink, *results):
    for result in results:
        sink.write(result, result.shot.image)
    sink.close()
    sink.close()  # harmless


def levels(path):
    """Mean grey level of each frame of a video, and its rate."""
    import cv2

    video = cv2.VideoCapture(str(path))
    rate, found = video.get(cv2.CAP_PROP_FPS), []
    while (read := video.read())[0]:
        found.append(int(round(read[1].mean())))
    assert len(found) == video.get(cv2.CAP_PROP_FRAME_COUNT)
    return found, rate


def near(found, expected):
    # It is a lossy format
    return len(found) == len(expected) and np.abs(np.subtract(found, expected)).max() <= 4


# Text


def test_table_of_pictures(capsys):
    unreadable = Result(Shot("c.png", None, problem="does not exist"))
    show(
        Table(),
        picture("a.png", happy(), happy(0.2)),
        picture("wall.png"),
        unreadable,
        picture("evil\x1b[2J.png"),
    )
    assert capsys.readouterr().out.splitlines() == [
        "a.png  happy   75.0 %  at 1,2  30x31",
        "a.png  angry   80.0 %  at 1,2  30x31",
        "wall.png  no face",
        "evil?[2J.png  no face",
    ]


def test_table_of_a_video_names_changes_and_each_second(capsys):
    shares = [0.9, 0.9, 0.9, 0.1, 0.1] + [0.1] * 11
    show(
        Table(),
        *[frame(number, happy(share, 1)) for number, share in enumerate(shares)],
        frame(16),
        frame(600, happy(0.9, 2), rate=10),
    )
    assert capsys.readouterr().out.splitlines() == [
        "film.mp4  0:00.00  frame 0  #1  happy   90.0 %  at 1,2  30x31",
        "film.mp4  0:00.30  frame 3  #1  angry   90.0 %  at 1,2  30x31",
        "film.mp4  0:01.30  frame 13  #1  angry   90.0 %  at 1,2  30x31",
        "film.mp4  1:00.00  frame 600  #2  happy   90.0 %  at 1,2  30x31",
    ]
    # 3 seconds, then played once more
    show(Table(), *[frame(number, happy(0.9, 1)) for number in (0, 30, 1, 2)])
    assert [line.split()[3] for line in capsys.readouterr().out.splitlines()] == ["0", "30", "1"]


def test_json_is_a_list_written_as_it_comes(capsys):
    sink = Json()
    sink.write(picture("a.png", happy()), None)
    early = capsys.readouterr().out
    assert json.loads(early + "]") == [
        {
            "source": "a.png", "width": 60, "height": 40,
            "faces": [
                {"box": [1, 2, 30, 31], "score": 5.5, "detected": True, "label": "happy", "sure": True,
                 "probabilities": {"angry": 0.25, "happy": 0.75}, "track": None},
            ],
        }
    ]  # fmt: skip
    show(sink, lost(3), picture("\udcff\n.png"))
    whole = json.loads(early + capsys.readouterr().out)
    assert whole[1] == {"source": "film.mp4", "frame": 3, "time_s": 0.3, "problem": "is corrupt"}
    assert len(whole) == 3 and whole[2]["source"] == "\udcff\n.png"
    show(Json())
    assert json.loads(capsys.readouterr().out) == []


def test_json_lines(capsys):
    sink = JsonLines()
    for number in range(3):
        sink.write(frame(number, happy(track=4)), None)
        line = capsys.readouterr().out  # at once
        assert line.count("\n") == 1 and json.loads(line)["frame"] == number
    assert json.loads(line)["faces"][0]["track"] == 4


def test_csv(capsys):
    show(
        Csv(LABELS),
        picture('a "1",\n.png', happy(), happy(0.2)),
        picture("wall.png"),
        lost(2),
        frame(3, happy(track=4)),
    )
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows == [
        dict(zip(rows[0], values, strict=True))
        for values in (
            [
                'a "1",\n.png',
                "",
                "",
                "60",
                "40",
                "0",
                "",
                "1",
                "2",
                "30",
                "31",
                "5.5",
                "1",
                "happy",
                "1",
                "0.25",
                "0.75",
            ],
            [
                'a "1",\n.png',
                "",
                "",
                "60",
                "40",
                "1",
                "",
                "1",
                "2",
                "30",
                "31",
                "5.5",
                "1",
                "angry",
                "1",
                "0.8",
                "0.2",
            ],
            [
                "film.mp4",
                "3",
                "0.3",
                "64",
                "48",
                "0",
                "4",
                "1",
                "2",
                "30",
                "31",
                "5.5",
                "1",
                "happy",
                "1",
                "0.25",
                "0.75",
            ],
        )
    ]
    assert (
        ",".join(rows[0])
        == "source,frame,time_s,width,height,face,track,x,y,w,h,score,detected,label,sure,p_angry,p_happy"
    )


PROGRAM = """
import sys
import numpy as np
from fer_hailo.common.cli import run
from fer_hailo.board.frames import Reading, Result, Shot
from fer_hailo.board.outputs import *

def main(argv):
    sink = eval(argv[0])
    image = np.full((480, 640, 3), 128, np.uint8)
    even = ("angry", "happy"), np.array([0.5, 0.5])
    faces = [Reading((1, 2, 3, 4), 1.0, *even, track) for track in range(100)]
    try:
        for number in range(int(argv[1])):
            sink.write(Result(Shot("film.mp4", image, number, number / 10, 10.0), faces), image)
            if number == 3:
                print("ready", file=sys.stderr, flush=True)
    finally:
        sink.close()

sys.exit(run(main, sys.argv[1:]))
"""


def start(sink, number, **options):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, sink, str(number)],
        env=os.environ | PATHS,
        stderr=subprocess.PIPE,
        **options,
    )


@pytest.mark.parametrize(
    "sink, number, unbuffered",
    [("Json()", signal.SIGINT, ""), ("Json()", signal.SIGTERM, "1"), ("JsonLines()", signal.SIGINT, "1")],
)
def test_json_is_valid_when_interrupted_in_mid_write(monkeypatch, sink, number, unbuffered):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    program = start(sink, 10**9, stdout=subprocess.PIPE)
    assert program.stderr.readline() == b"ready\n"
    # Nobody reads: the pipe is full by now, and the program waits with a half-written element
    time.sleep(0.3)
    program.send_signal(number)
    time.sleep(0.2)
    out, errors = program.communicate(timeout=60)
    assert b"interrupted" in errors and program.returncode == 130
    found = json.loads(out) if sink == "Json()" else [json.loads(line) for line in out.splitlines()]
    assert [result["frame"] for result in found] == list(range(len(found))) and len(found) > 3


def test_a_reader_that_has_enough_ends_it_quietly():
    program = start("JsonLines()", 10**9, stdout=subprocess.PIPE)
    assert json.loads(program.stdout.readline())["frame"] == 0
    program.stdout.close()
    errors = program.stderr.read().decode()
    assert program.wait(60) == 141 and errors in ("", "ready\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_gives_one_line(tmp_path):
    with open("/dev/full", "wb") as out:
        program = start("Json()", 5, stdout=out)
        errors = program.communicate(timeout=60)[1].decode()
    assert program.returncode == 2 and errors.count("\n") == 1 and "No space left" in errors


# Images


def test_pictures_keep_their_format(tmp_path):
    sources = ["in/a.JPG", "in/b.gif", "in/c.png"]
    show(
        SavedPictures(tmp_path / "new/out", sources),
        *[picture(source, level=200) for source in sources],
        Result(Shot("d.png", None)),
    )
    assert sorted(path.name for path in (tmp_path / "new/out").iterdir()) == ["a.JPG", "b.png", "c.png"]
    for path in (tmp_path / "new/out").iterdir():
        assert (read_picture(path) == 200).all()
    assert (tmp_path / "new/out/a.JPG").read_bytes()[:3] == b"\xff\xd8\xff"


def test_sources_of_the_same_name(tmp_path):
    sources = ["one/a.png", "two/a.png", "two/A.png", "a-2.png"]
    for _ in range(2):  # an earlier run's files are replaced
        show(
            SavedPictures(tmp_path, sources),
            *[picture(source, level=level) for source, level in zip(sources, (1, 2, 3, 4), strict=True)],
        )
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == ["A-3.png", "a-2-2.png", "a-2.png", "a.png"] or names == [
            "A-2-2.png",
            "A-2.png",
            "a-2.png",
            "a.png",
        ], names
    assert sorted(int(read_picture(path)[0, 0, 0]) for path in tmp_path.iterdir()) == [1, 2, 3, 4]


@pytest.mark.parametrize("named", ["file", "folder", "pattern", "link"])
def test_a_source_is_never_overwritten(tmp_path, monkeypatch, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number, name in enumerate(("a.png", "a-2.png")):
        write_picture(tmp_path / "photos" / name, np.full((8, 8, 3), number, np.uint8))
    sources = ["photos/a.png", "photos/a-2.png"]
    if named == "link":
        os.symlink(tmp_path / "photos", tmp_path / "same")
    arguments = {"file": sources, "folder": ["photos"], "pattern": ["phot*/*.png"], "link": ["same"]}[named]
    show(SavedPictures("photos", arguments), *[picture(source, level=99) for source in sources])
    assert {path.name: int(read_picture(path)[0, 0, 0]) for path in (tmp_path / "photos").iterdir()} == {
        "a.png": 0, "a-2.png": 1, "a-3.png": 99, "a-2-2.png": 99,
    }  # fmt: skip
    with pytest.raises(UserError, match="is a source"):
        SavedVideo("photos/a.png", arguments)


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.mp4").mkdir()
    for place in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(UserError, match="cannot write into"):
            SavedPictures(place, [])
    with pytest.raises(UserError, match="cannot write into"):
        SavedVideo(tmp_path / "file/film.mp4", [])
    with pytest.raises(UserError, match="is a folder"):
        SavedVideo(tmp_path / "folder.mp4", [])
    assert (tmp_path / "file").read_text() == ""


# Videos


@pytest.mark.parametrize("rate", [7.5, 10, 24000 / 1001, 29.97, 60, 119.88012])
def test_a_video_keeps_rate_and_length(tmp_path, rate):
    shades = [40 + 10 * (number % 20) for number in range(50)]
    show(
        SavedVideo(tmp_path / "out.mp4", []),
        *[frame(n, rate=rate, level=level) for n, level in enumerate(shades)],
    )
    found, read = levels(tmp_path / "out.mp4")
    assert near(found, shades) and abs(read - rate) < 0.002
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_colours_of_a_video(tmp_path):
    import cv2

    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 255
    sink = SavedVideo(tmp_path / "out.mp4", [])
    sink.write(frame(0), red)
    sink.close()
    blue, green, red = cv2.VideoCapture(str(tmp_path / "out.mp4")).read()[1].mean((0, 1))
    assert red > 240 and green < 15 and blue < 15


def test_frames_that_could_not_be_read_leave_no_gap(tmp_path):
    show(
        SavedVideo(tmp_path / "out.mp4", []),
        lost(0),
        lost(1),
        frame(2, level=50),
        lost(3),
        frame(4, level=150),
        lost(5),
        lost(6),
    )
    assert near(levels(tmp_path / "out.mp4")[0], [50, 50, 50, 50, 150, 150, 150])


def test_a_camera_plays_as_long_as_it_ran(tmp_path):
    # Ten a second from second 3.0 on: two close together, a pause, one in time. Worked out by hand: slots 0,
    # 1, 1, 5, 6.
    times, shades = [3.0, 3.08, 3.12, 3.49, 3.62], [20, 60, 100, 140, 180]
    results = [
        frame(9 * n, source="camera 0", time_s=t, level=level)
        for n, (t, level) in enumerate(zip(times, shades, strict=True))
    ]
    gone = Result(Shot("camera 0", None, problem="is gone, retrying"))
    show(SavedPictures(tmp_path, ["0"]), *results[:3], gone, *results[3:])
    assert near(levels(tmp_path / "camera 0.mp4")[0], [20, 60, 100, 100, 100, 140, 180])
    assert os.listdir(tmp_path) == ["camera 0.mp4"]


@pytest.mark.parametrize("rate", [None, 0.0, float("nan"), 90000.0])
def test_a_camera_that_does_not_know_its_rate(tmp_path, rate):
    show(SavedVideo(tmp_path / "out.mp4", []), *[frame(n, time_s=n / 5, rate=rate) for n in range(6)])
    found, read = levels(tmp_path / "out.mp4")
    assert read == 25 and len(found) == 26  # five pauses of 0.2 s and the last frame


def test_odd_and_changing_sizes(tmp_path):
    import cv2

    show(
        SavedVideo(tmp_path / "out.mp4", []),
        frame(0, size=(49, 65)),
        frame(1, size=(98, 130)),
        frame(2, size=(1, 1)),
    )
    video = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    shapes = [video.read()[1].shape for _ in range(3)]
    assert shapes == [(50, 66, 3)] * 3


def test_videos_and_pictures_in_one_folder(tmp_path):
    films = [
        frame(n, source=source, level=level)
        for source, level in (("a/x.avi", 50), ("b/x.mov", 90))
        for n in range(3)
    ]
    again = [frame(n, source="b/x.mov", level=130) for n in range(3)]
    show(SavedPictures(tmp_path, []), *films, *again, picture("a/x.png"))
    assert sorted(os.listdir(tmp_path)) == ["x-2.mp4", "x-3.mp4", "x.mp4", "x.png"]
    assert all(
        near(levels(tmp_path / name)[0], 3 * [level])
        for name, level in (("x.mp4", 50), ("x-2.mp4", 90), ("x-3.mp4", 130))
    )


def test_what_does_not_go_into_one_video(tmp_path):
    sink = SavedVideo(tmp_path / "out.mp4", [])
    with pytest.raises(UserError, match="a.png is no video"):
        sink.write(picture("a.png"), np.zeros((40, 60, 3), np.uint8))
    show_first = [frame(n) for n in range(3)]
    for result in show_first:
        sink.write(result, result.shot.image)
    with pytest.raises(UserError, match="takes one video, other.mp4 is another"):
        sink.write(frame(0, source="other.mp4"), show_first[0].shot.image)
    sink.close()
    assert len(levels(tmp_path / "out.mp4")[0]) == 3


def test_a_source_without_a_picture_leaves_what_was_there(tmp_path):
    (tmp_path / "out.mp4").write_bytes(b"earlier")
    show(SavedVideo(tmp_path / "out.mp4", []), lost(0), lost(1))
    assert (tmp_path / "out.mp4").read_bytes() == b"earlier" and len(os.listdir(tmp_path)) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_video_plays(tmp_path, number):
    program = start(f"SavedVideo({str(tmp_path / 'out.mp4')!r}, [])", 10**9)
    assert program.stderr.readline() == b"ready\n"
    program.send_signal(number)
    assert b"interrupted" in program.communicate(timeout=60)[1] and program.returncode == 130
    assert len(levels(tmp_path / "out.mp4")[0]) > 3 and os.listdir(tmp_path) == ["out.mp4"]


def test_a_disk_that_fills_up_leaves_a_video_that_plays(tmp_path, monkeypatch):
    sink, free = SavedVideo(tmp_path / "out.mp4", []), iter([2**30] * 5 + [2**20])
    monkeypatch.setattr(mp4.shutil, "disk_usage", lambda _: type("usage", (), {"free": next(free)}))
    with pytest.raises(UserError, match="ends after 5 frames, the disk is full"):
        show(sink, *[frame(n) for n in range(10)])
    sink.close()
    assert len(levels(tmp_path / "out.mp4")[0]) == 5


def test_a_video_that_is_not_whole_is_not_kept(tmp_path):
    resource = pytest.importorskip("resource")
    (tmp_path / "out.mp4").write_bytes(b"earlier")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # noqa: E731, what a quota does
    program = start(f"SavedVideo({str(tmp_path / 'out.mp4')!r}, [])", 100, preexec_fn=limit)
    errors = program.communicate(timeout=60)[1].decode()
    assert program.returncode == 2 and "could not be written" in errors and "Traceback" not in errors, errors
    assert (tmp_path / "out.mp4").read_bytes() == b"earlier" and os.listdir(tmp_path) == ["out.mp4"]


def test_names_for_addresses():
    assert outputs._stem("rtsp://user:secret@10.0.0.7:554/live/cam_1?x=1") == "10.0.0.7-live-cam_1"
    assert (
        outputs._stem("camera 0") == "camera 0"
        and outputs._stem("/dev/video2") == "video2"
        and outputs._stem("a/b.c.mp4") == "b.c"
    )


# The window


class Screen:
    """OpenCV's window functions, with a user who presses keys."""

    def __init__(self, monkeypatch, keys, visible=1.0):
        import cv2

        self.shown, self.closed, keys = [], False, iter(keys)
        for name, function in {
            "namedWindow": lambda *_: None,
            "resizeWindow": lambda _, wide, high: setattr(self, "size", (wide, high)),
            "imshow": lambda _, bgr: self.shown.append(bgr),
            "waitKey": lambda _: next(keys),
            "getWindowProperty": lambda *_: visible,
            "destroyAllWindows": lambda: setattr(self, "closed", True),
        }.items():
            monkeypatch.setattr(cv2, name, function)
        monkeypatch.setattr(outputs, "_check_display", lambda: None)


def test_window_shows_frames_until_a_key_ends_it(monkeypatch):
    screen, blue = Screen(monkeypatch, [-1, ord("x"), ord("q")]), np.zeros((2000, 4000, 3), np.uint8)
    blue[..., 2] = 255
    window = Window()
    window.write(frame(0), blue)
    window.write(lost(1), None)
    window.write(frame(2), blue)
    with pytest.raises(Stop):
        window.write(frame(3), blue)
    window.close()
    assert (
        len(screen.shown) == 3
        and (screen.shown[0][0, 0] == (255, 0, 0)).all()
        and screen.size == (1280, 640)
        and screen.closed
    )


def test_window_keeps_a_picture_until_a_key(monkeypatch):
    keys = [-1, -1, -1, ord("n"), -1, 27]
    screen, window = Screen(monkeypatch, keys), Window()
    window.write(picture("a.png"), np.zeros((40, 60, 3), np.uint8))
    with pytest.raises(Stop):
        window.write(picture("b.png"), np.zeros((40, 60, 3), np.uint8))
    assert len(screen.shown) == 2


@pytest.mark.parametrize("backend", ["GTK", "Qt"])
def test_a_closed_window_ends(monkeypatch, backend):
    import cv2

    def closed(*_):
        raise cv2.error("NULL guiReceiver (please create a window)")

    Screen(monkeypatch, [-1], visible=0.0)
    if backend == "Qt":
        monkeypatch.setattr(cv2, "getWindowProperty", closed)
    with pytest.raises(Stop):
        Window().write(picture("a.png"), np.zeros((40, 60, 3), np.uint8))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a display")
def test_no_display(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":99999")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(UserError, match="no display .* use --web"):
        Window()


def test_an_opencv_without_windows(monkeypatch, tmp_path):
    (tmp_path / "cv2.py").write_text(
        "def namedWindow(_): raise Exception('Rebuild the library with GTK+ 2.x support.')"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    with pytest.raises(UserError, match="this OpenCV has no windows: pip uninstall opencv-python-headless"):
        Window()
