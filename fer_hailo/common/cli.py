"""What the command lines share: a parser that suggests, and one place that turns failures into exit
statuses.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import difflib
import errno
import importlib
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import NoReturn

from fer_hailo.common import quiet
from fer_hailo.common.calls import calls, tool
from fer_hailo.common.errors import UserError
from fer_hailo.common.missing import remedy
from fer_hailo.common.streams import leave, prepare, settle

# Errors of the place that a user chose, not of the program.
PLACES = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EFBIG,
}
INTERRUPTED = 130  # what shells expect of a program that SIGINT or SIGTERM ended
UNREAD = 141  # and of one whose output nobody reads any more, as behind `| head`
DEBUG = "--debug"
_came: list[int] = []  # the signals that asked this program to end


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and name the nearest known option."""

    def __init__(self, **options):
        options.setdefault("allow_abbrev", False)
        options.setdefault("formatter_class", argparse.ArgumentDefaultsHelpFormatter)
        super().__init__(**options)
        self.add_argument(
            DEBUG, action=_Noted, help="show what frameworks print, and with an error where it came from"
        )

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments:"):
            flag = message.split(":", 1)[1].split()[0].split("=")[0]
            kind = "option" if flag.startswith("-") else "argument"
            message = f"unknown {kind} {flag}{self._meant(flag)} (see --help)"
        raise UserError(message)

    def _meant(self, flag: str) -> str:
        """As `nearest`; the dashes, which all options have, make none alike."""
        words = [option[2:] for option in self._option_string_actions if option.startswith("--")]
        found = difflib.get_close_matches(flag.lstrip("-"), words, n=1)
        return f" (did you mean --{found[0]}?)" if found else ""

    def _print_message(self, message: str, file=None) -> None:
        """argparse would take a full disk for done."""
        if message and file:
            file.write(message)


class _Noted(argparse.Action):
    """A flag that `run` looks for by itself: no command need know it."""

    def __init__(self, option_strings, dest, help):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, *_):
        pass


def command_parser(command: str, text: str) -> Parser:
    """The parser of a command.

    text: its help. What it says of `fer-hailo COMMAND` is shown as the user called it
    (fer_hailo/common/calls.py).
    """
    return Parser(
        prog=tool(command), description=calls(text), formatter_class=argparse.RawDescriptionHelpFormatter
    )


def command(name: str) -> Callable[[list[str] | None], int | None]:
    """The main of a command, whose module is loaded in the call: so `run` tells what cannot be imported."""

    def main(argv: list[str] | None = None) -> int | None:
        return importlib.import_module(f"fer_hailo.commands.{name}").main(argv)

    return main


def nearest(word: object, known: Iterable) -> str:
    """` (did you mean X?)` for the known word that is most like `word`, else an empty string."""
    found = difflib.get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.5)
    return f" (did you mean {found[0]}?)" if found else ""


def run(main: Callable[[list[str] | None], int | None], argv: list[str] | None = None) -> int:
    """Call `main(argv)` and return its exit status: a UserError or a full disk becomes one line on standard
    error and 2; Ctrl-C and SIGTERM 130; a pipe that nobody reads any more 141.

    SIGTERM is handled as Ctrl-C is, so that a stopped job closes its files in the same way. argv: None: the
    program's own, which then ends with this status whatever its threads are at.
    """
    _came.clear()
    with contextlib.suppress(ValueError):  # not the main thread: the caller keeps its own handling
        signal.signal(signal.SIGTERM, _interrupt)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and not ignored
            signal.signal(signal.SIGINT, _interrupt)
    statuses = [1]  # Python's own, of an exception that comes through
    if argv is None:
        prepare()
        quiet.start(DEBUG in sys.argv[1:])
        # Called last, as it is registered first
        atexit.register(lambda: leave(statuses[-1]))
    statuses.append(_status(main, argv))
    settle()
    return statuses[-1]


def _status(main: Callable[[list[str] | None], int | None], argv: list[str] | None) -> int:
    try:
        try:
            status = main(argv) or 0
        except SystemExit as end:  # of --help and --version
            if end.code:
                raise
            status = 0
        if sys.stdout:  # None where it is closed
            sys.stdout.flush()
        return status
    except UserError as error:
        if DEBUG in (sys.argv[1:] if argv is None else argv):
            _show_origin(error)
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"interrupted{f': {stop}' if str(stop) else ''}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return UNREAD
    except ImportError as error:
        if _came:  # C code that imports, as numpy's, makes an ImportError of KeyboardInterrupt
            print("interrupted", file=sys.stderr)
            return INTERRUPTED
        said = remedy(error)
        if said is None or DEBUG in (sys.argv[1:] if argv is None else argv):
            raise
        print(f"error: {said}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in PLACES:
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(
            f"error: {error.strerror}{where}: nothing that existed was changed; make room or choose another "
            "folder",
            file=sys.stderr,
        )
        return 2


def _show_origin(error: BaseException) -> None:
    """Print the traceback with the exceptions that a UserError was made of, which it hides elsewhere."""
    link: BaseException | None = error
    while link:
        link.__suppress_context__ = False
        link = link.__cause__ or link.__context__
    traceback.print_exception(error)


def _interrupt(signum, frame):
    _came.append(signum)
    raise KeyboardInterrupt
