"""All findings, printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fer_hailo.board.doctor.board import Board, Command, run_command
from fer_hailo.board.doctor.finding import FAIL, OK, WARN, Finding
from fer_hailo.board.doctor.hailo import chip_name, examine_hailo
from fer_hailo.board.doctor.hailo_facts import gather_hailo
from fer_hailo.board.doctor.host import examine_machine, examine_programs
from fer_hailo.board.doctor.host_facts import gather_host
from fer_hailo.board.doctor.model import examine_detector, examine_model, find_home
from fer_hailo.board.faces import is_on_chip
from fer_hailo.common.calls import call
from fer_hailo.deploy.home import Format

ON_CPU = {"OpenCV", "LiteRT"}  # what is needed without a Hailo device


def run_doctor(
    model: str | None = None,
    root: Path | str = "/",
    command: Command | None = None,
    folder: Path | str = ".",
    detector: str = "",
) -> int:
    """Print all findings. model, detector: as --model and --detector take them; with a model that is no HEF,
    Hailo's parts are looked at only where the detector is one. root, folder, command: see Board.

    Returns the exit status: 0, or 1 where one finding is FAIL.
    """
    counts, wrong = {OK: 0, WARN: 0, FAIL: 0}, set()
    for finding in examine(Board(Path(root), Path(folder), command or run_command), model, detector):
        counts[finding.level] += 1
        if finding.level != OK:
            wrong.add(finding.what)
        print(f"{finding.level:4}  {finding.what}: {finding.found}")
        if finding.fix:
            print(f"      -> {finding.fix}")
    cpu = counts[FAIL] and not (wrong & ON_CPU or model or is_on_chip(detector))
    without = f"; without the chip, {call('run')} photo.jpg reads faces on the CPU" if cpu else ""
    print(f"{counts[FAIL]} to mend, {counts[WARN]} to look at, {counts[OK]} right{without}")
    return 1 if counts[FAIL] else 0


def examine(board: Board, model: str | None = None, detector: str = "") -> Iterator[Finding]:
    """All findings: the programs, the device, the machine, the model, the detector where it is a HEF."""
    home, problem = find_home(model)
    format, host = home.format if home else None, gather_host(board)
    library, chip = "", ""
    yield from examine_programs(host, format)
    if format in (None, Format.HEF) or is_on_chip(detector):
        facts = gather_hailo(board)
        findings = list(examine_hailo(facts))
        yield from findings
        if any(finding.what == "chip" and finding.level == OK for finding in findings):
            chip = chip_name(facts)
        if all(finding.level != FAIL for finding in findings):  # else the cure may change it
            library = facts.library
    yield from examine_machine(host)
    if problem:
        yield problem
    elif home:
        yield examine_model(home, library, chip)
    if is_on_chip(detector):
        yield examine_detector(detector, library, chip)
