"""Reads from a HEF what the double needs. Headers of version 0 and 2; one network group with one context."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hailo_platform.errors import failure
from hailo_platform.switches import switch

MAGIC = 0x01484546
HEADER = {0: 32, 2: 44}  # bytes
RUNS = {"HAILO8": (1, 2, 3), "HAILO8L": (3,)}  # numbers of HAILO8P, HAILO8R, HAILO8L
NC = 2


@dataclass(frozen=True)
class Stream:
    """real value = scale * (stored byte - zero). shape: (H, W, C) or (C,)."""

    name: str
    shape: tuple[int, ...]
    zero: float
    scale: float
    normalised: bool

    def to_stored(self, values: np.ndarray) -> np.ndarray:
        """Real values to the chip's bytes; bytes stay."""
        if values.dtype == np.uint8:
            return values
        return np.clip(np.rint(values / self.scale) + self.zero, 0, 255).astype(np.uint8)

    def to_host(self, stored: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """The chip's bytes to the host's: the same, or dequantized."""
        if dtype == np.uint8:
            return stored
        return ((stored.astype(np.float64) - self.zero) * self.scale).astype(np.float32)


class HEF:
    """A HEF from a file."""

    def __init__(self, path: str):
        self.path = str(path)
        content = Path(path).read_bytes()
        magic, version, size = struct.unpack(">III", content[:12])
        if magic != MAGIC or version not in HEADER:
            raise failure("HAILO_INVALID_HEF")
        body = content[HEADER[version] :]
        if version == 0 and hashlib.md5(body).digest() != content[16:32]:
            raise failure("HAILO_HEF_FILE_CORRUPTED")
        if switch("hef") == "unsupported":
            raise failure("HAILO_HEF_NOT_SUPPORTED")
        message = _fields(body[:size])
        self.architecture = next(iter(_fields(message[1][0]).get(1, [0])))
        (group,) = message[2]
        group = _fields(group)
        self.name = _fields(group[1][0])[1][0].decode()
        edges = [_fields(edge) for context in group[3] for edge in _fields(_fields(context)[3][0])[2]]
        (self.input,) = [_stream(edge) for edge in edges if not edge.get(1, [0])[0]]
        found = {stream.name: stream for stream in (_stream(edge) for edge in edges if edge.get(1, [0])[0])}
        self.outputs = [found[name.decode()] for name in group[4]]

    def check(self, architecture: str) -> None:
        """Raise as HailoRT does where a device does not run it."""
        if self.architecture not in RUNS.get(architecture, ()):
            raise failure("HAILO_HEF_NOT_COMPATIBLE_WITH_DEVICE")


def _stream(edge: dict) -> Stream:
    info = _fields(edge[3][0])
    base, numeric = _fields(info[2][0]), _fields(info[3][0])
    height, width, features = (base[number][0] for number in (1, 3, 5))
    shape = (features,) if base.get(7, [0])[0] == NC else (height, width, features)
    names = [name.decode() for name in info.get(5, [])]
    zero, scale = (
        struct.unpack("<f", numeric[number][0])[0] if number in numeric else 0.0 for number in (1, 2)
    )
    return Stream(info[1][0].decode(), shape, zero, scale, any("normalization" in name for name in names))


def _fields(data: bytes) -> dict[int, list]:
    """A protobuf message: number of the field to its values, numbers or bytes."""
    found: dict[int, list] = {}
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
        else:
            length, at = _varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            value, at = data[at : at + length], at + length
        found.setdefault(key >> 3, []).append(value)
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at
