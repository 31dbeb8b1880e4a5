"""The findings about a model and a face detector: their files, and the chip and compiler of those."""

from __future__ import annotations

from fer_hailo.board.doctor.finding import COPY, FAIL, OK, WARN, Finding, split
from fer_hailo.board.doctor.versions import PAIRS, release
from fer_hailo.board.scrfd import file_for, recognise
from fer_hailo.common.errors import UserError
from fer_hailo.deploy.bundle import check_network
from fer_hailo.deploy.home import Format, Home, resolve
from fer_hailo.formats.hef import Hef, read_hef
from fer_hailo.formats.tflite import read_tflite
from fer_hailo.predict.device import misfit, runs_on
from fer_hailo.predict.hailort import check_hef, compiled_for


def find_home(model: str | None) -> tuple[Home | None, Finding | None]:
    """What --model names, or the finding that it is no model; neither where nothing is named."""
    try:
        return (resolve(model), None) if model else (None, None)
    except UserError as error:
        return None, Finding(FAIL, "model", str(error), COPY)


def examine_model(home: Home, library: str, chip: str) -> Finding:
    """library: HailoRT's version, chip: HAILO8 or HAILO8L; empty where unknown."""
    path = home.model
    try:
        labels, spec = home.labels, home.spec
        if home.format is Format.TFLITE:
            check_network(read_tflite(path), path, spec, labels)
        if home.format is not Format.HEF:
            return Finding(OK, "model", f"{path}, {', '.join(labels)}")
        hef = read_hef(path)
        doubt = check_hef(hef, path, spec, labels)
    except UserError as error:
        return Finding(FAIL, "model", *split(str(error)))
    if chip and not runs_on(hef, chip):
        return Finding(FAIL, "model", *split(f"{path} {misfit(hef, chip, compiled_for)}"))
    normalised = "takes bytes" if doubt else "normalised on the chip"
    taken = f"{normalised}, {hef.groups[0].inputs[0].transfer}"
    says = f"{path}, for {hef.architecture}, compiler {hef.sdk_version}, {taken}, {', '.join(labels)}"
    return _pair("model", hef, says, library, "compile it")


def examine_detector(path: str, library: str, chip: str) -> Finding:
    """A face detector's HEF. library, chip: as for examine_model."""
    try:
        hef = read_hef(path)
        high, wide = recognise(hef, path).shape
    except UserError as error:
        return Finding(FAIL, "detector", *split(str(error)))
    if chip and not runs_on(hef, chip):
        return Finding(FAIL, "detector", *split(f"{path} {misfit(hef, chip, file_for)}"))
    says = f"{path}, for {hef.architecture}, compiler {hef.sdk_version}, SCRFD, takes images of {wide}x{high}"
    return _pair("detector", hef, says, library, "take one that was compiled")


def _pair(what: str, hef: Hef, says: str, library: str, other: str) -> Finding:
    """Whether HailoRT belongs to the HEF's compiler. other: how to come by a file of another compiler."""
    ours, theirs = release(library), release(hef.sdk_version)
    if ours not in PAIRS or PAIRS[ours] == theirs:
        return Finding(OK, what, says)
    pair = next((runtime for runtime, compiler in PAIRS.items() if compiler == theirs), None)
    either = f"install HailoRT {pair}, or " if pair else ""
    fix = f"where it does not load: {either}{other} with {PAIRS[ours]}"
    return Finding(WARN, what, f"{says}; HailoRT {library} belongs to compiler {PAIRS[ours]}", fix)
