"""Write the reference of docs/api.md from the docstrings of the public API.

python tools/api_page.py
"""

import argparse
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import fer_hailo
from fer_hailo.api import Face, Model
from fer_hailo.common.cli import Parser, run
from fer_hailo.common.errors import UserError
from fer_hailo.common.files import write_text

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
BEGIN, END = "<!-- api: tools/api_page.py -->\n", "<!-- end of api -->\n"
PUBLIC = (fer_hailo.load, Model, Face, UserError)  # in a reader's order


def main(argv: list[str] | None = None) -> None:
    Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args(argv)
    write_text(PAGE, with_reference(PAGE.read_text(encoding="utf-8")))


def with_reference(text: str) -> str:
    """The page with its reference made anew."""
    if BEGIN not in text or END not in text:
        raise UserError(
            f"{PAGE.name} has no place for the reference, between {BEGIN.strip()} and {END.strip()}"
        )
    return (
        text.split(BEGIN)[0] + BEGIN + "\n" + "\n".join(map(entry, PUBLIC)) + "\n" + END + text.split(END)[1]
    )


def entry(thing: type | Callable) -> str:
    """Markdown of a function, or of a class: its fields, then its public methods."""
    place = f"{thing.__module__}.{thing.__name__}"
    if not inspect.isclass(thing):
        return part("###", thing.__name__, place + signature(thing), thing)
    fields = (f"    {name}: {kind}" for name, kind in vars(thing).get("__annotations__", {}).items())
    methods = [
        part("####", f"{thing.__name__}.{name}", f"{name}{signature(member)}", member)
        for name, member in vars(thing).items()
        if inspect.isfunction(member) and not name.startswith("_")
    ]
    return "\n".join([part("###", thing.__name__, "\n".join([f"class {place}", *fields]), thing), *methods])


def part(level: str, title: str, shown: str, thing: object) -> str:
    """A heading, what is written in a program, and the docstring as it is."""
    return f"{level} {title}\n\n```python\n{shown}\n```\n\n{inspect.getdoc(thing)}\n"


def signature(thing: Callable) -> str:
    """(arguments) -> result, as written; without self."""
    found = inspect.signature(thing)
    kept = [value for key, value in found.parameters.items() if key != "self"]
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(found.replace(parameters=kept)))


if __name__ == "__main__":
    sys.exit(run(main))
