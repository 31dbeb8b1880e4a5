"""What a HEF holds, read without HailoRT: header, checksum, network groups, their inputs and outputs.

Source of the format: HailoRT's public code (hef.proto, hef_internal.hpp, hef.cpp, hailort_defaults.cpp;
branch hailo8 and release 5). Verified on real files, against what `hailortcli parse-hef` says of them: header
versions 2 (Hailo-8) and 3 (Hailo-15H), XXH3-64, and every field that a classifier needs. Known from that code
only: header versions 0 and 1 with MD5 and CRC-32, several network groups, `ops`, the parts of a HAILO8L
group, multiplexed and transposed streams.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from fer_hailo.common.errors import UserError
from fer_hailo.formats.protobuf import Message, WireError
from fer_hailo.formats.xxh3 import xxh3_64

MAGIC = 0x01484546
COMMON = struct.Struct(">III")  # magic, version, size of the message
REST = {  # what follows it, by version
    0: struct.Struct(">I16s"),  # reserved, checksum
    1: struct.Struct(">IQI"),  # checksum, payload, reserved
    2: struct.Struct(">QQQQ"),  # checksum, payload, reserved, reserved
    3: struct.Struct(
        ">QQIQQQ"
    ),  # checksum, payload with padding, padding, additional, checksum of the message, reserved
}
CHECKSUMS = {
    0: ("md5", lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest()),
    1: ("crc32", lambda data: f"{zlib.crc32(data):08x}"),
    2: ("xxh3-64", lambda data: f"{xxh3_64(data):016x}"),
    3: ("xxh3-64", lambda data: f"{xxh3_64(data):016x}"),
}
ALIGNMENT = 4096  # in version 3 the payload begins at a multiple of it
MAX_SIZE = 1 << 30  # bytes; the file is read into memory, and HEFs for Hailo-8 have some megabytes

# hw_arch="hailo8" is stored as HAILO8P and shown as HAILO8. HailoRT shows HAILO8R so too; here it keeps its
# name, to be told apart.
ARCHITECTURES = {
    0: "HAILO8", 1: "HAILO8", 2: "HAILO8R", 3: "HAILO8L", 4: "HAILO15M", 5: "HAILO10H", 6: "HAILO15L",
    103: "HAILO15H",
}  # fmt: skip
TYPES = {1: "UINT8", 2: "UINT16"}
# The order in which HailoRT's caller sees a stream, from its order on the wire, which the file holds (edge
# layer base, field 7). 0 (input for Hailo-8), 1 (NHCW on the wire, input for Hailo-15H), 2 and 3 (outputs)
# are verified on real files, the rest is HailoRT's table.
ORDERS = {
    0: "NHWC", 1: "NHWC", 2: "NC", 3: "FCR", 4: "BAYER_RGB", 5: "NHW", 6: "HAILO_NMS", 7: "F8CR", 8: "NHWC",
    11: "YUY2",
    13: "NHWC", 14: "YUV", 15: "YUV", 16: "YUV",
}  # fmt: skip
BOUNDARY = 0  # an edge layer between host and chip; the others connect contexts
# Among the original names of an input that a model script normalises: the name of the script's result
# follows.
NORMALISATION = re.compile(r"model_script_layer_\w*normali[sz]ation\w*")

DAMAGED = (
    "holds 16-bit values that are called UINT8, a fault of Dataflow Compiler 3.33.0: compile with "
    "another version"
)


@dataclass(frozen=True)
class Stream:
    """An input or output: real value = qp_scale * (stored value - qp_zp).

    Numbers that are not finite in the file are None.
    """

    name: str
    type: str  # UINT8 or UINT16
    order: str  # NHWC, NC, NHW, or "format N" for one that is not described here
    shape: tuple[int, ...]  # without the batch: (height, width, features), (features,) or (height, width)
    qp_zp: float | None
    qp_scale: float | None
    # Smallest and largest real value; None where the file states none
    limits: tuple[float | None, float | None] | None
    takes_bytes: bool | None  # inputs: whether a stored value is a pixel value, 0..255; None for outputs
    # Inputs: whether a name proves that the chip normalises. Without one nobody can tell from the file: the
    # names are those of the input's first reader, none where that changes the precision, others where the
    # script calls it so.
    normalised_on_chip: bool | None
    # What an image takes on the bus, with the padding of the chip's buffers; None where the file states none.
    # Where the chip pads by itself, HailoRT sends less: the values alone.
    bus_bytes: int | None = None

    @property
    def damaged(self) -> bool:
        """16-bit values that the file calls UINT8, a fault of Dataflow Compiler 3.33.0: their zero points
        show it.
        """
        return self.type == "UINT8" and self.qp_zp is not None and self.qp_zp > 255

    @property
    def bytes(self) -> int:
        """Of the values of one image."""
        return math.prod(self.shape) * (2 if self.type == "UINT16" else 1)

    @property
    def transfer(self) -> str:
        """For people, how much an image takes on the bus."""
        padded = self.bus_bytes not in (None, self.bytes)
        return f"{self.bytes:,} bytes an image" + (f" ({self.bus_bytes:,} padded)" if padded else "")

    def to_dict(self) -> dict:
        """Plain JSON values."""
        limits = None if self.limits is None else list(self.limits)
        values = vars(self) | {"shape": list(self.shape), "limits": limits, "bytes": self.bytes}
        optional = ("takes_bytes", "normalised_on_chip", "bus_bytes")
        return {key: value for key, value in values.items() if key not in optional or value is not None}


@dataclass(frozen=True)
class Group:
    """A network group.

    Frames/s and latency are the compiler's estimates (None: not stated). Post-processing on the host is not
    shown.
    """

    name: str
    contexts: int  # more than 1: the network does not fit the chip at once and is swapped in part by part
    bottleneck_fps: float | None
    latency_s: float | None
    inputs: tuple[Stream, ...]
    outputs: tuple[Stream, ...]

    def to_dict(self) -> dict:
        """Plain JSON values; besides, the bytes that an image takes on the bus."""
        taken = {
            name: sum(stream.bus_bytes or stream.bytes for stream in side)
            for name, side in (("bytes_to_chip", self.inputs), ("bytes_from_chip", self.outputs))
        }
        streams = {
            side: [stream.to_dict() for stream in getattr(self, side)] for side in ("inputs", "outputs")
        }
        return (
            {"network_group": self.name}
            | {key: value for key, value in vars(self).items() if key != "name"}
            | taken
            | streams
        )


@dataclass(frozen=True)
class Hef:
    """A HEF whose sizes and checksum are right."""

    header_version: int  # 0 to 3
    checksum_kind: str  # md5, crc32 or xxh3-64, over all that follows the header
    checksum: str  # hexadecimal
    size: int  # of the file, bytes
    architecture: str  # HAILO8, HAILO8L ...; "unknown (N)" for a number that is not described here
    sdk_version: str  # of the compiler; "unknown" when not stated
    timestamp: str | None  # when it was compiled, UTC
    groups: tuple[Group, ...]  # at least one

    def to_dict(self) -> dict:
        """Plain JSON values: the file's and, beside them, those of the first group; with several groups all
        of them in `groups`.
        """
        groups = [group.to_dict() for group in self.groups]
        values = {key: value for key, value in vars(self).items() if key != "groups"} | groups[0]
        return values | ({"groups": groups} if len(groups) > 1 else {})


class _Refused(Exception):
    """Why a file cannot be described: a predicate to which read_hef adds the file's name as the subject."""


def read_hef(path: Path | str) -> Hef:
    """Check a HEF and describe it. The file is read once, into memory.

    Raises UserError, naming the file, for all that is no intact HEF: not a file, empty, no or an unknown
    header, sizes or a checksum that do not fit, a message that cannot be read, no network group, a group
    without inputs or outputs.
    """
    try:
        header, body = _load(path)
        message = memoryview(body)[: header.message_size]
        _check(header, message, body)
        return _described(header, Message(message), len(body))
    except _Refused as reason:
        raise UserError(f"{path} {reason}") from None
    except WireError as reason:
        raise UserError(f"{path} has a message that cannot be read ({reason}): compile it again") from None


def format_hef(hef: Hef) -> str:
    """The description for people, several lines."""
    made = f"made by SDK {hef.sdk_version}" + (f" on {hef.timestamp}" if hef.timestamp else "")
    lines = [
        f"HEF for {hef.architecture}, {made}",
        f"header version {hef.header_version}, {hef.size:,} bytes, "
        f"{hef.checksum_kind} {hef.checksum} (right)",
    ]
    for group in hef.groups:
        fps = "not stated" if group.bottleneck_fps is None else f"{group.bottleneck_fps:,.1f} frames/s"
        latency = "not stated" if group.latency_s is None else f"{group.latency_s * 1000:,.3f} ms"
        contexts = "1 context" if group.contexts == 1 else f"{group.contexts} contexts"
        lines += [
            "",
            f"network group {group.name}: {contexts}, "
            f"estimated bottleneck {fps}, estimated latency {latency}",
        ]
        lines += [_line("input", stream) for stream in group.inputs] + [
            _line("output", stream) for stream in group.outputs
        ]
    return "\n".join(lines)


def _line(side: str, stream: Stream) -> str:
    shape = "x".join(map(str, stream.shape))
    parts = [
        f"  {side:6}  {stream.name}  {stream.type} {stream.order}({shape}), {stream.transfer}",
        f"scale {stream.qp_scale}",
        f"zero point {stream.qp_zp}",
    ]
    if stream.limits is not None:
        parts.append(f"values {stream.limits[0]} to {stream.limits[1]}")
    if stream.normalised_on_chip:
        parts.append("normalised on the chip: feed raw 0..255")
    elif stream.takes_bytes:
        parts.append("takes raw 0..255; the file does not tell whether the chip normalises them")
    elif stream.takes_bytes is False:
        parts.append("not normalised on the chip")
    if stream.damaged:
        parts.append(DAMAGED)
    return ", ".join(parts)


@dataclass(frozen=True)
class _Header:
    """Sizes in bytes; checksums as they are stated."""

    version: int
    message_size: int
    checksum: str
    payload_size: int = 0  # version 3: with the padding before it
    padding: int = 0
    additional_size: int = 0
    message_checksum: int = 0  # 0: none

    @property
    def size(self) -> int:
        return COMMON.size + REST[self.version].size


def _load(path: Path | str) -> tuple[_Header, bytes]:
    """The header and all that follows it, sizes checked."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise _Refused("is not a file: give a .hef")
        with open(path, "rb") as file:
            return _parts(file, status.st_size)
    except FileNotFoundError:
        raise _Refused("does not exist: give the path of a .hef") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _Refused(
            f"cannot be read ({getattr(error, 'strerror', None) or error}): give a .hef that can"
        ) from None


def _parts(file, size: int) -> tuple[_Header, bytes]:
    """As _load. Sizes from the header are held against the file's before anything is read by them."""
    if not size:
        raise _Refused("is empty: copy or compile it again")
    if size > MAX_SIZE:
        raise _Refused(
            f"has {size:,} bytes, more than the {MAX_SIZE:,} that are read: no HEF for Hailo-8 is that large"
        )
    header = _header(file)
    stated = header.message_size + header.payload_size + header.additional_size
    there = size - header.size
    if there != stated:
        wrong = (
            f"{stated - there:,} bytes are missing"
            if there < stated
            else f"{there - stated:,} bytes too many"
        )
        raise _Refused(f"does not have the size that its header states, {wrong}: copy or compile it again")
    # No checksum covers the padding's size: that it aligns, as it does in real files, is all that can be
    # checked.
    aligned = (header.size + header.message_size + header.padding) % ALIGNMENT == 0
    if header.version == 3 and not (
        aligned and header.padding < ALIGNMENT and header.padding <= header.payload_size
    ):
        raise _Refused(
            f"states a padding of {header.padding:,} bytes, which does not align its payload: copy or "
            "compile it again"
        )
    body = file.read(there)
    if len(body) != there:
        raise _Refused("changed while it was read: wait until it is complete")
    return header, body


def _header(file) -> _Header:
    common = file.read(COMMON.size)
    if len(common) < COMMON.size:
        raise _Refused(f"ends after {len(common)} bytes, within the header: copy or compile it again")
    magic, version, message_size = COMMON.unpack(common)
    if magic != MAGIC:
        raise _Refused(f"is not a HEF: it begins with {magic:08x} instead of {MAGIC:08x}; give a .hef")
    if version not in REST:
        raise _Refused(
            f"has header version {version}, known are {min(REST)} to {max(REST)}: is it damaged, or from a "
            "newer compiler?"
        )
    rest = file.read(REST[version].size)
    if len(rest) < REST[version].size:
        raise _Refused(
            f"ends after {COMMON.size + len(rest)} bytes, within the header: copy or compile it again"
        )
    values = REST[version].unpack(rest)
    if version == 0:
        return _Header(version, message_size, values[1].hex())
    if version == 1:
        return _Header(version, message_size, f"{values[0]:08x}", values[1])
    return _Header(
        version, message_size, f"{values[0]:016x}", *(values[1:5] if version == 3 else values[1:2])
    )


def _check(header: _Header, message: memoryview, body: bytes) -> None:
    kind, function = CHECKSUMS[header.version]
    found = function(body)
    if found != header.checksum:
        raise _Refused(
            f"is damaged: its {kind} is {found}, its header states {header.checksum}; copy or compile it "
            "again"
        )
    # Reserved in HailoRT 4; release 5 holds the message alone against it. Verified on the real file of
    # version 3.
    if header.message_checksum and header.message_checksum != xxh3_64(message):
        raise _Refused(
            "is damaged: its header states another checksum of its message; copy or compile it again"
        )


def _described(header: _Header, message: Message, body_size: int) -> Hef:
    about = message.message(1)
    number = about.uint32(1)
    architecture = ARCHITECTURES.get(number, f"unknown ({number})")
    sdk = about.text(3) or "unknown"
    if about.has(5):  # release 5 writes the version as numbers here, and a longer text there
        sdk = ".".join(str(about.message(5).uint32(part)) for part in (1, 2, 3))
    groups = tuple(_group(group, architecture) for group in message.messages(2))
    if not groups:
        raise _Refused("holds no network group: compile it again")
    kind, size = CHECKSUMS[header.version][0], header.size + body_size
    return Hef(header.version, kind, header.checksum, size, architecture, sdk, _time(about.uint64(2)), groups)


def _time(milliseconds: int) -> str | None:
    """Milliseconds since 1970 as ISO 8601 in UTC; None for 0 (not stated) and for what no calendar holds."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if milliseconds else None


def _group(group: Message, architecture: str) -> Group:
    # With post-processing on the host, the chip's part is one of several ops; it has the same fields as a
    # group.
    core = next((op.message(4) for op in group.messages(8) if op.has(4)), group)
    # Compiled for each set of clusters that a chip may have; HailoRT describes the first
    if architecture == "HAILO8L" and core.has(7):
        core = core.messages(7)[0].message(1)
    metadata, contexts = core.message(1), core.messages(3)
    name = metadata.text(1) or group.text(10)
    inputs: list[Stream] = []
    outputs: list[Stream] = []
    for edge in (edge for context in contexts for edge in context.message(3).messages(2)):
        if edge.message(5).uint32(3) == BOUNDARY:
            side = outputs if edge.uint32(1) else inputs
            side += [
                _stream(layer, bool(metadata.uint32(3)), side is inputs) for layer in _layers(edge, 3, 4)
            ]
    if not inputs or not outputs:
        raise _Refused(
            f"holds the network group {name[:80]!r} without {'outputs' if inputs else 'inputs'}: compile it "
            "again"
        )
    places = {output: place for place, output in enumerate(core.texts(4))}
    outputs.sort(key=lambda stream: places.get(stream.name, len(places)))
    return Group(
        name,
        len(contexts),
        _estimate(metadata.double(4)),
        _estimate(metadata.double(6)),
        tuple(inputs),
        tuple(outputs),
    )


def _layers(edge: Message, plain: int, multiplexed: int) -> Iterator[Message]:
    """The layers of an edge: one, or those that share its stream.

    The numbers are the fields in which they lie.
    """
    if edge.has(plain):
        yield edge.message(plain)
    elif edge.has(multiplexed):
        for inner in edge.message(multiplexed).messages(5):
            yield from _layers(inner, 1, 2)
    else:
        raise WireError("a stream is neither plain nor multiplexed")


def _stream(layer: Message, transposed: bool, is_input: bool) -> Stream:
    base, numeric, name = layer.message(2), layer.message(3), layer.text(1)
    if base.uint32(12) not in TYPES:
        raise WireError(f"values of {base.uint32(12)} bytes in stream {name[:80]!r}")
    order = ORDERS.get(base.uint32(7), f"format {base.uint32(7)}")
    height, width, features = base.uint32(1), base.uint32(3), base.uint32(5)
    if transposed or layer.uint32(6):  # stored with its sides exchanged
        height, width = width, height
    shape = {"NC": (features,), "NHW": (height, width)}.get(order, (height, width, features))
    zero, scale, low, high = (_finite(numeric.float(number)) for number in (1, 2, 3, 4))
    limits = (low, high) if numeric.has(3) or numeric.has(4) else None
    # Only with these numbers are the bytes that the board feeds the pixel values themselves, whatever a name
    # says.
    raw = (zero, scale, limits) == (0, 1, (0, 255)) if is_input else None
    named = raw and any(NORMALISATION.fullmatch(text) for text in layer.texts(5))
    bus = base.uint32(9) * base.uint32(10) or None  # bytes of a buffer, buffers of an image
    return Stream(name, TYPES[base.uint32(12)], order, shape, zero, scale, limits, raw, named, bus)


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _estimate(number: float) -> float | None:
    """A positive number; 0 is how an absent one is written."""
    return number if math.isfinite(number) and number > 0 else None
