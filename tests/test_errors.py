"""Other programs' messages, in one line; packages that are missing."""

import signal
import sys

import pytest
from conftest import ROOT, error_line

from fer_hailo.common.cli import Parser, run
from fer_hailo.common.errors import UserError, first_line, one_line, printable, with_class
from fer_hailo.common.missing import remedy


def test_one_line_squeezes_and_cuts():
    error = ValueError("  cannot\n\tread   this\r\nfile ")
    assert one_line(error) == "cannot read this file" and one_line(error, 6) == "cannot"
    assert one_line(MemoryError()) == ""


def test_first_line_skips_empty_lines_and_leaves_the_trace():
    error = RuntimeError("\n \n  no   device \n  at chip.cpp:7")
    assert first_line(error) == "no   device" and first_line(error, 2) == "no"
    assert (
        first_line(RuntimeError(" \n ")) == "no reason given"
        and first_line("", otherwise="nothing") == "nothing"
    )


def test_the_class_tells_what_the_text_does_not():
    assert with_class(KeyError("labels"), one_line(KeyError("labels"), 80)) == "KeyError: 'labels'"


def test_debug_shows_what_an_error_was_made_of(capsys):
    def main(argv):
        try:
            {}["labels"]
        except KeyError:
            raise UserError("model.json names no labels") from None

    def read(argv):
        Parser(prog="fer-hailo run").parse_args(argv)
        main(argv)

    for arguments, lines in (([], 1), (["--debug"], 10)):
        assert run(read, arguments) == 2
        said = capsys.readouterr().err
        assert said.endswith("error: model.json names no labels\n") and said.count("\n") >= lines
        assert ("KeyError: 'labels'" in said) == ("Traceback" in said) == bool(arguments)


def test_what_a_file_says_cannot_command_the_terminal(capsys):
    """Line ends, colours, the mark that turns the direction of writing, halves of letters."""

    def main(argv):
        raise UserError("x.csv has the column 'a\nb\x1b[31mc\u202ed\udc80', and Grüße, 顔")

    assert run(main, []) == 2
    assert capsys.readouterr().err == (
        "error: x.csv has the column 'a\\nb\\x1b[31mc\\u202ed\\udc80', and Grüße, 顔\n"
    )
    assert printable("as it was") == "as it was"


@pytest.mark.parametrize(
    ("script", "package", "extra"),
    [
        ("run.py", "numpy", "board"),
        ("run.py", "cv2", "board"),
        ("evaluate.py", "numpy", "board"),
        ("convert_tflite.py", "numpy", "train"),
    ],
)
def test_a_package_that_this_python_lacks(command, script, package, extra):
    code = (
        f"import runpy, sys; sys.modules[{package!r}] = None; sys.argv[0] = {script!r}; "
        f"runpy.run_path({str(ROOT / script)!r}, run_name='__main__')"
    )
    said = error_line(command([sys.executable, "-c", code, "photo.jpg"]))
    assert f"this Python ({sys.executable}) has no {package}: pip install -e '.[{extra}]', or " in said
    if package == "cv2":
        assert "Traceback" in command([sys.executable, "-c", code, "photo.jpg", "--debug"]).stderr


@pytest.mark.parametrize(
    ("backend", "cure"), [("jax", "pip install -e '.[jax]'"), ("torch", "pip install torch")]
)
def test_a_backend_that_this_python_lacks(backend, cure):
    missing = ModuleNotFoundError(f"No module named '{backend}'", name=backend)
    assert f" has no {backend}: {cure}, or " in (remedy(missing, "train") or "")


def test_a_library_that_the_system_lacks_and_what_is_no_users_fault(capsys):
    def fails(error):
        def main(argv):
            raise error

        return run(main, [])

    said = "libGL.so.1: cannot open shared object file: No such file or directory"
    assert fails(ImportError(said, name="cv2")) == 2
    cure = "error: cv2 cannot be imported (libGL.so.1 is missing): sudo apt install libgl1\n"
    assert capsys.readouterr().err == cure
    for fault in (
        ImportError("cannot import name 'x' from 'numpy'", name="numpy"),
        ModuleNotFoundError("No module named 'fer_hailo.x'", name="fer_hailo.x"),
        ModuleNotFoundError("No module named '_lzma'", name="_lzma"),
    ):
        with pytest.raises(type(fault)):
            fails(fault)


def test_ctrl_c_while_c_code_imports(capsys):
    """numpy's makes an ImportError of it."""

    def main(argv):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("PyCapsule_Import could not import module") from None

    assert run(main, []) == 130
    assert capsys.readouterr().err == "interrupted\n"
    with pytest.raises(ImportError):  # what came before is not taken for it
        run(lambda argv: (_ for _ in ()).throw(ImportError("other")), [])
