"""Damage real files by chance and read them: each must be described, or refused in one line that names it.

    python tools/fuzz.py [FORMAT ...] [--count 1000] [--seed 1] [--keep DIR]

A format is a row of FORMATS. Its samples are the real files of shared/ beside the repository
(FER_HAILO_SHARED). Half of the mutants are damaged as files; of the other half the parts are, and the file is
put together again with right sizes and checksums, so that what lies behind those is reached. The same seed
gives the same files.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gzip
import hashlib
import io
import json
import os
import random
import resource
import signal
import struct
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from fer_hailo.common.cli import run
from fer_hailo.common.errors import UserError
from fer_hailo.common.progress import track
from fer_hailo.formats.har import format_har, read_har
from fer_hailo.formats.hef import format_hef, read_hef
from fer_hailo.formats.xxh3 import xxh3_64

SHARED = Path(os.environ.get("FER_HAILO_SHARED", Path(__file__).parents[2] / "shared"))
LONGEST = 20  # seconds that a file may take: what takes longer hangs
MOST = 600  # characters of the one line
Rng = random.Random


# Bytes


def damaged(content: bytes, rng: Rng) -> bytes:
    """A copy with one to eight faults: flipped bits, other bytes, lost, repeated or new slices, an early
    end, a number that is a length where there is one.
    """
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        if not content:
            break
        # Most of what decides stands at the beginning
        reach = len(content) if rng.random() < 0.5 else min(len(content), 2000)
        content = rng.choice(FAULTS)(content, rng.randrange(reach), rng)
    return content


def _bit(content: bytes, at: int, rng: Rng) -> bytes:
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def _other(content: bytes, at: int, rng: Rng) -> bytes:
    new = rng.randbytes(rng.randrange(1, 9))
    return content[:at] + new + content[at + len(new) :]


def _lost(content: bytes, at: int, rng: Rng) -> bytes:
    return content[:at] + content[at + rng.randrange(1, 600) :]


def _repeated(content: bytes, at: int, rng: Rng) -> bytes:
    part = content[at : at + rng.randrange(1, 600)]
    return content[:at] + part * rng.randrange(2, 5) + content[at:]


def _new(content: bytes, at: int, rng: Rng) -> bytes:
    return content[:at] + rng.randbytes(rng.randrange(1, 30)) + content[at:]


def _end(content: bytes, at: int, rng: Rng) -> bytes:
    return content[:at]


def _length(content: bytes, at: int, rng: Rng) -> bytes:
    number = rng.choice([0, 1, 2**16, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1])
    new = struct.pack(rng.choice("<>") + "Q", number)[: rng.choice([4, 8])]
    return content[:at] + new + content[at + len(new) :]


FAULTS: tuple[Callable[[bytes, int, Rng], bytes], ...] = (
    _bit, _bit, _other, _lost, _repeated, _new, _end, _length,
)  # fmt: skip


# HEF: the message is damaged, sizes and checksum fit


def hef_mutant(sample: bytes, rng: Rng) -> bytes:
    """With a short payload, which nobody reads: checksums of megabytes would take most of the time."""
    message = damaged(_hef_message(sample), rng)
    version, payload = rng.randrange(4), b"payload" * 9
    if version == 0:
        return struct.pack(">IIII", 0x01484546, 0, len(message), 0) + hashlib.md5(message).digest() + message
    if version == 1:
        body = message + payload
        return struct.pack(">IIIIQI", 0x01484546, 1, len(message), zlib.crc32(body), len(payload), 0) + body
    if version == 2:
        body = message + payload
        checksum = xxh3_64(body)
        return struct.pack(">IIIQQQQ", 0x01484546, 2, len(message), checksum, len(payload), 0, 0) + body
    padding = -(56 + len(message)) % 4096
    body = message + bytes(padding) + payload
    sizes = padding + len(payload), padding, 0
    own = rng.choice([0, xxh3_64(message)])
    return struct.pack(">IIIQQIQQQ", 0x01484546, 3, len(message), xxh3_64(body), *sizes, own, 0) + body


def _hef_message(sample: bytes) -> bytes:
    _, version, size = struct.unpack(">III", sample[:12])
    header = {0: 32, 1: 28, 2: 44, 3: 56}[version]
    return sample[header : header + size]


def hef_text(path: Path) -> str:
    hef = read_hef(path)
    return format_hef(hef) + json.dumps(hef.to_dict(), allow_nan=False)


# HAR: members of the tar are damaged, or the tar around them


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
    try:
        values = json.loads(members[at][1])
    except (ValueError, RecursionError):
        return
    place: Any = values
    while isinstance(place, (dict, list)) and place:
        key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
        if rng.random() < 0.3 or not isinstance(place[key], (dict, list)):
            if rng.random() < 0.2:
                del place[key]
            elif isinstance(place, dict) and rng.random() < 0.2:
                place[rng.choice(STRANGE_TEXTS)] = place.pop(key)
            else:
                place[key] = rng.choice(STRANGE)
            break
        place = place[key]
    members[at] = members[at][0], json.dumps(values).encode()


STRANGE_TEXTS = ("", "a\nb", "\x1b[31mred", "\u202e", "\ud800", "x" * 5000, "../../etc", "NaN")
STRANGE: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**300, 1e308, float("nan"), float("inf"), [], {}, [[]], [[-1]], [None] * 300),
    *({"type": "conv"}, [[-1, 2**70, -5, 0]], *STRANGE_TEXTS),
)


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


def har_text(path: Path) -> str:
    har = read_har(path)
    return format_har(har) + json.dumps(har.to_dict(), allow_nan=False)


# What is fuzzed


@dataclass(frozen=True)
class Format:
    """folder: of the samples, in shared/. read: gives a description of several lines, or raises UserError.

    rebuilt: a mutant of a sample whose sizes and checksums fit.
    """

    folder: str
    suffix: str
    read: Callable[[Path], str]
    rebuilt: Callable[[bytes, Rng], bytes]

    def samples(self) -> list[bytes]:
        """Real files, in the order of their names. Raises UserError where there are none."""
        found = sorted((SHARED / self.folder).glob(f"*{self.suffix}"))
        if not found:
            raise UserError(f"no {self.suffix} files in {SHARED / self.folder}: set FER_HAILO_SHARED")
        return [path.read_bytes() for path in found]


FORMATS = {
    "hef": Format("data/hef", ".hef", hef_text, hef_mutant),
    "har": Format("data/har", ".har", har_text, har_mutant),
}


@dataclass
class Result:
    """outcomes: how many were read, how many refused. faults: by the mutant's number, what went wrong."""

    outcomes: Counter = field(default_factory=Counter)
    faults: dict[int, str] = field(default_factory=dict)
    slowest: float = 0.0


def mutants(name: str, count: int, seed: int) -> Iterator[bytes]:
    """`count` damaged files of a format, always the same ones of a seed."""
    format, samples = FORMATS[name], FORMATS[name].samples()
    for number in range(count):
        rng = random.Random(f"{name} {seed} {number}")
        sample = rng.choice(samples)
        yield damaged(sample, rng) if number % 2 == 0 else format.rebuilt(sample, rng)


def fuzz(name: str, count: int, seed: int, folder: Path) -> Result:
    """Read the mutants, each written into `folder` and removed again; those that show a fault stay."""
    result, format = Result(), FORMATS[name]
    for number, content in enumerate(track(mutants(name, count, seed), count, f"damaged {name} files")):
        path = folder / f"{name}_{seed}_{number}{format.suffix}"
        path.write_bytes(content)
        start = time.perf_counter()
        outcome = outcome_of(format, path)
        result.slowest = max(result.slowest, time.perf_counter() - start)
        if outcome in ("read", "refused"):
            result.outcomes[outcome] += 1
            path.unlink()
        else:
            result.faults[number] = outcome
    return result


def outcome_of(format: Format, path: Path) -> str:
    """ "read", "refused", or what is wrong with how a file was read or refused."""
    try:
        with _limited():
            text = format.read(path)
    except UserError as error:
        line = str(error)
        right = line.isprintable() and path.name in line and len(line) <= MOST + len(str(path))
        return "refused" if right else f"refused with {line[:300]!r}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"{type(error).__name__}: {str(error)[:200]}"
    strange = next((line for line in text.split("\n") if not line.isprintable()), None)
    return "read" if strange is None else f"describes it with {strange[:200]!r}"


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """End what hangs, where the system has such an alarm."""

    def stop(number, frame):
        raise TimeoutError(f"it took more than {LONGEST} s")

    known = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, known)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("formats", nargs="*", choices=[*FORMATS, []], help=f"of {', '.join(FORMATS)} [all]")
    parser.add_argument("--count", type=int, default=1000, help="files of each format [1000]")
    parser.add_argument("--seed", type=int, default=1, help="[1]")
    parser.add_argument("--keep", type=Path, help="folder for the files that show a fault [none are kept]")
    arguments = parser.parse_args(argv)
    faults = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in arguments.formats or FORMATS:
            start = time.perf_counter()
            result = fuzz(name, arguments.count, arguments.seed, folder)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            read, refused = (result.outcomes[outcome] for outcome in ("read", "refused"))
            faulty, seconds = len(result.faults), time.perf_counter() - start
            print(
                f"{name}: {arguments.count} files, {read} read, {refused} refused, {faulty} faults; "
                f"{seconds:.0f} s, the slowest {result.slowest:.2f} s; peak memory {memory:.0f} MiB",
                flush=True,
            )
            for number, fault in result.faults.items():
                print(f"  {name} {number}: {fault}")
            faults += len(result.faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(run(main))
