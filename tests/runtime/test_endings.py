"""How run.py ends in the midst of its work: by which exit status, and never by an abort."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import PATHS, ROOT

MODEL = ROOT / "tests" / "saved" / "run" / "deploy" / "model_int8.tflite"
# While the global `late` waits Python takes itself down: a thread that then comes out of OpenCV aborts it all
LATE = """
import sys, time
class Late:
    def __del__(self, sleep=time.sleep):
        sleep(0.3)
late = Late()
"""
# At the end the source is not waited for, as one is not whose driver hangs; the camera, 0, decodes frames
PROGRAM = (
    LATE
    + """
import cv2, numpy as np
from fer_hailo.board import pipeline
from fer_hailo.commands.run import main
from fer_hailo.common.cli import run

pipeline.READER_S = 0.0
FRAME = cv2.imencode(".jpg", np.full((480, 640, 3), 90, np.uint8))[1]

class Camera:
    isOpened = release = grab = get = set = lambda *_: True
    def __init__(self, *_): pass
    def retrieve(self): return True, cv2.imdecode(FRAME, 1)

if sys.argv[1] == "0":
    cv2.VideoCapture = Camera
sys.exit(run(main))
"""
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with images, and a video, large enough for the reader to be in the midst of one at the end."""
    import cv2

    folder = tmp_path_factory.mktemp("endings")
    grey = np.full((2000, 2000, 3), 90, np.uint8)
    (folder / "many").mkdir()
    cv2.imwrite(str(folder / "many" / "000.jpg"), grey)
    for number in range(1, 30):
        shutil.copy(folder / "many" / "000.jpg", folder / "many" / f"{number:03d}.jpg")
    writer = cv2.VideoWriter(str(folder / "long.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 20, (1280, 960))
    for _ in range(60):
        writer.write(grey[:960, :1280])
    writer.release()
    return folder


def start(place, source, **options):
    arguments = [source, "--model", str(MODEL), "--detector", "none", "--jsonl"]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=place, env=os.environ | PATHS, text=True,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler), **options,
    )  # fmt: skip


def end(process, status):
    said = process.stderr.read()
    assert process.wait(60) == status and "Traceback" not in said and "terminate" not in said, said
    return said


@pytest.mark.parametrize(
    ("source", "number"), [("many", signal.SIGINT), ("long.avi", signal.SIGTERM), ("0", signal.SIGTERM)]
)
def test_a_stopped_run_ends_by_130(place, source, number):
    process = start(place, source, stdout=subprocess.PIPE)
    assert json.loads(process.stdout.readline())["faces"]
    process.send_signal(number)
    for line in process.stdout.read().splitlines():
        assert json.loads(line)["faces"]
    assert "interrupted: after " in end(process, 130)


@pytest.mark.parametrize("source", ["many", "0"])
def test_a_pipe_that_nobody_reads_any_more_ends_it_by_141(place, source):
    process = start(place, source, stdout=subprocess.PIPE)
    assert json.loads(process.stdout.readline())["faces"]
    process.stdout.close()
    assert "error" not in end(process, 141)


def test_what_it_took_is_told_after_jsons_end(place):
    """Both may go to one terminal."""
    arguments = ["many/000.jpg", "--model", str(MODEL), "--detector", "none", "--json"]
    script = [sys.executable, str(ROOT / "run.py"), *arguments]
    said = subprocess.run(script, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    _, first, *result, last = said.stdout.splitlines()
    assert first == f"model {MODEL} (tflite-int8), detector none" and last.startswith("1 image in ")
    assert [answer["source"] for answer in json.loads("".join(result))] == ["many/000.jpg"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_ends_it_by_2(place):
    with open("/dev/full", "w") as full:
        assert "error: No space left on device" in end(start(place, "0", stdout=full), 2)


def test_a_command_may_end_while_a_thread_is_inside_opencv():
    program = LATE + (
        "import cv2, numpy as np, threading\n"
        "from fer_hailo.common.cli import run\n"
        "image = np.zeros((400, 400, 3), np.uint8)\n"
        "def work():\n"
        "    while True:\n"
        "        cv2.GaussianBlur(image, (31, 31), 5)\n"
        "def main(_):\n"
        "    threading.Thread(target=work, daemon=True).start()\n"
        "    time.sleep(0.1)\n"
        "    print('kept', end='')\n"
        "    return 3\n"
        "sys.exit(run(main))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | PATHS, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"kept", b"")


@pytest.mark.parametrize("closed", ["<&- 2>&-", "2>/dev/full"])
def test_without_standard_error_the_predictions_are_the_same(place, tmp_path, closed):
    if "full" in closed and not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    arguments = ["many/000.jpg", "gone.jpg", "--model", str(MODEL), "--detector", "none", "--jsonl"]
    program = [sys.executable, str(ROOT / "run.py"), *arguments, "--save", str(tmp_path)]
    done = subprocess.run(
        ["sh", "-c", f'"$0" "$@" {closed}', *program],
        cwd=place, env=os.environ | PATHS, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1 and len(lines[0]["faces"]) == 1 and "problem" in lines[1]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_help_on_a_full_disk_is_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, str(ROOT / "train.py"), "--help"],
            env=os.environ | PATHS, stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "No space left" in done.stderr
