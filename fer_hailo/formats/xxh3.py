"""XXH3-64, the checksum of HEF files since header version 2: seed 0, default secret, numpy.

Method and constants: Yann Collet's xxHash specification and reference implementation, release 0.8, at which
XXH3 was frozen.
"""

from __future__ import annotations

import numpy as np

WORD = (1 << 64) - 1
P32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
P64 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
MIX1, MIX2 = 0x165667919E3779F9, 0x9FB21C651E98DF25
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)

# Bytes a stripe; stripes a block, as the secret allows: one for each 8 bytes of it but the last 64
STRIPE, STRIPES = (64, 16)
BLOCK = STRIPE * STRIPES
CHUNK = 512 * BLOCK  # what is worked on at a time: bounds the memory needed beside the data


def xxh3_64(data: bytes | memoryview) -> int:
    """XXH3-64 of `data` (bytes or another contiguous buffer of bytes) as an unsigned integer; 3.5 MB take
    some 10 ms.
    """
    data = memoryview(data).cast("B")
    if len(data) > 240:
        return _long(data)
    if len(data) > 128:
        return _up_to_240(data)
    if len(data) > 16:
        return _up_to_128(data)
    return _up_to_16(data)


def _long(data: memoryview) -> int:
    """Over 240 bytes: eight accumulators take up stripes of 64 bytes and are scrambled after each block of
    1,024.
    """
    state = np.array([P32[2], P64[0], P64[1], P64[2], P64[3], P32[1], P64[4], P32[0]], np.uint64)
    keys = np.stack([_lanes(SECRET, 8 * number, 8) for number in range(STRIPES)])
    scrambler, prime, shift = (
        _lanes(SECRET, len(SECRET) - STRIPE, 8),
        np.array([P32[0]], np.uint64),
        np.array([47], np.uint64),
    )
    whole = (len(data) - 1) // BLOCK * BLOCK  # the last block is never scrambled, even when it is full
    for start in range(0, whole, CHUNK):
        size = min(CHUNK, whole - start)
        stripes = _lanes(data, start, size // 8).reshape(-1, STRIPES, 8)
        for added in _taken_up(stripes, keys):
            state += added
            state ^= state >> shift
            state ^= scrambler
            state *= prime
    rest = (len(data) - 1 - whole) // STRIPE
    stripes = _lanes(data, whole, rest * 8).reshape(1, rest, 8)
    state += _taken_up(stripes, keys[:rest])[0]
    # The final 64 bytes, overlapping what came before
    last = _lanes(data, len(data) - STRIPE, 8).reshape(1, 1, 8)
    state += _taken_up(last, _lanes(SECRET, len(SECRET) - STRIPE - 7, 8))[0]
    words = [int(value) for value in state]
    total = len(data) * P64[0]
    for pair in range(4):
        total += _fold(
            words[2 * pair] ^ _u64(SECRET, 11 + 16 * pair), words[2 * pair + 1] ^ _u64(SECRET, 19 + 16 * pair)
        )
    return _avalanche(total & WORD)


def _taken_up(stripes: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """What each block adds to the accumulators: uint64 (blocks, stripes, 8) and keys (stripes, 8) to (blocks,
    8).

    It does not depend on the accumulators, so that all blocks of a chunk are done at once. Sums wrap at 64
    bits, as they must.
    """
    keyed = stripes ^ keys
    products = (keyed & np.uint64(0xFFFFFFFF)) * (keyed >> np.uint64(32))
    neighbours = stripes[..., [1, 0, 3, 2, 5, 4, 7, 6]]
    return (products + neighbours).sum(axis=1, dtype=np.uint64)


def _up_to_240(data: memoryview) -> int:
    total = len(data) * P64[0]
    for number in range(8):
        total += _mix(data, 16 * number, 16 * number)
    total = _avalanche(total & WORD)
    for number in range(8, len(data) // 16):
        total += _mix(data, 16 * number, 16 * (number - 8) + 3)
    return _avalanche((total + _mix(data, len(data) - 16, 119)) & WORD)


def _up_to_128(data: memoryview) -> int:
    total = len(data) * P64[0]
    for number in range((len(data) - 1) // 32 + 1):  # pairs of 16 bytes, from both ends inwards
        total += _mix(data, 16 * number, 32 * number) + _mix(
            data, len(data) - 16 * (number + 1), 32 * number + 16
        )
    return _avalanche(total & WORD)


def _up_to_16(data: memoryview) -> int:
    size = len(data)
    if size > 8:
        low = _u64(data, 0) ^ _u64(SECRET, 24) ^ _u64(SECRET, 32)
        high = _u64(data, size - 8) ^ _u64(SECRET, 40) ^ _u64(SECRET, 48)
        swapped = int.from_bytes(low.to_bytes(8, "little"), "big")
        return _avalanche((size + swapped + high + _fold(low, high)) & WORD)
    if size > 3:
        value = _u32(data, size - 4) + (_u32(data, 0) << 32) ^ _u64(SECRET, 8) ^ _u64(SECRET, 16)
        value ^= _rotated(value, 49) ^ _rotated(value, 24)
        value = value * MIX2 & WORD
        value = (value ^ (value >> 35) + size) * MIX2 & WORD
        return value ^ value >> 28
    if size:
        value = data[0] << 16 | data[size >> 1] << 24 | data[size - 1] | size << 8
        return _avalanche_64(value ^ _u32(SECRET, 0) ^ _u32(SECRET, 4))
    return _avalanche_64(_u64(SECRET, 56) ^ _u64(SECRET, 64))


def _mix(data: memoryview, at: int, secret: int) -> int:
    """16 bytes of data and 16 of the secret as one word."""
    return _fold(_u64(data, at) ^ _u64(SECRET, secret), _u64(data, at + 8) ^ _u64(SECRET, secret + 8))


def _fold(a: int, b: int) -> int:
    """Both halves of the 128-bit product, xored."""
    product = a * b
    return product & WORD ^ product >> 64


def _avalanche(value: int) -> int:
    value = (value ^ value >> 37) * MIX1 & WORD
    return value ^ value >> 32


def _avalanche_64(value: int) -> int:
    """The older finish, of XXH64, which the shortest inputs kept."""
    value = (value ^ value >> 33) * P64[1] & WORD
    value = (value ^ value >> 29) * P64[2] & WORD
    return value ^ value >> 32


def _rotated(value: int, bits: int) -> int:
    return (value << bits | value >> 64 - bits) & WORD


def _u64(data, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _u32(data, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _lanes(data, at: int, count: int) -> np.ndarray:
    """`count` little-endian words from byte `at` on, uint64."""
    return np.frombuffer(data, "<u8", count, at).astype(np.uint64, copy=False)
