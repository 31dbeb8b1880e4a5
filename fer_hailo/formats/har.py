"""Hailo archives (HAR), as the compiler leaves them between its steps: numpy and the standard library only.

A HAR is a tar, plain or gzipped, whose members are named after the network: N.metadata.json (state, versions,
levels), N.hn (the network as JSON), N.alls (the script with the compiler's layer names), N.stats.npz (what
quantization measured) and weights, which are not read here. What is known of the format is from two real
files of DFC 3.33 and from Netron's open reader.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from fer_hailo.common.errors import UserError, one_line

MAX_MEMBERS = 1000
MAX_BYTES = 16 << 30  # unpacked; weights are a few GB at most
MAX_READ = 64 << 20  # of a member that is read: the HN of a thousand layers has about 1 MB
MAX_NOISE = 1 << 20  # unpacked, of one layer: a number for each of its channels
MAX_CELL = 200  # characters that are shown of a name
NOISE = "layer_noise_analysis/snr"
AGAIN = "make it again, or copy it again"
_KINDS = {
    ".metadata.json": "metadata",
    ".native.hn": "",
    ".fp.hn": "",
    ".hn": "hn",
    ".alls": "alls",
    ".stats.npz": "stats",
}


@dataclass(frozen=True)
class HarLayer:
    """One layer of the network.

    name: with its scope, net/conv1. shape: of its output, (height, width, channels), None where the file has
    none. original_names: in the network that was parsed; empty for layers that the compiler put in.
    precision: bits of activations and weights as the compiler writes them (a16_w16_a16), "" before
    quantization.
    """

    name: str
    type: str
    shape: tuple[int, ...] | None
    original_names: tuple[str, ...]
    precision: str


@dataclass(frozen=True)
class Har:
    """What a HAR says of itself.

    state: hailo_model, fp_optimized_model, quantized_model or compiled_model. levels: the optimization and
    the compression level that took effect, None before quantization. script: the model script with scoped
    layer names, "" without one. noise: signal-to-noise ratio by layer, dB, those that are finite; empty where
    the compiler measured none. hn: the network as JSON holds it.
    """

    name: str
    state: str
    hw_arch: str
    sdk_version: str
    levels: tuple[int | None, int | None] | None
    script: str
    noise: dict[str, float]
    layers: tuple[HarLayer, ...]
    hn: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON keeps them; without the HN, of which `layers` is what matters."""
        layers = [vars(layer) | {"original_names": list(layer.original_names)} for layer in self.layers]
        levels = (
            dict(zip(("optimization_level", "compression_level"), self.levels, strict=True))
            if self.levels
            else None
        )
        kept = {key: value for key, value in vars(self).items() if key != "hn"}
        return kept | {"layers": layers, "levels": levels}


def read_har(path: Path | str) -> Har:
    """Read a HAR. Raises UserError for a file that is none, that is damaged, or holds no network."""
    members = _members(path)
    try:
        hn, metadata = (json.loads(members.get(key, b"{}")) for key in ("hn", "metadata"))
    except (ValueError, RecursionError):
        raise UserError(f"the HN or the metadata inside {path} is not JSON: {AGAIN}") from None
    if not isinstance(hn, dict) or not isinstance(metadata, dict):
        raise UserError(f"the HN or the metadata inside {path} is no object: {AGAIN}")
    entries = hn.get("layers")
    if not isinstance(entries, dict) or not entries:
        raise UserError(f"the HN inside {path} has no layers: {AGAIN}")
    return Har(
        _text(hn.get("name")) or _text(metadata.get("model_name")) or next(iter(entries)).split("/")[0],
        _text(metadata.get("state")) or "unknown",
        _text(metadata.get("hw_arch")) or "unknown",
        _text(metadata.get("sdk_version")) or "unknown",
        _levels(metadata.get("mo_flavor")),
        members.get("alls", b"").decode("utf-8", "replace"),
        _noise(members.get("stats"), path),
        tuple(_layer(name, entry, path) for name, entry in entries.items()),
        hn,
    )


def format_har(har: Har) -> str:
    """A HAR as people read it."""
    optimization, compression = har.levels or (None, None)
    levels = (
        f"optimization level {optimization}, compression level {compression}, in effect" if har.levels else ""
    )
    what = f"{har.name}: {har.state} for {har.hw_arch}, made by Dataflow Compiler {har.sdk_version}"
    rows = [("layer", "type", "output", "bits", "SNR", "comes from")]
    for layer in har.layers:
        shape = "x".join(map(str, layer.shape)) if layer.shape else "-"
        noise = f"{har.noise[layer.name]:.1f} dB" if layer.name in har.noise else "-"
        names = ", ".join(layer.original_names) or "(the compiler put it in)"
        name, kind = layer.name[:MAX_CELL], layer.type[:MAX_CELL]
        rows.append((name, kind, shape[:MAX_CELL], layer.precision[:MAX_CELL] or "-", noise, names))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    table = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]])
        for row in rows
    ]
    why = (
        "this HAR holds none" if (optimization or 0) >= 2 else "the compiler measures it at level 2 and above"
    )
    measured = "" if har.noise or not har.levels else f"no layer noise: {why}"
    return "\n".join(_printable(line) for line in [what, levels, measured, *table] if line)


def _members(path: Path | str) -> dict[str, bytes]:
    """The members that are read, by kind."""
    found: dict[str, bytes] = {}
    networks = size = 0
    try:
        with open(path, "rb") as file, tarfile.open(fileobj=file, mode=_mode(file)) as archive:
            for count, member in enumerate(archive):
                size += member.size
                if count >= MAX_MEMBERS or size > MAX_BYTES:
                    raise UserError(f"{path} holds more than a HAR can: {AGAIN}")
                kind = next((kind for end, kind in _KINDS.items() if member.name.endswith(end)), "")
                if not kind or not member.isfile():
                    continue
                if member.size > MAX_READ:
                    name = _printable(member.name[-80:])
                    raise UserError(f"{name} inside {path} is larger than {MAX_READ >> 20} MiB: {AGAIN}")
                networks += kind == "hn"
                inside = archive.extractfile(member)
                assert inside  # of a member that is a file
                found[kind] = inside.read()
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, OverflowError) as error:
        reason = one_line(error, 120) or "it ends too early"
        raise UserError(f"{path} is not a HAR, or is damaged ({reason}): {AGAIN}") from None
    except OSError as error:
        reason = error.strerror or one_line(error, 120)
        raise UserError(f"cannot read the HAR {path}: {reason}; give the path of a .har file") from None
    if networks != 1:
        raise UserError(f"{path} holds {networks or 'no'} HN files (NAME.hn), one is expected: {AGAIN}")
    return found


def _mode(file: BinaryIO) -> Literal["r:", "r:gz"]:
    """In which a tar is to be opened, by its first bytes."""
    start = file.read(2)
    file.seek(0)
    return "r:gz" if start == b"\x1f\x8b" else "r:"


def _layer(name: str, entry, path: Path | str) -> HarLayer:
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        raise UserError(f"the HN inside {path} gives {_printable(name[:80])} no type: {AGAIN}")
    shapes, given = entry.get("output_shapes"), entry.get("original_names")
    first = shapes[0] if isinstance(shapes, list) and shapes and isinstance(shapes[0], list) else []
    shape = tuple(first[1:]) if first and all(type(side) is int for side in first) else None
    names = tuple(name for name in given if isinstance(name, str)) if isinstance(given, list) else ()
    settings = entry.get("quantization_params")
    precision = _text(settings.get("precision_mode")) if isinstance(settings, dict) else ""
    return HarLayer(name, entry["type"], shape, names, precision)


def _levels(flavor) -> tuple[int | None, int | None] | None:
    if not isinstance(flavor, dict):
        return None
    found = [flavor.get(key) for key in ("optimization_level", "compression_level")]
    optimization, compression = (level if type(level) is int else None for level in found)
    return optimization, compression


def _noise(content: bytes | None, path: Path | str) -> dict[str, float]:
    """The ratios of N.stats.npz, whose keys are flat: net/conv1/layer_noise_analysis/snr."""
    noise: dict[str, float] = {}
    if content is None:
        return noise
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            for key in file.files:
                if not key.endswith("/" + NOISE):
                    continue
                if file.zip.getinfo(key + ".npy").file_size > MAX_NOISE:
                    raise ValueError("a layer's is too large")
                lowest = float(np.min(file[key].astype(np.float64)))
                if math.isfinite(lowest):
                    noise[key.removesuffix("/" + NOISE)] = lowest
    except Exception as error:  # NumPy and zipfile raise whatever a damaged archive leads them to
        raise UserError(
            f"the statistics inside {path} cannot be read ({one_line(error, 80)}): {AGAIN}"
        ) from None
    return noise


def _printable(text: str) -> str:
    """A text that stays one line, and cannot steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _text(value) -> str:
    return value if isinstance(value, str) else ""
