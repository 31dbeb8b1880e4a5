"""Zip archives (.npz, .keras, .pth, data sets) whose members are damaged while their checksums fit."""

from __future__ import annotations

import functools
import io
import warnings
import zipfile

from tools.fuzz.mutate import Rng, damaged
from tools.fuzz.values import STRANGE_TEXTS, strange_json

Members = list[tuple[str, bytes]]
SHAPES = ("()", "(0,)", "(1,)", "(2, 3)", "(-1,)", "(99999999999,)", "(1, 99999999999)", "'x'", "(" * 200)
TYPES = ("'<f4'", "'|u1'", "'|O'", "'<U9'", "'<U2000000000'", "'|V0'", "'<M8[ns]'", "[('a', '<f4')]", "7")


def zip_mutant(sample: bytes, rng: Rng) -> bytes:
    """A zip of the sample's members, one or two of them damaged, renamed, lost, doubled or made a bomb."""
    members = list(_members(sample))
    for _ in range(rng.choice([1, 1, 2])):
        if members:
            rng.choice([_damage, _damage, _damage_values, _rename, _lose, _double, _bomb])(members, rng)
    return zip_of(members, rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))


def npy_mutant(sample: bytes, rng: Rng) -> bytes:
    """A .npy whose header is well formed and says something else, or is cut, or has other bytes behind it."""
    _, _, rest = sample.partition(b"\n")
    header = "{'descr': %s, 'fortran_order': %s, 'shape': %s, }" % (  # noqa: UP031, it has braces
        rng.choice(TYPES), rng.choice(["False", "True", "None"]), rng.choice(SHAPES),
    )  # fmt: skip
    if rng.random() < 0.3:
        header = damaged(header.encode(), rng).decode("latin-1")
    text = header.encode("latin-1") + b"\n"
    rest = rng.choice([rest, rest[:10], b"", rng.randbytes(64)])
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + rest


def zip_of(members: Members, how: int = zipfile.ZIP_STORED) -> bytes:
    """A zip without times, so that the same members give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name or "x"), content, how)
    return buffer.getvalue()


@functools.lru_cache(16)
def _members(sample: bytes) -> tuple[tuple[str, bytes], ...]:
    if not zipfile.is_zipfile(io.BytesIO(sample)):
        return (("data", sample),)
    with zipfile.ZipFile(io.BytesIO(sample)) as archive:
        return tuple((one.filename, archive.read(one)) for one in archive.infolist())


def _damage(members: Members, rng: Rng) -> None:
    at = rng.randrange(len(members))
    name, content = members[at]
    if name.endswith(".npy") and rng.random() < 0.6:
        members[at] = name, npy_mutant(content, rng)
    else:
        members[at] = name, damaged(content, rng, members[rng.randrange(len(members))][1])


def _damage_values(members: Members, rng: Rng) -> None:
    texts = [at for at, (name, _) in enumerate(members) if name.endswith(".json")]
    if texts:
        at = rng.choice(texts)
        members[at] = members[at][0], strange_json(members[at][1], rng)
    else:
        _damage(members, rng)


def _rename(members: Members, rng: Rng) -> None:
    at = rng.randrange(len(members))
    new = rng.choice([*STRANGE_TEXTS[:4], "/etc/x", "C:\\x", "a/../../x", members[0][0], "x.npy", "dir/"])
    members[at] = new.encode("utf-8", "replace").decode(), members[at][1]


def _lose(members: Members, rng: Rng) -> None:
    del members[rng.randrange(len(members))]


def _double(members: Members, rng: Rng) -> None:
    members.insert(rng.randrange(len(members)), rng.choice(members))


def _bomb(members: Members, rng: Rng) -> None:
    """A member that unpacks to much more than the others."""
    at = rng.randrange(len(members))
    members[at] = members[at][0], members[at][1][:128] + bytes(rng.choice([1 << 20, 16 << 20]))
