"""What frameworks print as they are loaded is held back, and nothing else is; with a framework that is a few
lines long.
"""

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import PATHS

NOTES = (
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    b"I0000 00:00:1795871455.383450    1950 port.cc:153] oneDNN custom operations are on.\n"
    b"2026-11-28 13:10:11.123456: I tensorflow/core/platform/cpu_feature_guard.cc:182] optimized\n"
    b"To enable the following instructions: AVX2, rebuild TensorFlow\n"
    b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
)
CUDA = b"E0000 00:00:1795871493.157901    2490 cuda_platform.cc:52] failed call to cuInit: INTERNAL\n"
FRAMEWORK = f"""
import os, signal, sys
os.write(2, {NOTES!r})
class config:
    def list_physical_devices():
        os.write(2, {CUDA!r})
print("a line of Python's", file=sys.stderr)
"""
PROGRAM = """
import os, sys
from fer_hailo.common import quiet
from fer_hailo.common.cli import run

def main(_):
    print("first", file=sys.stderr)
    import tensorflow
    with quiet.held():
        os.write(2, b"INFO: Created a delegate\\n")
    print("last", file=sys.stderr)
    os.write(2, b"INFO: not ours to hold back\\n")

sys.exit(run(main))
"""


@pytest.fixture
def tell(tmp_path):
    """Run the program with a framework that ends by some lines: exit status and standard error."""

    def call(ending, *arguments, wrap='"$0" "$@"', **environment) -> tuple[int, str]:
        (tmp_path / "tensorflow").mkdir(exist_ok=True)
        (tmp_path / "tensorflow" / "__init__.py").write_text(FRAMEWORK + ending)
        place = os.pathsep.join([str(tmp_path), PATHS["PYTHONPATH"]])
        own = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
        own |= {"PYTHONPATH": place, "TMPDIR": str(tmp_path), "KERAS_BACKEND": "tensorflow"}
        done = subprocess.run(
            ["sh", "-c", wrap, sys.executable, "-c", PROGRAM, *arguments],
            env=own | environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        late = time.monotonic() + 20
        while list(tmp_path.glob("fer-hailo-*")) and time.monotonic() < late:
            time.sleep(0.01)
        assert not list(tmp_path.glob("fer-hailo-*"))
        return done.returncode, done.stderr

    return call


def test_notes_are_held_back_and_nothing_else_is(tell):
    said = "first\na line of Python's\nas C++ warns\nlast\nINFO: not ours to hold back\n"
    assert tell("os.write(2, b'as C++ warns\\n')") == (0, said)


def test_a_failed_import_shows_all_that_was_held(tell):
    status, said = tell("raise ImportError('no libcudart')")
    assert status == 1 and NOTES.decode() in said and said.endswith("ImportError: no libcudart\n")


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGKILL])
def test_a_death_in_the_import_shows_all_that_was_held(tell, number):
    status, said = tell(
        f"os.write(2, b'terminate called after std::bad_alloc\\n'); os.kill(os.getpid(), {int(number)})"
    )
    assert status == 128 + number
    assert NOTES.decode() + "terminate called after std::bad_alloc\n" in said


@pytest.mark.parametrize(("arguments", "environment"), [
    (["--debug"], {}), ([], {"TF_CPP_MIN_LOG_LEVEL": "0"}),
])  # fmt: skip
def test_who_asks_for_the_notes_gets_them(tell, arguments, environment):
    status, said = tell("", *arguments, **environment)
    assert status == 0 and NOTES.decode() in said and "INFO: Created a delegate\n" in said


def test_a_level_that_asks_for_less_holds_back(tell):
    status, said = tell("", TF_CPP_MIN_LOG_LEVEL="3")
    assert status == 0 and "absl" not in said and "cuInit" not in said


def test_without_standard_error_the_program_works(tell):
    assert tell("", wrap='"$0" "$@" 2>&-') == (0, "")


def test_without_a_place_for_a_file_the_notes_are_shown(tell):
    status, said = tell("", wrap='ulimit -f 0; "$0" "$@"')  # no file may grow
    assert status == 0 and said.startswith("first\n" + NOTES.decode()) and "last\n" in said


ADVICE = """
import logging
logging.warning("5 out of the last 20 calls to %s triggered tf.function retracing. Tracing is expensive", "f")
log = logging.getLogger("tensorflow")
log.warning("%d out of the last 20 calls to %s triggered tf.function retracing. Tracing is ...", 5, "step")
log.warning("the disk is nearly full")
"""


def test_tensorflows_advice_to_programmers_is_not_shown(tell):
    code, shown = tell(ADVICE)
    assert code == 0 and "calls to f triggered" in shown and "the disk is nearly full" in shown
    assert "calls to step" not in shown
    assert "calls to step" in tell(ADVICE, "--debug")[1]
