"""Other programs' messages, in one line."""

from fer_hailo.common.cli import Parser, run
from fer_hailo.common.errors import UserError, first_line, one_line, printable, with_class


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
