"""HAR files whose members are damaged while the tar around them fits, or fits but for one header."""

from __future__ import annotations

import functools
import gzip
import io
import struct
import tarfile
import zipfile

from tools.fuzz.mutate import Rng, damaged
from tools.fuzz.values import STRANGE_TEXTS, strange_json


def har_mutant(sample: bytes, rng: Rng) -> bytes:
    members = _har_members(sample)
    for _ in range(rng.choice([1, 1, 2])):
        rng.choice([_damage_member, _damage_values, _damage_values, _damage_statistics, _damage_list])(
            members, rng
        )
    return _tar(members, rng)


@functools.lru_cache(8)
def _har_whole(sample: bytes) -> tuple[tuple[str, bytes], ...]:
    with tarfile.open(fileobj=io.BytesIO(sample)) as archive:
        return tuple((one.name, archive.extractfile(one).read()) for one in archive if one.isfile())


def _har_members(sample: bytes) -> list[tuple[str, bytes]]:
    """Its members, the weights, which nobody reads, cut short; and statistics, which the real files lack."""
    kept = [(name, content if len(content) < 1 << 16 or name.endswith((".hn", ".json")) else content[:200])
            for name, content in _har_whole(sample)]  # fmt: skip
    network = next(name for name, _ in kept if name.endswith(".hn")).split(".")[0]
    return [*kept, (f"{network}.stats.npz", _statistics(network, b"\0\0\x48\x41", "(1,)"))]


def _statistics(network: str, content: bytes, shape: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(f"{network}/conv1/layer_noise_analysis/snr.npy")  # without the time
        archive.writestr(info, array, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _damage_member(members: list[tuple[str, bytes]], rng: Rng) -> None:
    at = rng.randrange(len(members))
    members[at] = members[at][0], damaged(members[at][1], rng)


def _damage_values(members: list[tuple[str, bytes]], rng: Rng) -> None:
    """Another value somewhere in the JSON: it stays JSON, and its size and the tar's checksums fit."""
    at = rng.choice([at for at, (name, _) in enumerate(members) if name.endswith((".hn", ".json"))])
    members[at] = members[at][0], strange_json(members[at][1], rng)


def _damage_statistics(members: list[tuple[str, bytes]], rng: Rng) -> None:
    """Arrays that claim to be what they are not, in an archive that is whole."""
    shape = rng.choice(["(1,)", "()", "(0,)", "(99999999999,)", "(-1,)", "(2, 3)", "'x'", "(" * 200])
    content = rng.choice([b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"", rng.randbytes(24), bytes(8 << 20)])
    at = next(at for at, (name, _) in enumerate(members) if name.endswith(".npz") and "stats" in name)
    network = members[at][0].split(".")[0]
    if len(content) > 1 << 20:  # a small file that unpacks to a large one
        shape = f"({len(content) // 4},)"
    members[at] = members[at][0], _statistics(network, content, shape)


def _damage_list(members: list[tuple[str, bytes]], rng: Rng) -> None:
    """Members lost, twice there, renamed, in another order."""
    at = rng.randrange(len(members))
    name, content = members[at]
    change = rng.randrange(4)
    if change == 0 and len(members) > 2 and "stats" not in name:
        del members[at]
    elif change == 1:
        members.insert(rng.randrange(len(members)), (name, content))
    elif change == 2:
        ending = name[name.find(".") :]
        members[at] = rng.choice([*STRANGE_TEXTS[:4], "a/b", "stats"]) + ending, content
    else:
        rng.shuffle(members)


def _tar(members: list[tuple[str, bytes]], rng: Rng) -> bytes:
    """The tar, now and then with a header that says something else of a member, its checksum right."""
    buffer, odd = io.BytesIO(), rng.randrange(len(members)) if rng.random() < 0.3 else None
    form = rng.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for at, (name, content) in enumerate(members):
            info = tarfile.TarInfo(name.encode("utf-8", "replace").decode() or "x")
            info.size = len(content)
            if at == odd:
                archive.fileobj.write(_odd_header(info, rng))
                archive.fileobj.write(content + bytes(-len(content) % 512))
            else:
                archive.addfile(info, io.BytesIO(content))
    # Without the time, so that a seed gives the same file tomorrow
    return gzip.compress(buffer.getvalue(), mtime=0) if rng.random() < 0.5 else buffer.getvalue()


def _odd_header(info: tarfile.TarInfo, rng: Rng) -> bytes:
    """With another type of member, another size, also a negative one in the binary form, or random bytes."""
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT, errors="replace")[-512:])
    if rng.random() < 0.5:
        header[156:157] = rng.choice([b"1", b"2", b"3", b"5", b"6", b"K", b"L", b"N", b"S", b"x", b"g", b"Z"])
    if rng.random() < 0.7:
        header[124:136] = rng.choice([
            b"77777777777\0", b"00000000000\0", b"-0000000001\0", b"00x00000000\0", bytes(12), b"\xff" * 12,
            b"\xff" * 10 + b"\xfe\x00", b"\x80" + bytes(3) + b"\xff" * 8, b"\x80" + bytes(10) + b"\x07",
        ])  # fmt: skip
    if rng.random() < 0.2:
        at = rng.randrange(500)
        header[at : at + 8] = rng.randbytes(8)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header[:512])
