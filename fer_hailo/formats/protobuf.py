"""A reader of the protocol buffers wire format for files that may be damaged or hostile: bounds checked, work
and depth limited.

Source: the encoding chapter of the public protocol buffers documentation. Groups, abandoned since proto2, are
refused.
"""

from __future__ import annotations

import builtins
import itertools
import struct
from collections.abc import Iterator

import numpy as np

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_DEPTH = 16
MAX_FIELDS = 200_000  # read from one file: real ones need some hundred, as most of a HEF is skipped
MAX_TEXT = 65_536  # bytes


class WireError(Exception):
    """The bytes are no message of the expected kind. Its message says why, in a few words."""


class Message:
    """A message whose fields are found by number. Nested messages are read when they are asked for, unknown
    fields are skipped.

    Absent fields give 0, an empty text or an empty message, as in proto3; of a field written more than once
    the last value counts. Everything raises WireError where the bytes do not fit.
    """

    def __init__(self, data: bytes | memoryview, depth: int = 0, count: Iterator[int] | None = None):
        """`data`: any buffer of bytes.

        `depth` and `count` (fields read so far, over all messages of a file) come from the parent.
        """
        if depth > MAX_DEPTH:
            raise WireError(f"messages lie more than {MAX_DEPTH} deep in each other")
        self._depth, self._count = depth, count or itertools.count(1)
        self._fields: dict[int, list[tuple[int, int | memoryview]]] = {}
        rest, at = memoryview(data), 0
        value: int | memoryview
        while at < len(rest):
            if next(self._count) > MAX_FIELDS:
                raise WireError(f"more than {MAX_FIELDS:,} fields")
            tag, at = _varint(rest, at)
            number, wire = tag >> 3, tag & 7
            if not 0 < number < 1 << 29:
                raise WireError(f"a field has the impossible number {number}")
            if wire == VARINT:
                value, at = _varint(rest, at)
            elif wire in (FIXED64, FIXED32, BYTES):
                size, at = _varint(rest, at) if wire == BYTES else (8 if wire == FIXED64 else 4, at)
                if size > len(rest) - at:
                    raise WireError(f"field {number} has {size} bytes where {len(rest) - at} are left")
                value, at = rest[at : at + size], at + size
            else:
                raise WireError(f"field {number} has the unknown wire type {wire}")
            self._fields.setdefault(number, []).append((wire, value))

    def has(self, number: int) -> bool:
        """Whether the field was written at all."""
        return number in self._fields

    def uint32(self, number: int) -> int:
        """An unsigned integer or enumeration value; higher bits are dropped, as protocol buffers do."""
        return self.uint64(number) & 0xFFFFFFFF

    def uint64(self, number: int) -> int:
        """An unsigned integer."""
        return ([0] + self._values(number, VARINT))[-1]

    def float(self, number: int) -> builtins.float:
        """A 32-bit float as the shortest decimal that stands for it (0.1, not 0.10000000149); may be NaN or
        infinite.
        """
        values = self._values(number, FIXED32)
        return float(str(np.frombuffer(values[-1], "<f4")[0])) if values else 0.0

    def double(self, number: int) -> builtins.float:
        """A 64-bit float; may be NaN or infinite."""
        values = self._values(number, FIXED64)
        return struct.unpack("<d", values[-1])[0] if values else 0.0

    def text(self, number: int) -> str:
        """A text; characters that cannot be printed become `?`, so that one line stays one line."""
        return (["", *self.texts(number)])[-1]

    def texts(self, number: int) -> list[str]:
        """All texts of a repeated field."""
        return [_text(value, number) for value in self._values(number, BYTES)]

    def message(self, number: int) -> Message:
        """A nested message."""
        values = self._values(number, BYTES)
        return self._nested(values[-1] if values else b"")

    def messages(self, number: int) -> list[Message]:
        """All messages of a repeated field."""
        return [self._nested(value) for value in self._values(number, BYTES)]

    def _nested(self, data) -> Message:
        return Message(data, self._depth + 1, self._count)

    def _values(self, number: int, wire: int) -> list:
        found = self._fields.get(number, [])
        for other, _ in found:
            if other != wire:
                raise WireError(f"field {number} has wire type {other} instead of {wire}")
        return [value for _, value in found]


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """An integer of 7 bits a byte and the place after it."""
    value = shift = 0
    while True:
        if at >= len(data):
            raise WireError("it ends within a number")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value & (1 << 64) - 1, at
        if shift >= 70:
            raise WireError("a number has more than 10 bytes")


def _text(value: memoryview, number: int) -> str:
    if len(value) > MAX_TEXT:
        raise WireError(f"field {number} is a text of {len(value):,} bytes")
    try:
        text = bytes(value).decode("utf-8")
    except UnicodeDecodeError:
        raise WireError(f"field {number} is no UTF-8 text") from None
    return "".join(letter if letter.isprintable() else "?" for letter in text)
