"""The vendor's ClientRunner: imported here only, its calls wrapped so that what it raises becomes one line of
advice.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import platform
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from fer_hailo.common.cli import PLACES
from fer_hailo.common.errors import UserError, first_line, with_class
from fer_hailo.common.preprocess import PreprocessSpec, normalise
from fer_hailo.sdk.log import captured
from fer_hailo.sdk.reason import advice_for, reason_of

ARCHITECTURES = {"hailo8": "HAILO8", "hailo8l": "HAILO8L", "hailo8r": "HAILO8R"}
TOPS = {"hailo8": 26, "hailo8l": 13, "hailo8r": 26}
CONTEXTS = {"har-native": "SDK_NATIVE", "har-fp": "SDK_FP_OPTIMIZED", "har-int8": "SDK_QUANTIZED"}
MISSING = (
    "the Hailo Dataflow Compiler (module hailo_sdk_client) is not installed in this Python, {version}: get "
    "its wheel, version 3.x for Hailo-8, from Hailo's Developer Zone (free registration; Linux, Python 3.10 "
    "to 3.12); --rehearse checks everything that can be checked without it"
)
BATCH = 8  # images that the emulation takes at once


def client() -> ModuleType:
    """The module hailo_sdk_client. Raises UserError, saying where to get it, where it is missing."""
    try:
        return importlib.import_module("hailo_sdk_client")
    # An SDK in a wrong environment fails in many ways: libraries, versions, the order of imports
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "hailo_sdk_client":
            raise UserError(MISSING.format(version=platform.python_version())) from None
        reason = with_class(error, first_line(error))
        raise UserError(
            f"the Dataflow Compiler is installed but cannot be imported ({reason}): install it again in an "
            "environment of its own, as "
            "its guide says"
        ) from error


@functools.cache
def said_at_import() -> str:
    """Import the SDK. Returns what it printed meanwhile: that it finds no GPU is often said then only.

    Raises UserError as `client` does, and where it is the SDK of another family of chips.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "import.log"
        with captured(log):
            version = str(getattr(client(), "__version__", ""))
        if version.startswith("5."):
            raise UserError(
                f"the Dataflow Compiler here is {version}, for Hailo-10 and Hailo-15: a Hailo-8 needs 3.x"
            )
        return log.read_text(encoding="utf-8", errors="replace")


def has_name(error: BaseException, name: str) -> bool:
    """Whether an exception is of a class called `name`, or derived from one."""
    return any(kind.__name__ == name for kind in type(error).__mro__)


@contextlib.contextmanager
def calling(what: str, log: Path) -> Iterator[None]:
    """Run SDK calls: log caught; an exception becomes a UserError that names the step, the reason and the
    log, which gets the traceback.
    """
    try:
        with captured(log):
            yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in PLACES:
            raise
        # Nobody sees it otherwise, and it tells which part of the SDK failed
        with contextlib.suppress(OSError), open(log, "a", encoding="utf-8", errors="replace") as file:
            file.write(traceback.format_exc())
        raise UserError(
            f"{what}: {advice_for(error)} ({with_class(error, reason_of(error))}); the whole log is {log}"
        ) from error


@contextlib.contextmanager
def inference(
    runner: Any, stage: str, spec: PreprocessSpec, log: Path
) -> Iterator[Callable[[np.ndarray], np.ndarray]]:
    """Give a function from images, uint8 (N, I, I, 3), to logits, in the stage's domain.

    The native network ignores the model script, so it gets normalised values; the others normalise
    themselves.
    """
    what, context = f"scoring {stage}", getattr(client().InferenceContext, CONTEXTS[stage])
    with contextlib.ExitStack() as stack:
        with calling(what, log):
            handle = stack.enter_context(runner.infer_context(context))

        def infer(images: np.ndarray) -> np.ndarray:
            values = normalise(images, spec) if stage == "har-native" else images.astype(np.float32)
            with calling(what, log):
                answers = runner.infer(handle, values, batch_size=BATCH)
            return np.asarray(answers[0] if isinstance(answers, (list, tuple)) else answers)

        yield infer
