"""Results of a script that are called like a layer of the parsed network: the compiler takes one name for one
layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from fer_hailo.script.layers import Layers, bare
from fer_hailo.script.text import Items, Name, Statement, Value
from fer_hailo.script.vocabulary import COMMANDS

# How a command's result is called anew; others keep theirs, numbered
NAMES = {"normalization": "input_normalization"}


def without_clashes(statements: Sequence[Statement], layers: Layers) -> tuple[list[Statement], list[str]]:
    """The statements with every result that clashes with a layer of the network renamed, and a note for each.

    Statements that act on the graph after quantization are left alone: what they make takes the place of
    layers. Where a statement further on names the result, it follows.
    """
    taken = {bare(name) for name in layers.layers} | {_bare(r) for s in statements for r in s.results}
    renamed: dict[str, str] = {}
    changed, notes = [], []
    for statement in statements:
        following = _following(statement, renamed)
        known = COMMANDS.get(statement.command)
        for result in statement.results:
            name = _bare(result)
            if name and layers.find(name) and not (known and known.graph):
                new = _free(NAMES.get(statement.command, name), taken)
                taken.add(new)
                renamed[name] = new
                notes.append(
                    f"the script's result {name} is called {new}: the parsed network has a layer {name} of "
                    "its own"
                )
        changed.append(
            dataclasses.replace(following, results=tuple(_renamed(r, renamed) for r in statement.results))
        )
    return changed, notes


def _following(statement: Statement, renamed: dict[str, str]) -> Statement:
    args = tuple(_renamed(value, renamed) for value in statement.args)
    kwargs = tuple(dataclasses.replace(k, value=_renamed(k.value, renamed)) for k in statement.kwargs)
    return dataclasses.replace(statement, args=args, kwargs=kwargs)


def _renamed(value: Value, renamed: dict[str, str]) -> Value:
    if isinstance(value, Items):
        return dataclasses.replace(value, value=tuple(_renamed(item, renamed) for item in value.value))
    name = _bare(value)
    if name not in renamed:
        return value
    scope = str(value.value)[: -len(name)]
    return Name(scope + renamed[name], value.line, value.column)


def _bare(value: Value) -> str:
    return bare(str(value.value)) if isinstance(value, Name) else ""


def _free(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    return next(f"{name}_{number}" for number in range(2, len(taken) + 3) if f"{name}_{number}" not in taken)
