"""Models and peers on the same corrupted faces, in one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fer_hailo.common.errors import UserError
from fer_hailo.deploy.home import Home
from fer_hailo.robustness.faces import faces_for
from fer_hailo.robustness.measure import measure
from fer_hailo.robustness.models import contender, peer
from fer_hailo.robustness.outputs import write
from fer_hailo.robustness.scores import Scores, score


def evaluate_corrupted(
    homes: Sequence[Home], peers: Sequence[str], split: str, out: Path | None
) -> tuple[list[Scores], list[Path]]:
    """Score models and peers (`NAME=COMMAND`) on one side, clean and under each corruption.

    Returns (scores, files): in `out`, by default in a folder beside the first model's run, or in its bundle.
    What was answered is kept there, and not asked for again. Raises UserError where the models cannot be
    scored on the same faces.
    """
    if out and out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: --out takes a folder")
    faces, homes = faces_for(homes, split)
    if out:
        faces = replace(faces, folder=out)
    contenders = [*map(contender, homes), *(peer(text, faces.names) for text in peers)]
    digest = faces.sha256()
    scores = [score(measure(one, faces, digest), faces, digest) for one in contenders]
    return scores, write(scores, faces.folder)
