"""The layers of a parsed network (HN), and what the layer names of a model script stand for.

A script written before the parse cannot know the parser's names (conv7, ew_add3). It names a layer by a
quoted string instead, the name of a TFLite tensor: quantization_param("expanded_conv_6_project",
precision_mode=a16_w16). The parser keeps those names as `original_names`; `resolve` turns them into its own.
Quoted names are this project's addition: the SDK never sees one.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import glob
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_hailo.common.errors import UserError
from fer_hailo.formats.har import read_har
from fer_hailo.formats.tflite import GATE, SIXTH
from fer_hailo.script.text import Items, Name, Statement, Text, Value
from fer_hailo.script.vocabulary import layer_values, names_layers, near, typed_values


@dataclass(frozen=True)
class Layer:
    """One layer: type as the HN calls it (conv, dw, ew_add, ...), scoped names of its neighbours, names in
    the TFLite file.
    """

    type: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    original_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layers:
    """The layers of a network by scoped name (net/conv1), in the order of the HN."""

    name: str
    layers: dict[str, Layer]

    @classmethod
    def from_hn(cls, hn: dict) -> Layers:
        """From the HN as a dictionary: name and layers {"net/conv1": {type, input, output, original_names}}.

        Neighbours that are not among the layers are left out. Raises UserError where that structure is
        missing.
        """
        entries = hn.get("layers") if isinstance(hn, dict) else None
        if not isinstance(entries, dict) or not entries:
            raise UserError("the HN has no layers: parse the network again")
        layers = {name: _layer(name, entry, entries) for name, entry in entries.items()}
        name = hn.get("name")
        return cls(name if isinstance(name, str) and name else next(iter(layers)).split("/")[0], layers)

    @classmethod
    def from_har(cls, path: Path | str) -> Layers:
        """From the HN inside a HAR. Raises UserError for a file that is none."""
        try:
            return cls.from_hn(read_har(path).hn)
        except UserError as error:
            raise UserError(str(error) if str(path) in str(error) else f"{path}: {error}") from None

    @property
    def scopes(self) -> set[str]:
        """The networks' names, as they stand before the slash."""
        return {name.split("/")[0] for name in self.layers if "/" in name} | {self.name}

    def find(self, name: str) -> str | None:
        """The scoped name of a layer called so, with or without its scope, or None."""
        if name in self.layers:
            return name
        return next((scoped for scoped in self.layers if bare(scoped) == name), None)

    def match(self, pattern: str) -> list[str]:
        """Scoped names that fit a layer pattern ({conv*} without its braces), matched with or without the
        scope.
        """
        fits = _matcher(pattern)
        return [name for name in self.layers if fits(name) or fits(bare(name))]

    def quoted(self, text: str) -> list[str]:
        """Scoped names of the layers that came from the TFLite tensor called so; wildcards * ? [ ] are
        allowed.

        A layer fits when `text` is one of its original names, or one of the parts of one between ';' and '/':
        a fused tensor is called "A/B;C/D".
        """
        fits = _matcher(text)
        return [name for name, layer in self.layers.items() if any(fits(part) for part in _parts(layer))]

    def with_swishes(self, names: Sequence[str]) -> list[str]:
        """Scoped names with those of the layers behind each that write out its h-swish, if it has such."""
        found = []
        for name in names:
            ends = [original + end for original in self.layers[name].original_names for end in (GATE, SIXTH)]
            written = [other for end in ends for other in self.quoted(glob.escape(end))]
            found += [name, *written, *(reader for other in written for reader in self.layers[other].outputs)]
        return list(dict.fromkeys(found))

    def nearest(self, name: str) -> str:
        """The known layer whose name is most like `name`, or ""."""
        return near(name, self.layers if "/" in name else [bare(known) for known in self.layers])

    def nearest_quoted(self, text: str) -> str:
        """The part of an original name that is most like `text`, or ""."""
        return near(text, dict.fromkeys(part for layer in self.layers.values() for part in _parts(layer)))


def bare(name: str) -> str:
    """A layer's name without its scope."""
    return name.rsplit("/", 1)[-1]


def resolve(statements: Sequence[Statement], layers: Layers) -> list[Statement]:
    """The statements with every quoted layer name replaced by the HN's name, or by a list where several
    layers fit.

    Raises UserError for a quoted name that fits no layer, or several where the command takes one.
    """
    return [_resolve_statement(statement, layers) for statement in statements]


def _resolve_statement(statement: Statement, layers: Layers) -> Statement:
    if not any(isinstance(value, Text) for value in layer_values(statement)):
        return statement
    domains = {
        (value.line, value.column): domain
        for value, domain in typed_values(statement)
        if names_layers(domain)
    }

    def found(value: Value) -> Iterator[Value]:
        if isinstance(value, Items):
            for item in value.value:
                yield from found(item)
        elif isinstance(value, Text):
            names = _quoted(value, layers)
            # A layer's precision is its h-swish's too, which is a layer by itself where it is written out
            for name in layers.with_swishes(names) if statement.command == "quantization_param" else names:
                yield Name(name, value.line, value.column)
        else:
            yield value

    def resolved(value: Value) -> Value:
        domain = domains.get((value.line, value.column))
        if domain is None:
            return value
        # One layer can come from several tensors
        names = tuple({new.value: new for new in found(value)}.values())
        if isinstance(value, Items) or (len(names) > 1 and domain.kind != "layer"):
            return Items(names, value.line, value.column)
        if len(names) > 1:
            fits = ", ".join(str(name.value) for name in names)
            raise UserError(
                f'line {value.line}, column {value.column}: "{value.value}" fits {fits}, but '
                f"{statement.command} takes one layer"
            )
        return names[0]

    args = tuple(resolved(value) for value in statement.args)
    kwargs = tuple(
        dataclasses.replace(keyword, value=resolved(keyword.value)) for keyword in statement.kwargs
    )
    return dataclasses.replace(statement, args=args, kwargs=kwargs)


def _quoted(value: Text, layers: Layers) -> list[str]:
    names = layers.quoted(value.value)
    if not names:
        guess = layers.nearest_quoted(value.value)
        hint = f" (did you mean {guess}?)" if guess else ""
        raise UserError(
            f"line {value.line}, column {value.column}: no layer of {layers.name} comes from "
            f'"{value.value}"{hint}'
        )
    return names


def _matcher(pattern: str):
    try:
        return re.compile(fnmatch.translate(pattern)).match
    except re.error:  # some versions of Python choke on a range like [b-a], which fits nothing
        return lambda name: None


def _parts(layer: Layer) -> Iterator[str]:
    for name in layer.original_names:
        yield name
        if ";" in name or "/" in name:
            yield from re.split("[;/]", name)


def _layer(name: str, entry, known: dict) -> Layer:
    def strings(key: str) -> tuple[str, ...]:
        values = entry.get(key) or []
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise UserError(f"the HN gives {name} no list of names as {key}: parse the network again")
        return tuple(values)

    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        raise UserError(f"the HN gives {name} no type: parse the network again")
    before, after = (tuple(other for other in strings(key) if other in known) for key in ("input", "output"))
    return Layer(entry["type"], before, after, strings("original_names"))
