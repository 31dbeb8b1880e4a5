"""The HEF reader on real files, on files made here of every header version, and on damaged and forged
ones.
"""

import hashlib
import json
import math
import os
import random
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from conftest import ROOT

from fer_hailo.common.errors import UserError
from fer_hailo.formats.hef import Hef, format_hef, read_hef
from fer_hailo.formats.protobuf import Message, WireError
from tools.fuzz.hef import HEADER_SIZES, hef_file

RESERVED = {0: range(12, 16), 1: range(24, 28), 2: range(28, 44), 3: range(48, 56)}


# --- a small writer, apart from the code under test ---------------------------------------------------------


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value) -> bytes:
    """By the value's type: int, np.float32, float (64 bits), text or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, np.float32):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(*pairs) -> bytes:
    return b"".join(field(number, value) for number, value in pairs)


def layer(name, shape, form, size=1, numeric=(1.0, 0.0, 0.0, 0.0), names=(), extra=()) -> bytes:
    """`shape` as (height, width, features); `numeric` as zero point, scale, limits."""
    base = fields((1, shape[0]), (3, shape[1]), (5, shape[2]), (7, form), (12, size))
    numbers = fields(*((place, np.float32(value)) for place, value in enumerate(numeric, 1)))
    return fields((1, name), (2, base), (3, numbers), *((5, text) for text in names), *extra)


def edge(content: bytes, direction=0, connection=0, place=3) -> bytes:
    return fields((1, direction), (place, content), (5, field(3, connection)))


INPUT = layer(
    "net/in",
    (128, 128, 3),
    0,
    numeric=(0.0, 1.0, 0.0, 255.0),
    names=["x", "model_script_layer_normalization1"],
)
OUTPUT = layer("net/fc", (1, 1, 7), 2, numeric=(131.0, 0.1, -13.1, 12.4))


def group(*contexts, name="net", numbers=((4, 1234.5), (6, 0.002)), order=(), extra=()) -> bytes:
    """Each context is a list of edges; default: one context, INPUT to OUTPUT."""
    contexts = contexts or ([edge(INPUT), edge(OUTPUT, 1)],)
    written = [(3, fields((1, i), (3, fields(*((2, e) for e in edges))))) for i, edges in enumerate(contexts)]
    return fields((1, fields((1, name), *numbers)), *written, *((4, text) for text in order), *extra)


def message(*groups, architecture=1, about=((2, 1_700_000_000_123), (3, "3.33.0"))) -> bytes:
    return fields(
        (1, fields((1, architecture), *about)),
        *((2, g) for g in groups or [group()]),
        (6, fields((1, 8), (2, "an extension"))),
    )


# --- helpers ------------------------------------------------------------------------------------------------


@pytest.fixture
def described(tmp_path):
    """Read a file of these bytes."""

    def read(data: bytes) -> Hef:
        (tmp_path / "model.hef").write_bytes(data)
        return read_hef(tmp_path / "model.hef")

    return read


@pytest.fixture
def refused(described, tmp_path):
    """The one line with which a file of these bytes must be refused, without the file's name at its
    beginning.
    """

    def read(data: bytes) -> str:
        with pytest.raises(UserError) as caught:
            described(data)
        return reason_of(caught, tmp_path / "model.hef")

    return read


def reason_of(caught, path) -> str:
    line = str(caught.value)
    assert line.startswith(f"{path} ") and line.isprintable() and len(line) < len(str(path)) + 250
    return line[len(str(path)) + 1 :]


@pytest.fixture(scope="module")
def real(shared) -> dict[str, bytes]:
    files = {"hailo8": "arcface_mobilefacenet_hailo8.hef", "hailo15h": "arcface_mobilefacenet_hailo15h.hef"}
    return {key: (shared / "data" / "hef" / name).read_bytes() for key, name in files.items()}


def flipped(data: bytes, place: int, bits: int = 0xFF) -> bytes:
    return data[:place] + bytes([data[place] ^ bits]) + data[place + 1 :]


# --- real files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["arcface_mobilefacenet_hailo8.hef", "arcface_mobilefacenet_hailo15h.hef"])
def test_real_files_agree_with_hailort(shared, name):
    expected = json.loads((shared / "data" / "hef" / "expected.json").read_text())[name]
    assert hashlib.sha256((shared / "data" / "hef" / name).read_bytes()).hexdigest() == expected.pop("sha256")
    found = json.loads(json.dumps(read_hef(shared / "data" / "hef" / name).to_dict(), allow_nan=False))
    for side in ("inputs", "outputs"):
        wanted, streams = expected.pop(side), found[side]
        assert [
            {key: stream[key] for key in want} for stream, want in zip(streams, wanted, strict=True)
        ] == wanted
        assert all(("normalised_on_chip" in stream) == (side == "inputs") for stream in streams)
    assert {key: found[key] for key in expected} == expected


def test_what_else_the_real_files_say(shared):
    old = read_hef(shared / "data" / "hef" / "arcface_mobilefacenet_hailo8.hef")
    new = read_hef(str(shared / "data" / "hef" / "arcface_mobilefacenet_hailo15h.hef"))
    assert (old.checksum_kind, old.checksum, old.size) == ("xxh3-64", "651b41ff45a7c344", 3_552_250)
    assert (new.checksum_kind, new.checksum, new.size) == ("xxh3-64", "1bdcdf9ad298acd8", 2_663_880)
    assert (old.timestamp, new.timestamp, new.sdk_version) == (
        "2025-03-27T11:45:28Z",
        "2025-09-20T20:32:08Z",
        "5.1.0",
    )
    assert new.groups[0].inputs[0].normalised_on_chip and old.groups[0].inputs[0].limits == (0, 255)
    text = format_hef(old)
    for part in (
        "HAILO8",
        "3.31.0",
        "2025-03-27",
        "3,460.2",
        "3.329 ms",
        "1 context",
        "0.016738918",
        "144.0",
        "651b41ff45a7c344",
    ):
        assert part in text
    assert "UINT8 NHWC(112x112x3)" in text and "feed raw 0..255" in text and "UINT8 NC(512)" in text
    assert "NC(512)" in format_hef(new)


def test_damage_in_real_files_is_found(real, refused):
    for data, header, payload in ((real["hailo8"], 44, 2_506_048), (real["hailo15h"], 56, 2_647_416)):
        end = len(data) - payload
        for size in (
            header,
            header + 1,
            (header + end) // 2,
            end - 1,
            end,
            end + 1,
            end + payload // 2,
            len(data) - 1,
        ):
            assert f"{len(data) - size:,} bytes are missing" in refused(data[:size])
        assert "1 bytes too many" in refused(data + b"\0")
        rng = random.Random(1)
        for place in [
            header,
            end - 1,
            end,
            len(data) - 1,
            *(rng.randrange(header, len(data)) for _ in range(8)),
        ]:
            assert refused(flipped(data, place, 1 << rng.randrange(8))).startswith(
                "is damaged: its xxh3-64 is "
            )
    for place in set(range(56)) - set(RESERVED[3]):
        refused(flipped(real["hailo15h"], place))
    for place in set(range(44)) - set(RESERVED[2]):
        refused(flipped(real["hailo8"], place))
    assert "another checksum of its message" in refused(flipped(real["hailo15h"], 40))


# --- files made here ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", HEADER_SIZES)
def test_every_header_version(version, described):
    data = hef_file(version, message())
    hef = described(data)
    kind, checksum = {
        0: ("md5", hashlib.md5(message()).hexdigest()),
        1: ("crc32", f"{zlib.crc32(data[28:]):08x}"),
        2: ("xxh3-64", data[12:20].hex()),
        3: ("xxh3-64", data[12:20].hex()),
    }[version]
    picture = {
        "name": "net/in",
        "order": "NHWC",
        "shape": [128, 128, 3],
        "qp_zp": 0,
        "qp_scale": 1,
        "limits": [0, 255],
        "bytes": 128 * 128 * 3,
    }
    logits = {
        "name": "net/fc",
        "order": "NC",
        "shape": [7],
        "qp_zp": 131,
        "qp_scale": 0.1,
        "limits": [-13.1, 12.4],
        "bytes": 7,
    }
    assert hef.to_dict() == {
        "header_version": version, "checksum_kind": kind, "checksum": checksum,
        "size": len(data),
        "architecture": "HAILO8",
        "sdk_version": "3.33.0", "timestamp": "2023-11-14T22:13:20Z", "network_group": "net",
        "contexts": 1,
        "bottleneck_fps": 1234.5,
        "latency_s": 0.002, "bytes_to_chip": 128 * 128 * 3, "bytes_from_chip": 7,
        "inputs": [picture | {"type": "UINT8",
        "takes_bytes": True,
        "normalised_on_chip": True}],
        "outputs": [logits | {"type": "UINT8"}],
    }  # fmt: skip


def test_the_checksum_of_the_message_alone_may_be_absent(described, refused):
    assert described(hef_file(3, message(), message_checksum=0)).architecture == "HAILO8"
    assert "another checksum of its message" in refused(hef_file(3, message(), message_checksum=1))


@pytest.mark.parametrize(
    "number, name", [(0, "HAILO8"), (2, "HAILO8R"), (3, "HAILO8L"), (103, "HAILO15H"), (77, "unknown (77)")]
)
def test_architectures(number, name, described):
    assert described(hef_file(2, message(architecture=number))).architecture == name


def test_several_groups_and_contexts(described):
    inner = layer("net/between", (4, 4, 64), 1)
    first = group(
        [edge(INPUT), edge(inner, 1, connection=1)],
        [edge(inner, 0, connection=1), edge(layer("net/b", (8, 4, 16), 1, size=2), 1),
        edge(layer("net/a", (8, 4, 1), 5), 1)],
        order=["net/a", "net/b"], numbers=(),
    )  # fmt: skip
    hef = described(hef_file(2, message(first, group(name="other"))))
    one, two = hef.groups
    assert (one.contexts, two.contexts, one.bottleneck_fps, one.latency_s) == (2, 1, None, None)
    assert [(s.name, s.type, s.order, s.shape) for s in one.outputs] == [
        ("net/a", "UINT8", "NHW", (8, 4)),
        ("net/b", "UINT16", "NHWC", (8, 4, 16)),
    ]
    assert [s.name for s in one.inputs] == ["net/in"]
    values = hef.to_dict()
    assert values["network_group"] == "net" and [g["network_group"] for g in values["groups"]] == [
        "net",
        "other",
    ]
    assert values["groups"][0].items() <= values.items()
    text = format_hef(hef)
    assert "2 contexts" in text and "not stated" in text and "network group other: 1 context" in text


def test_streams_that_lie_elsewhere(described):
    """Multiplexed outputs, a HAILO8L group's parts, the chip's part among ops, transposed sides: as HailoRT's
    public code reads them.
    """
    other = layer("net/other", (4, 6, 2), 0, extra=[(6, 1)])
    mux = fields((1, "mux"), (5, field(1, OUTPUT)), (5, field(2, fields((5, field(1, other))))))
    outputs = described(hef_file(2, message(group([edge(INPUT), edge(mux, 1, place=4)])))).groups[0].outputs
    assert [(s.name, s.shape) for s in outputs] == [("net/fc", (7,)), ("net/other", (6, 4, 2))]

    parts = fields(
        (1, field(1, "net")), (7, field(1, group(name="part"))), (7, field(1, group(name="second")))
    )
    assert described(hef_file(2, message(parts, architecture=3))).groups[0].name == "part"

    ops = fields((8, field(5, b"")), (8, field(4, group(name=""))), (10, "net with ops"))
    assert [(g.name, len(g.outputs)) for g in described(hef_file(2, message(ops))).groups] == [
        ("net with ops", 1)
    ]


def test_real_files_of_other_kinds(shared):
    """A precision change at the input and 16 bit at the output; header 0, order 3 on the wire; a detector of
    release 5.
    """
    narrow, wide = (
        read_hef(shared / "data/hef" / name) for name in ("mnist_fcr.hef", "classifier_16-32-64.hef")
    )
    (source,), (output,) = narrow.groups[0].inputs, narrow.groups[0].outputs
    assert (narrow.header_version, narrow.checksum_kind, narrow.sdk_version) == (0, "md5", "3.27.0")
    assert (source.takes_bytes, source.normalised_on_chip) == (True, False)  # no name tells
    assert (output.order, output.shape) == ("FCR", (4, 4, 16))
    (source,), (output,) = wide.groups[0].inputs, wide.groups[0].outputs
    assert (source.takes_bytes, source.normalised_on_chip, source.limits[0]) == (False, False, 0)
    assert (output.type, output.shape, output.damaged) == ("UINT16", (1,), False)
    detector = read_hef(shared / "data/hef/scrfd_2.5g.hef")
    assert (detector.architecture, len(detector.groups[0].outputs)) == ("HAILO15H", 9)
    # Two anchors: 1, 4 and 10 values each
    assert {stream.shape[2] for stream in detector.groups[0].outputs} == {2, 8, 20}
    # 16 bit: one value, in a buffer of 8 bytes; 20 x 20 x 20 bytes, whose rows are as long as those of 24
    assert (source.bytes, source.bus_bytes) == (32 * 32 * 3, 32 * 32 * 3)
    assert (output.transfer, source.transfer) == ("2 bytes an image (8 padded)", "3,072 bytes an image")
    rows = {stream.shape: stream.bus_bytes for stream in detector.groups[0].outputs}
    assert rows[20, 20, 20] == 20 * 24 * 20 and rows[80, 80, 20] == 80 * 80 * 20


# Header version by its second number; the rest by shared facts
REAL = {
    "arcface_mobilefacenet_hailo8.hef": (2, "HAILO8", "3.31.0", 1),
    "arcface_mobilefacenet_hailo15h.hef": (3, "HAILO15H", "5.1.0", 1),
    "classifier_16-32-64.hef": (2, "HAILO8", "3.33.0", 1),
    "mnist_fcr.hef": (0, "HAILO8", "3.27.0", 1),
    "scrfd_2.5g.hef": (3, "HAILO15H", "5.2.0", 9),
}


@pytest.mark.parametrize("name", REAL)
def test_every_real_file(shared, name):
    """Scale, zero point and limits are three fields that must fit each other, over 8 or 15 bits."""
    data = (shared / "data/hef" / name).read_bytes()
    hef, version = read_hef(shared / "data/hef" / name), struct.unpack(">I", data[4:8])[0]
    (group,) = hef.groups
    found = (hef.header_version, hef.architecture, hef.sdk_version, len(group.outputs))
    assert found == REAL[name] and version == hef.header_version
    assert (group.contexts, len(group.inputs), hef.size) == (1, 1, len(data))
    for stream in (*group.inputs, *group.outputs):
        steps = 255 if stream.type == "UINT8" else 32767
        ends = [stream.qp_scale * (value - stream.qp_zp) for value in (0, steps)]
        assert stream.limits == pytest.approx(ends, rel=1e-4, abs=1e-6) and not stream.damaged


def test_a_detectors_outputs(shared):
    """SCRFD at 640 px: strides 8, 16, 32, two anchors; of each the box (4), whether it is a face (1, a
    probability), the landmarks (10).
    """
    (group,) = read_hef(shared / "data/hef/scrfd_2.5g.hef").groups
    assert (group.inputs[0].shape, group.inputs[0].normalised_on_chip) == ((640, 640, 3), True)
    wanted = [(640 // stride, 640 // stride, 2 * values) for stride in (8, 16, 32) for values in (4, 1, 10)]
    assert [(stream.type, stream.order, stream.shape) for stream in group.outputs] == [
        ("UINT8", "NHWC", shape) for shape in wanted
    ]
    faces = [stream for stream in group.outputs if stream.shape[2] == 2]
    assert all(stream.limits == (0, 1) and stream.qp_scale == pytest.approx(1 / 255) for stream in faces)


def test_orders_on_the_wire_have_names(described):
    # numbers: shared facts on HailoRT's table
    for number, name in (
        (3, "FCR"),
        (4, "BAYER_RGB"),
        (6, "HAILO_NMS"),
        (7, "F8CR"),
        (11, "YUY2"),
        (14, "YUV"),
        (16, "YUV"),
    ):
        streams = [edge(INPUT), edge(layer("net/out", (4, 6, 2), number), 1)]
        assert described(hef_file(2, message(group(streams)))).groups[0].outputs[0].order == name


@pytest.mark.parametrize(
    ("names", "normalised", "says"),
    [
        (["model_script_layer_normalization1"], True, "normalised on the chip: feed raw 0..255"),
        (["model_script_layer_input_normalization"], True, "normalised on the chip: feed raw 0..255"),
        (
            ["stem;relu"],
            False,
            "takes raw 0..255; the file does not tell whether",
        ),  # another name, or no normalisation
        ([], False, "takes raw 0..255; the file does not tell whether"),  # 16 bit at the input
    ],
)
def test_whether_bytes_are_taken_is_told_by_numbers(names, normalised, says, described):
    source = layer("in", (8, 8, 3), 0, numeric=(0.0, 1.0, 0.0, 255.0), names=names)
    hef = described(hef_file(2, message(group([edge(source), edge(OUTPUT, 1)]))))
    stream = hef.groups[0].inputs[0]
    assert (stream.takes_bytes, stream.normalised_on_chip) == (True, normalised) and says in format_hef(hef)


def test_sixteen_bits_that_are_called_eight(described):
    broken = layer("net/fc", (1, 1, 7), 2, numeric=(18_000.0, 0.001, -18.0, 47.0))
    hef = described(hef_file(2, message(group([edge(INPUT), edge(broken, 1)]))))
    assert hef.groups[0].outputs[0].damaged and "a fault of Dataflow Compiler 3.33.0" in format_hef(hef)
    assert not hef.groups[0].inputs[0].damaged


@pytest.mark.parametrize(
    "numeric, names",
    [
        ((0.0, 1.0, 0.0, 1.0), ["model_script_layer_normalization1"]),  # not the pixel values themselves
        ((128.0, 1 / 127.5, -1.0, 1.0), ["model_script_layer_normalization1"]),
    ],
)
def test_not_normalised_on_chip(numeric, names, described):
    hef = described(
        hef_file(
            2,
            message(group([edge(layer("in", (8, 8, 3), 0, numeric=numeric, names=names)), edge(OUTPUT, 1)])),
        )
    )
    assert hef.groups[0].inputs[0].normalised_on_chip is False
    assert "not normalised on the chip" in format_hef(hef)


def test_numbers_and_texts_that_cannot_be_shown(described):
    nan, inf = math.nan, math.inf
    streams = [edge(layer("in\n\x1b[31m", (8, 8, 3), 99, numeric=(nan, inf, -inf, 1.0))), edge(OUTPUT, 1)]
    content = message(
        group(streams, numbers=((4, nan), (6, -inf))), about=((2, (1 << 64) - 1), (3, "3.33\r\0"))
    )
    hef = described(hef_file(2, content))
    (stream,) = hef.groups[0].inputs
    assert (stream.qp_zp, stream.qp_scale, stream.limits, stream.order) == (
        None,
        None,
        (None, 1.0),
        "format 99",
    )
    assert (hef.groups[0].bottleneck_fps, hef.groups[0].latency_s, hef.timestamp) == (None, None, None)
    assert (stream.name, hef.sdk_version) == ("in??[31m", "3.33??")
    json.dumps(hef.to_dict(), allow_nan=False)
    assert all(line.isprintable() for line in format_hef(hef).split("\n"))


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", HEADER_SIZES)
def test_truncated_anywhere(version, refused):
    data, header = hef_file(version, message()), HEADER_SIZES[version]
    assert refused(b"").startswith("is empty")
    for size in range(1, header):
        assert f"ends after {size} bytes, within the header" in refused(data[:size])
    for size in range(header, len(data), 1 if version < 3 else 37):
        assert f"{len(data) - size:,} bytes are missing" in refused(data[:size])
    assert "3 bytes too many" in refused(data + b"abc")


@pytest.mark.parametrize("version", HEADER_SIZES)
def test_one_changed_byte(version, described, refused):
    data = hef_file(version, message())
    body = range(HEADER_SIZES[version], len(data), 1 if version < 3 else 37)
    for place in [*range(HEADER_SIZES[version]), *body]:
        for bits in (0xFF, 1, 2, 128) if place < 56 else (16,):
            changed = flipped(data, place, bits)
            if place in RESERVED[version]:
                assert described(changed) == described(data)  # nothing covers these bytes
            else:
                refused(changed)


def test_no_hef(refused):
    good = hef_file(2, message())
    assert refused(b"PK\x03\x04" + good[4:]).startswith(
        "is not a HEF: it begins with 504b0304 instead of 01484546"
    )
    assert "header version 4, known are 0 to 3" in refused(good[:7] + b"\x04" + good[8:])
    assert refused(hef_file(2, b"")).startswith("holds no network group")
    assert refused(hef_file(2, fields((1, field(1, 1))))).startswith("holds no network group")
    assert "'net' without outputs" in refused(hef_file(2, message(group([edge(INPUT)]))))
    assert "'net' without inputs" in refused(hef_file(2, message(group([edge(OUTPUT, 1)]))))


def test_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(5 << 30)  # takes no room on the disk
    cases = {
        "absent": "does not exist",
        ".": "is not a file",
        "pipe": "is not a file",
        "huge": "has 5,368,709,120 bytes",
    }
    for name, reason in cases.items():
        with pytest.raises(UserError) as caught:
            read_hef(tmp_path / name)
        assert reason_of(caught, tmp_path / name).startswith(reason)
    with pytest.raises(UserError, match="cannot be read"):
        read_hef("a\0b")


def test_sizes_are_not_believed(refused):
    tracemalloc.start()
    for sizes in ((0xFFFFFFFF, 0), (100, (1 << 64) - 1), (0xFFFFFFFF, (1 << 64) - 0xFFFFFFFF + 16)):
        assert "bytes are missing" in refused(
            struct.pack(">IIIQQQQ", 0x01484546, 2, sizes[0], 0, sizes[1], 0, 0) + b"x" * 16
        )
    assert "bytes are missing" in refused(
        struct.pack(">IIIQQIQQQ", 0x01484546, 3, 0, 0, 0, 0, 1 << 63, 0, 0) + b"x" * 16
    )
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    data = bytearray(hef_file(3, message()))
    data[28:32] = struct.pack(">I", struct.unpack(">I", data[28:32])[0] + 4096)
    assert "padding of" in refused(bytes(data))


def test_a_thousand_random_files(refused):
    rng, reasons = random.Random(2), []
    for number in range(1000):
        data = rng.randbytes(rng.randrange(300))
        if number % 3 == 0:
            data = struct.pack(">II", 0x01484546, rng.randrange(5)) + data
        elif number % 3 == 1:  # the sizes fit, so that the checksum decides
            version, rest = rng.randrange(3), 60 + len(data)
            start = struct.pack(">III", 0x01484546, version, rest if version == 0 else 60)
            header = (
                start
                + (b"", rng.randbytes(4), rng.randbytes(8))[version]
                + (b"" if version == 0 else struct.pack(">Q", len(data)))
            )
            data = header + rng.randbytes(HEADER_SIZES[version] - len(header) + 60) + data
        reasons.append(refused(data))
    # Chance gives no magic, sizes that do not add up or an unknown version, and no checksum.
    assert len(reasons) == 1000 and all(reason.startswith("is damaged: its ") for reason in reasons[1::3])
    assert not any(reason.startswith("is damaged: its ") for reason in reasons[0::3] + reasons[2::3])


def mutated(content: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.choice([1, 1, 2, 8])):
        if not content:
            break
        place, other = rng.randrange(len(content)), rng.randrange(len(content))
        content = rng.choice([
            lambda c, p, o: flipped(c, p, 1 << rng.randrange(8)),
            lambda c, p, o: flipped(c, p, rng.randrange(1, 256)),
            lambda c, p, o: c[:p] + c[p + 1 :],
            lambda c, p, o: c[:p] + rng.randbytes(rng.randrange(1, 5)) + c[p:],
            lambda c, p, o: c[: p + 1],
            lambda c, p, o: c[:p] + c[min(p, o) : max(p, o)] + c[p:],
        ])(content, place, other)  # fmt: skip
    return content


def test_forged_messages_with_a_right_checksum(described, tmp_path):
    rng, original, read = random.Random(3), message(group(order=["net/fc"]), group(name="b")), 0
    for number in range(800):
        content = mutated(original, rng)
        if number % 2:  # the lengths around the changed part fit
            content = message(group([edge(INPUT), edge(mutated(OUTPUT, rng), 1)]))
        data = hef_file(number // 2 % 4, content, message_checksum=0)
        try:
            hef = described(data)
        except UserError as error:
            line = str(error)
            assert line.startswith(str(tmp_path)) and line.isprintable() and len(line) < 500
        else:
            read += 1
            json.dumps(hef.to_dict(), allow_nan=False)
            format_hef(hef)
    assert 100 < read < 700  # both ways were taken


def test_forged_real_message(real, described):
    size = struct.unpack(">I", real["hailo15h"][8:12])[0]
    rng, original = random.Random(4), real["hailo15h"][56 : 56 + size]
    for _ in range(150):
        try:
            hef = described(hef_file(0, mutated(original, rng)))
            json.dumps(hef.to_dict(), allow_nan=False)
        except UserError as error:
            assert str(error).isprintable()


def nested_mux(depth: int) -> bytes:
    content = field(1, OUTPUT)
    for _ in range(depth):
        content = field(2, field(5, content))
    return content


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"\x0a", "ends within a number"),
        (b"\x0a\xff", "ends within a number"),
        (field(1, b"abc")[:-1], "field 1 has 3 bytes where 2 are left"),
        (b"\x12" + varint((1 << 64) - 1), "field 2 has 18446744073709551615 bytes where 0 are left"),
        (b"\x08" + b"\x80" * 10 + b"\x00", "more than 10 bytes"),
        (b"\x00\x00", "impossible number 0"),
        (varint(1 << 32) + b"\x00", "impossible number 536870912"),
        (b"\x0b\x0c", "field 1 has the unknown wire type 3"),
        (b"\x0f", "field 1 has the unknown wire type 7"),
        (field(1, 5), "field 1 has wire type 0 instead of 2"),
        (field(2, 5), "field 2 has wire type 0 instead of 2"),
        (message(about=((2, "now"),)), "field 2 has wire type 2 instead of 0"),
        (message(group(numbers=((4, 7),))), "field 4 has wire type 0 instead of 1"),
        (message(group(name=b"\xff\xfe")), "field 1 is no UTF-8 text"),
        (message(group(name="n" * 70_000)), "field 1 is a text of 70,000 bytes"),
        (
            message(group([edge(layer("in", (8, 8, 3), 0, size=3)), edge(OUTPUT, 1)])),
            "values of 3 bytes in stream 'in'",
        ),
        (message(group([edge(b"", place=8), edge(OUTPUT, 1)])), "neither plain nor multiplexed"),
        (message(group([edge(INPUT), edge(field(5, nested_mux(12)), 1, place=4)])), "more than 16 deep"),
        (field(99, 1) * 200_001, "more than 200,000 fields"),
        (field(2, field(99, 1) * 50_000) * 5, "more than 200,000 fields"),
    ],
)
def test_messages_that_cannot_be_read(content, reason, refused):
    start = time.perf_counter()
    assert reason in refused(hef_file(0, content))
    assert time.perf_counter() - start < 5


# --- the wire format, and what is imported ------------------------------------------------------------------


def test_wire_format():
    """The examples of the public documentation (150; testing), and values worked out by hand."""
    assert Message(b"\x08\x96\x01").uint64(1) == 150
    assert Message(b"\x12\x07testing").text(2) == "testing"
    assert Message(b"\x1a\x03\x08\x96\x01").message(3).uint32(1) == 150
    assert Message(b"\x08" + b"\xff" * 9 + b"\x01").uint64(1) == (1 << 64) - 1
    assert Message(b"\x08" + b"\xff" * 9 + b"\x01").uint32(1) == (1 << 32) - 1
    assert Message(b"\x0d\xcd\xcc\xcc\x3d").float(1) == 0.1
    assert Message(b"\x09\x9a\x99\x99\x99\x99\x99\xb9\x3f").double(1) == 0.1
    assert (
        math.isnan(Message(b"\x0d\x00\x00\xc0\x7f").float(1))
        and Message(b"\x0d\x00\x00\x80\xff").float(1) == -math.inf
    )
    assert Message(b"\x08\x01\x08\x02").uint32(1) == 2
    assert Message(b"\x0a\x01a\x10\x05\x0a\x01b").texts(1) == ["a", "b"]
    assert [m.uint32(1) for m in Message(b"\x0a\x02\x08\x07\x0a\x00").messages(1)] == [7, 0]
    empty = Message(b"")
    assert (
        empty.uint64(1),
        empty.float(2),
        empty.double(3),
        empty.text(4),
        empty.texts(4),
        empty.messages(5),
    ) == (0, 0, 0, "", [], [])
    assert not empty.has(1) and empty.message(1).text(1) == "" and Message(b"\x08\x00").has(1)
    with pytest.raises(WireError, match="wire type 2 instead of 0"):
        Message(b"\x12\x00").uint32(2)


def test_needs_numpy_alone():
    code = (
        "import sys, numpy\nbefore = set(sys.modules)\nimport "
        "fer_hailo.formats.hef\nprint(*(set(sys.modules) - before))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    roots = {name.split(".")[0] for name in out.split()}
    assert not roots - set(sys.stdlib_module_names) - {"numpy", "fer_hailo"}
    ours = {name for name in out.split() if name.startswith("fer_hailo.")}
    modules = {f"fer_hailo.formats.{name}" for name in ("hef", "protobuf", "xxh3")}
    assert ours == modules | {"fer_hailo.formats", "fer_hailo.common", "fer_hailo.common.errors"}
