"""PNG images whose parts are damaged while their checksums fit, compressed pixels too."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from tools.fuzz.mutate import Rng, damaged

Chunks = list[tuple[bytes, bytes]]
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_mutant(sample: bytes, rng: Rng) -> bytes:
    """A header of another size or kind, other pixels, a part lost, doubled or strange."""
    chunks = list(_split(sample))
    at = rng.randrange(len(chunks))
    kind, content = chunks[at]
    if kind == b"IDAT" and rng.random() < 0.7:
        chunks[at] = kind, zlib.compress(damaged(zlib.decompress(content), rng))
    elif rng.random() < 0.2:
        del chunks[at]
    elif rng.random() < 0.2:
        chunks.insert(at, rng.choice([chunks[at], (b"tRNS", rng.randbytes(6)), (b"acTL", rng.randbytes(8))]))
    else:
        chunks[at] = kind, damaged(content, rng)
    return png_of(chunks)


def png_of(chunks: Chunks) -> bytes:
    """The file of some chunks, each with its checksum."""
    parts = (struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
             for kind, content in chunks)  # fmt: skip
    return SIGNATURE + b"".join(parts)


def _split(sample: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(SIGNATURE)
    while at < len(sample):
        size, kind = struct.unpack_from(">I4s", sample, at)
        yield kind, sample[at + 8 : at + 8 + size]
        at += 12 + size
