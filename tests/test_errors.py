"""Other programs' messages, in one line."""

from fer_hailo.common.errors import first_line, one_line, with_class


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
