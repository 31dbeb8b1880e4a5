"""The one exception that stands for a user's mistake."""


class UserError(Exception):
    """Bad input.

    Its message is one line: what is wrong, and what to do about it. Ends a command with exit status 2.
    """

    def __str__(self) -> str:
        """The message as a terminal may show it: what a damaged or hostile file put into it is escaped."""
        return printable(super().__str__())


def printable(text: str) -> str:
    """A text with line ends, control characters, marks that turn the direction of writing and the like as
    Python escapes them.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


def one_line(error: object, most: int | None = None) -> str:
    """An exception's text, or any other, in one line of at most `most` characters: other programs' messages
    fill many.
    """
    return " ".join(str(error).split())[:most]


def first_line(error: object, most: int = 200, otherwise: str = "no reason given") -> str:
    """The first line that says something, in at most `most` characters, for what is followed by a trace; else
    `otherwise`.
    """
    return next((line.strip()[:most] for line in str(error).splitlines() if line.strip()), otherwise)


def with_class(error: BaseException, said: str) -> str:
    """What an exception is and what it said: "KeyError: 'labels'" - many a text means little without its
    class.
    """
    return f"{type(error).__name__}: {said}"
