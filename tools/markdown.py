"""Tables and numbers as the documents write them."""

from fer_hailo.common.results import Row


def markdown(header: tuple, lines: list[tuple]) -> str:
    return "".join("| " + " | ".join(line) + " |\n" for line in (header, ("---",) * len(header), *lines))


def percent(fraction: str | float, digits: int = 1) -> str:
    return f"{100 * float(fraction):.{digits}f} %"


def points(fraction: str | float, digits: int = 1) -> str:
    """A difference, with its sign."""
    return f"{100 * float(fraction):+.{digits}f}"


def accuracy(row: Row) -> str:
    """With its 95 % interval."""
    low, high = (f"{100 * float(getattr(row, name)):.1f}" for name in ("accuracy_low", "accuracy_high"))
    return f"{percent(row.accuracy)} [{low}, {high}]"
