"""A model script that lies in one file or in several: what all networks share, and a network's own lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.common.resources import resource
from fer_hailo.script.lint import specialise
from fer_hailo.script.text import Finding, format_finding, parse_script, read_script


@dataclass(frozen=True)
class ScriptFiles:
    """names: of the files, in order. texts: what each of them says, whole lines."""

    names: tuple[str, ...]
    texts: tuple[str, ...]

    @property
    def text(self) -> str:
        """The script: all files, one below the other."""
        return "".join(self.texts)

    @property
    def name(self) -> str:
        return " + ".join(self.names)

    def format(self, finding: Finding) -> str:
        """A finding in `text`, told by the file and the line in which it stands."""
        line = finding.line
        for name, text in zip(self.names, self.texts, strict=True):
            lines = text.count("\n")
            if line <= lines or name == self.names[-1]:
                return format_finding(replace(finding, line=line), name)
            line -= lines
        raise ValueError("a script without files")


def fitted(script: ScriptFiles, spec: PreprocessSpec, calib_count: int) -> ScriptFiles:
    """The same for a bundle: a first file that is one of this project's gets the bundle's normalisation and
    number of calibration images, as in `model.alls`. A user's own file is left as it is.
    """
    alls = resource("alls").resolve()
    if Path(script.names[0]).resolve().parent != alls:
        return script
    if not any(statement.command == "normalization" for statement in parse_script(script.texts[0])[0]):
        return script  # lines for --layers
    return replace(script, texts=(specialise(script.texts[0], spec, calib_count), *script.texts[1:]))


def read_scripts(paths: Sequence[Path]) -> ScriptFiles:
    """Read the files of a script. Raises UserError as `read_script` does."""
    texts = (read_script(path) for path in paths)
    return ScriptFiles(
        tuple(str(path) for path in paths),
        tuple(text if text.endswith("\n") or not text else text + "\n" for text in texts),
    )
