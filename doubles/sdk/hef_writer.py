"""Writes a HEF (header version 0) that describes a network and holds nothing to run: for tests of what
reads HEFs.

Source of the layout: the fields of HailoRT's public protocol file; values that only the compiler knows are
invented.
"""

from __future__ import annotations

import hashlib
import struct
import time
from dataclasses import dataclass

ARCHITECTURES = {"hailo8": 1, "hailo8r": 2, "hailo8l": 3}  # 1 is called HAILO8P
ALIGNED = 8  # bytes of a buffer, which holds a row: in each real file a multiple of it
NHWC, NC = 0, 2  # order on the wire of an input, and of an output without height and width


@dataclass(frozen=True)
class Stream:
    """An input or output. shape: (H, W, C). low, high: its real values at 0 and 255."""

    name: str
    shape: tuple[int, int, int]
    low: float
    high: float
    original_names: tuple[str, ...] = ()
    order: int = NHWC


def write_hef(net: str, hw_arch: str, sdk_version: str, inputs: list[Stream], outputs: list[Stream]) -> bytes:
    """A network of one group and one context."""
    edges = [_edge(stream, 0) for stream in inputs] + [_edge(stream, 1) for stream in outputs]
    context = _number(1, 0) + _part(3, _part(1, b"context_0") + b"".join(_part(2, edge) for edge in edges))
    about = _part(1, net.encode()) + _double(4, 1000.0) + _double(6, 0.002)
    order = b"".join(_part(4, stream.name.encode()) for stream in outputs)
    group = _part(1, about) + _part(3, context) + order + _part(6, net.encode())
    numbers = b"".join(_number(place, int(part)) for place, part in enumerate(sdk_version.split("."), 1))
    header = (
        _number(1, ARCHITECTURES[hw_arch])
        + _number(2, int(time.time() * 1000))
        + _part(3, sdk_version.encode())
        + _part(5, numbers)
    )
    message = _part(1, header) + _part(2, group)
    return struct.pack(">IIII", 0x01484546, 0, len(message), 0) + hashlib.md5(message).digest() + message


def _edge(stream: Stream, direction: int) -> bytes:
    scale = (stream.high - stream.low) / 255
    sizes = b"".join(
        _number(2 * place + twin, size) for place, size in enumerate(stream.shape) for twin in (1, 2)
    )
    row = -(-stream.shape[1] * stream.shape[2] // ALIGNED) * ALIGNED
    buffers = _number(9, row) + _number(10, stream.shape[0])
    base = sizes + _number(7, stream.order) + buffers + _number(12, 1)
    numeric = (
        _float(1, float(round(-stream.low / scale)))
        + _float(2, scale)
        + _float(3, stream.low)
        + _float(4, stream.high)
    )
    names = b"".join(_part(5, name.encode()) for name in stream.original_names)
    info = _part(1, stream.name.encode()) + _part(2, base) + _part(3, numeric) + names
    return _number(1, direction) + _part(3, info) + _part(5, _number(3, 0))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _part(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value
