"""Damage bytes by chance: what a broken disk, a broken download or a hostile hand does to a file."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

Rng = random.Random
EXTREMES = (0, 1, 0x7F, 0xFF, 2**15 - 1, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1)


def damaged(content: bytes, rng: Rng, other: bytes = b"") -> bytes:
    """A copy with one to eight faults: flipped bits, other bytes, lost, repeated, moved or new slices, slices
    of `other`, an early end, a number that is a length where there is one.
    """
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        if not content:
            break
        # Most of what decides stands at the beginning
        reach = len(content) if rng.random() < 0.5 else min(len(content), 2000)
        fault = rng.choice(FAULTS)
        content = fault(content, rng.randrange(reach), rng, other or content)
    return content


def lines_mutant(content: bytes, rng: Rng) -> bytes:
    """A text whose lines are lost, doubled, in another order, quoted, or end or begin otherwise."""
    lines = content.split(b"\n")
    for _ in range(rng.choice([1, 1, 2, 3])):
        at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        kind = rng.randrange(6)
        if kind == 0:
            del lines[at : at + rng.randrange(1, len(lines))]
        elif kind == 1:
            lines[at], lines[other] = lines[other], lines[at]
        elif kind == 2:
            lines[at:at] = [lines[other]] * rng.choice([1, 300])
        elif kind == 3:
            lines[at] = b'"' + lines[at] + b'"' * rng.randrange(2)
        elif kind == 4:
            lines = [line + b"\r" for line in lines]
        else:
            lines[0:1] = [rng.choice([b"\xef\xbb\xbf", b"\n", b" "]) + line for line in lines[:1]]
        lines = lines or [b""]
    return b"\n".join(lines)


def _flip(content: bytes, at: int, rng: Rng, _: bytes) -> bytes:
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def _write(content: bytes, at: int, rng: Rng, _: bytes) -> bytes:
    new = rng.randbytes(rng.randrange(1, 9))
    return content[:at] + new + content[at + len(new) :]


def _lose(content: bytes, at: int, rng: Rng, _: bytes) -> bytes:
    return content[:at] + content[at + rng.randrange(1, 600) :]


def _repeat(content: bytes, at: int, rng: Rng, _: bytes) -> bytes:
    part = content[at : at + rng.randrange(1, 600)]
    return content[:at] + part * rng.randrange(2, 5) + content[at:]


def _insert(content: bytes, at: int, rng: Rng, _: bytes) -> bytes:
    return content[:at] + rng.randbytes(rng.randrange(1, 30)) + content[at:]


def _cut(content: bytes, at: int, rng: Rng, _: bytes) -> bytes:
    return content[:at]


def _swap(content: bytes, at: int, rng: Rng, _: bytes) -> bytes:
    """Two slices of the same length change places."""
    size, other = rng.randrange(1, 200), rng.randrange(len(content))
    first, second = sorted((at, other))
    size = min(size, second - first, len(content) - second)
    one, two = content[first : first + size], content[second : second + size]
    return content[:first] + two + content[first + size : second] + one + content[second + size :]


def _splice(content: bytes, at: int, rng: Rng, other: bytes) -> bytes:
    """A slice of another file, in the place of as many bytes."""
    start, size = rng.randrange(len(other)), rng.randrange(1, 600)
    part = other[start : start + size]
    return content[:at] + part + content[at + len(part) :]


def _number(content: bytes, at: int, rng: Rng, _: bytes) -> bytes:
    """An extreme number of 1, 2, 4 or 8 bytes, at a multiple of 4 as often as not."""
    at -= at % 4 if rng.random() < 0.5 else 0
    size = rng.choice([1, 2, 4, 4, 4, 8])
    new = struct.pack(rng.choice("<>") + "Q", rng.choice(EXTREMES))
    new = new[:size] if rng.random() < 0.5 else new[-size:]
    return content[:at] + new + content[at + size :]


FAULTS: tuple[Callable[[bytes, int, Rng, bytes], bytes], ...] = (
    _flip, _flip, _write, _lose, _repeat, _insert, _cut, _swap, _splice, _number, _number,
)  # fmt: skip
