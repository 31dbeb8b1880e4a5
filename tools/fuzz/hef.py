"""HEF files whose message is damaged while sizes and checksums fit."""

from __future__ import annotations

import hashlib
import struct
import zlib

from fer_hailo.formats.xxh3 import xxh3_64
from tools.fuzz.mutate import Rng, damaged

MAGIC = 0x01484546
HEADER_SIZES = {0: 32, 1: 28, 2: 44, 3: 56}


def hef_file(
    version: int,
    content: bytes,
    payload: bytes = b"payload" * 9,
    additional: bytes = b"more",
    message_checksum: int | None = None,
) -> bytes:
    """A HEF of header version 0 to 3 around a message. additional, message_checksum: of version 3."""
    size = len(content)
    if version == 0:
        return struct.pack(">IIII", MAGIC, 0, size, 0) + hashlib.md5(content).digest() + content
    if version == 1:
        body = content + payload
        return struct.pack(">IIIIQI", MAGIC, 1, size, zlib.crc32(body), len(payload), 0) + body
    if version == 2:
        body = content + payload
        return struct.pack(">IIIQQQQ", MAGIC, 2, size, xxh3_64(body), len(payload), 0, 0) + body
    padding = -(56 + size) % 4096
    body = content + bytes(padding) + payload + additional
    own = xxh3_64(content) if message_checksum is None else message_checksum
    sizes = padding + len(payload), padding, len(additional)
    return struct.pack(">IIIQQIQQQ", MAGIC, 3, size, xxh3_64(body), *sizes, own, 0) + body


def message_of(sample: bytes) -> bytes:
    """The message of a whole HEF."""
    _, version, size = struct.unpack(">III", sample[:12])
    header = HEADER_SIZES[version]
    return sample[header : header + size]


def hef_mutant(sample: bytes, rng: Rng) -> bytes:
    """With a short payload, which nobody reads: checksums of megabytes would take most of the time."""
    message = damaged(message_of(sample), rng)
    version = rng.randrange(4)
    return hef_file(version, message, message_checksum=rng.choice([0, None]) if version == 3 else None)
