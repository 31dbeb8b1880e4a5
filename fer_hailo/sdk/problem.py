"""A report for those who have no SDK of their own: what a compilation left behind, in one zip that names
nobody.

It holds logs, reports, the record of the steps, the model script as compiled, the manifest, the networks'
structure, versions. No image, no weights, no path, no name of a person or a machine (fer_hailo.sdk.scrub).
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_hailo.common.errors import UserError
from fer_hailo.common.files import to_json, written
from fer_hailo.deploy.bundle import MANIFEST
from fer_hailo.deploy.steps import RECORD
from fer_hailo.formats.har import read_har
from fer_hailo.sdk.compile import EFFECTIVE, HAR, LOG, QUANTIZED
from fer_hailo.sdk.machine import asked_sdk, machine
from fer_hailo.sdk.scrub import PATH, Scrubber, of_this_machine

REPORT = "compile_report.json"
LOGS = (LOG, "acceleras.log", "hailo_sdk.*.log")
MOST_LOGS = 12  # of a folder, the newest
HALF = 1 << 20  # bytes that are kept of a large file's head, and of its tail
VERSIONS, IMPORT = "versions.json", "sdk_import.log"
NOT_WRITTEN = 1
# Sets that everybody knows; another name is the user's own
PUBLIC_DATA = {"fer2013", "icml_face_data", "ferplus", "synthetic sample set"}


@dataclass(frozen=True)
class Raw:
    """A piece as it was found: text, or the values of a JSON file. note: what of it is left out."""

    name: str
    content: Any
    note: str = ""


def report_problem(target: Path, bundle: Path | None, out: Path | None, hw_arch: str, sure: bool) -> int:
    """Show what would be packed, ask, and write the zip.

    bundle, out: the folders of the compile command, as far as they are known. sure: do not ask. Returns the
    exit status: 0, or 1 where the user does not want it. Raises UserError for a `target` that is there or is
    no .zip, for folders that are not there, and where there is neither a terminal to ask on nor `sure`.
    """
    _check(target, bundle, out)
    found, missing = collect(bundle, out, hw_arch)
    print("looking at the machine, and at the SDK if it is installed (up to some minutes)", file=sys.stderr)
    sdk, said = asked_sdk()
    if said.strip():
        found.append(Raw(IMPORT, said))
    scrubber = _knowing(found, bundle, out)
    lines = [f"{_name(scrubber, what)}: {scrubber.text(reason)}" for what, reason in missing]
    facts = {"made": time.strftime("%Y-%m-%d"), **machine(), **sdk, "missing": lines}
    about = scrubber.names_out_of(to_json(facts, indent=1, ensure_ascii=False) + "\n")
    pieces = [(VERSIONS, about.encode("utf-8", "replace"), "")]
    pieces += [_packed(raw, scrubber) for raw in found]
    _show(pieces, lines)
    if not sure and not _agreed(target):
        print("nothing was written", file=sys.stderr)
        return NOT_WRITTEN
    with written(target) as beside, zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, _ in pieces:
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    print(f"written: {target}, {target.stat().st_size:,} bytes; look into it before you send it", flush=True)
    return 0


def collect(bundle: Path | None, out: Path | None, hw_arch: str) -> tuple[list[Raw], list[tuple[str, str]]]:
    """What is there, as found; and of each piece that is not, what it is and why."""
    found: list[Raw] = []
    missing: list[tuple[str, str]] = []
    if bundle:
        _take(found, missing, bundle / MANIFEST, MANIFEST)
    else:
        missing.append(("bundle", "none was named, and none is here"))
    place = out or (bundle / hw_arch if bundle else None)
    seen: set[Path] = set()
    for folder, label, expected in _folders(place, bundle, hw_arch):
        if folder.resolve() in seen:
            continue
        seen.add(folder.resolve())
        for log in _logs(folder):
            _take(found, missing, log, f"{label}/{log.name}")
        for name in (REPORT, RECORD, EFFECTIVE, HAR, QUANTIZED):
            if expected or (folder / name).exists():
                _take(found, missing, folder / name, f"{label}/{name}")
        if expected and not (folder / LOG).exists():
            missing.append((f"{label}/{LOG}", "not there"))
    return found, missing


def _folders(place: Path | None, bundle: Path | None, hw_arch: str) -> Iterator[tuple[Path, str, bool]]:
    """Where to look, under which name it goes into the zip, and whether a compilation belongs there."""
    if place:
        yield place, "out", True
        for number, folder in enumerate(sorted(place.glob("try_*")), 1):
            yield folder, f"out/try_{number}", False
    if bundle:
        yield bundle / f"rehearsal_{hw_arch}", "rehearsal", False
        yield bundle, "bundle", False
    yield Path("."), "current", False


def _check(target: Path, bundle: Path | None, out: Path | None) -> None:
    if target.suffix.lower() != ".zip":
        raise UserError(
            f"--report-problem takes the name of the file to write, which ends in .zip, not {target}"
        )
    if target.exists() or target.is_symlink():
        raise UserError(f"{target} is there already: choose another name, or remove it")
    for folder in (bundle, out):
        if folder is not None and not folder.is_dir():
            raise UserError(f"there is no folder {folder}: name the one that was compiled, or leave it out")


def _logs(folder: Path) -> list[Path]:
    found = {path for pattern in LOGS for path in folder.glob(pattern) if path.is_file()}
    return sorted(found, key=lambda path: path.stat().st_mtime)[-MOST_LOGS:]


def _take(found: list[Raw], missing: list[tuple[str, str]], path: Path, name: str) -> None:
    """Add a file to what was found, or say why it is missing."""
    try:
        if not path.is_file():
            missing.append((name, "not there"))
        elif path.suffix == ".har":
            har = read_har(path)
            found.append(
                Raw(f"{name}.json", har.to_dict() | {"hn": har.hn}, "the structure, without weights")
            )
        else:
            text, note = _text(path)
            found.append(Raw(name, _parsed(text) if path.suffix == ".json" else text, note))
    except UserError as error:
        missing.append((name, str(error).replace(str(path), "it")))
    except OSError as error:
        missing.append((name, f"cannot be read ({error.strerror})"))


def _text(path: Path) -> tuple[str, str]:
    """A file's text; of a large one the head and the tail, in whole lines, and a note that says so."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        if size <= 2 * HALF:
            return _decoded(file.read()), ""
        head = file.read(HALF)
        file.seek(size - HALF)
        tail = file.read(HALF)
    left = size - 2 * HALF
    start, end = head[: head.rfind(b"\n") + 1], tail[tail.find(b"\n") + 1 :]
    cut = f"\n... ({left:,} bytes left out here)\n"
    return _decoded(start) + cut + _decoded(end), f"head and tail of {size:,} bytes"


def _decoded(content: bytes) -> str:
    """Windows writes UTF-16 where a log is redirected. Of a progress bar, whose lines end with \\r, the last
    state stays.
    """
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff")) or content[:200].count(b"\0") > 50
    lines = content.decode("utf-16" if wide else "utf-8", "replace").replace("\r\n", "\n").split("\n")
    return "\n".join(line if "\r" not in line else _last_states(line.split("\r")) for line in lines)


def _last_states(parts: list[str]) -> str:
    words = [re.sub(r"[\W\d_]+", "", part) for part in parts]
    kept = [part for part, own, after in zip(parts, words, [*words[1:], None], strict=True) if own != after]
    return "\n".join(part for part in kept if part)


def _parsed(text: str) -> Any:
    """The values of a JSON file; its text where it is damaged."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _knowing(found: list[Raw], bundle: Path | None, out: Path | None) -> Scrubber:
    """A scrubber that knows the names of this machine, of these folders, and what the pieces give away."""
    scrubber = of_this_machine()
    for raw in found:
        with contextlib.suppress(RecursionError):
            scrubber.learn(raw.content if isinstance(raw.content, str) else to_json(raw.content))
    folders = [str(form) for path in (bundle, out, Path.cwd()) if path for form in (path, path.resolve())]
    scrubber.name((folder for folder in folders if len(Path(folder).parts) > 1), PATH)
    manifest = next((raw.content for raw in found if raw.name == MANIFEST), None)
    if isinstance(manifest, dict):
        data = manifest.get("data")
        if manifest.get("name") != manifest.get("arch"):
            scrubber.name([str(manifest.get("name") or "")], "<run>")
        if isinstance(data, dict) and data.get("name") not in PUBLIC_DATA:
            scrubber.name([str(data.get("name") or "")], "<data>")
    return scrubber


def _packed(raw: Raw, scrubber: Scrubber) -> tuple[str, bytes, str]:
    """Name in the zip, content and note of a piece, scrubbed."""
    try:
        if isinstance(raw.content, str):
            text = scrubber.text(raw.content)
        else:
            text = to_json(scrubber.values(raw.content), indent=1, ensure_ascii=False) + "\n"
    except RecursionError:
        text = "left out: it lies too deep in itself\n"
    return _name(scrubber, raw.name), text.encode("utf-8", "replace"), raw.note


def _name(scrubber: Scrubber, name: str) -> str:
    """As an entry of the zip, without characters that Windows refuses."""
    return re.sub(r"[^\w./-]", "_", scrubber.names_out_of(name))


def _show(pieces: list[tuple[str, bytes, str]], missing: list[str]) -> None:
    width = max(len(name) for name, _, _ in pieces)
    print("what goes into the report, without images, weights, paths and names:")
    for name, content, note in pieces:
        print(f"  {name:<{width}}  {len(content):>9,} bytes{f'  ({note})' if note else ''}")
    for line in missing:
        print(f"  missing: {line}")
    sys.stdout.flush()


def _agreed(target: Path) -> bool:
    """The answer of who sits at the terminal."""
    if not (sys.stdin and sys.stdin.isatty()):
        raise UserError(
            f"there is no terminal to ask on, so {target} was not written: look at the list, then add --yes"
        )
    try:
        return input(f"write {target}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
