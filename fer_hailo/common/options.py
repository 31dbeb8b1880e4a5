"""Settings with a meaning, a type and bounds: dataclasses whose fields say what they mean and refuse what
they must not be.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from fer_hailo.common.cli import nearest
from fer_hailo.common.errors import UserError


def option(
    default: Any,
    help: str,
    *,
    key: str = "",
    choices: tuple = (),
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """A field with its documentation and its bounds (both inclusive). key: its name in files and flags, where
    it is not the field's own.
    """
    metadata = {"help": help, "key": key, "choices": choices, "low": low, "high": high}
    return field(default=default, metadata=metadata)


def is_option(entry: dataclasses.Field) -> bool:
    """Whether a field was made by `option`: others hold groups of them."""
    return "help" in entry.metadata


def key_of(entry: dataclasses.Field) -> str:
    """The name of a field in files and flags."""
    return entry.metadata["key"] or entry.name


@dataclass(frozen=True)
class Options:
    """Base of a frozen dataclass of options. Text is converted, as flags and YAML give it.

    Raises UserError for a value of another type or out of bounds, by the option's key.
    """

    def __post_init__(self) -> None:
        kinds = typing.get_type_hints(type(self))  # the annotations themselves are text
        for entry in dataclasses.fields(self):
            if is_option(entry):
                value = _typed(entry, kinds[entry.name], getattr(self, entry.name))
                _check_bounds(entry, value)
                object.__setattr__(self, entry.name, value)
        self.check()

    def check(self) -> None:
        """Raise UserError where options do not go with each other."""


def _typed(entry: dataclasses.Field, kind, value):
    """`value` as the field's type. Text is converted (flags are text, and YAML reads 1e-4 as text); nothing
    else is guessed.
    """
    try:
        if typing.get_origin(kind) is tuple:
            item = typing.get_args(kind)[0]
            given = value.split(",") if isinstance(value, str) else None
            parts = list(value) if given is None else [part.strip() for part in given if part.strip()]
            return tuple(_scalar(item, part) for part in parts)
        return _scalar(kind, value)
    except (TypeError, ValueError):
        name = str(kind) if isinstance(kind, types.GenericAlias) else kind.__name__
        raise UserError(f"{key_of(entry)} must be {name}, got {value!r}") from None


def _scalar(kind: type, value):
    if kind is bool or isinstance(value, bool):
        if kind is bool and isinstance(value, bool):
            return value
        raise TypeError
    if kind is str:
        if not isinstance(value, str):
            raise TypeError
        return value
    if isinstance(value, str) or (kind is float and isinstance(value, int)):
        value = kind(value)
    if not isinstance(value, kind) or value != value:
        raise TypeError
    return value


def _check_bounds(entry: dataclasses.Field, value) -> None:
    meta, key = entry.metadata, key_of(entry)
    if meta["choices"] and value not in meta["choices"]:
        known = ", ".join(meta["choices"])
        raise UserError(f"{key} must be one of {known}, got {value!r}{nearest(value, meta['choices'])}")
    for item in value if isinstance(value, tuple) else (value,):
        if meta["low"] is not None and item < meta["low"]:
            _refuse(key, item, meta["low"], "more")
        if meta["high"] is not None and item > meta["high"]:
            _refuse(key, item, meta["high"], "less")


def _refuse(key: str, value: float, bound: float, side: str) -> typing.NoReturn:
    raise UserError(f"{key} must be {bound} or {side}, got {value}: the nearest valid value is {bound}")
