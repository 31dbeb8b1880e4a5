"""Why the SDK failed: the part of an exception's long text that says so, and what to do about it."""

from __future__ import annotations

import re

from fer_hailo.common.errors import first_line

MOST = 600  # characters of a reason
_OPERATORS = re.compile(r"the errors found in the graph are:\s*(.+)", re.I | re.S)
_MEMORY = re.compile(r"smaller batch_size|out of memory|resource ?exhausted|\bOOM\b|std::bad_alloc", re.I)
_TRACE = re.compile(r"traceback", re.I)
_CANNOT_START = re.compile(r"symbol lookup error|cannot open shared object", re.I)
_CRASH = re.compile(r"unexpected crash", re.I)

NO_ROOM = (
    "the compiler found no place for the network on the chip; try performance_param("
    "compiler_optimization_level=max) in the model script, or fewer 16-bit layers"
)
# By class name, since the import paths moved between versions. What is said, and what to do.
ADVICE = {
    "ParsingWithRecommendationException": "the parser does not take the whole network; see conversion.html "
    "for the operators",
    "MisspellNodeError": "the parser does not know one of the nodes",
    "UnsupportedShuffleLayerError": "the parser does not take a shuffle of channels; see conversion.html",
    "UnsupportedModelError": "the parser does not take this kind of network; a float32 TFLite with a fixed "
    "batch of 1 is needed",
    "BadInputsShape": "the calibration images do not have the shape of the network's input",
    "BackendScriptParserException": "this version of the compiler does not take a line of the model script",
    "AllocatorScriptParserException": "this version of the compiler does not take a line of the model script",
    "NegativeSlopeExponentNonFixable": "a layer's range is too wide for 8 bits; look at the calibration set "
    "and the "
    "normalisation first, then give that layer 16 bits, or the script a negative_exponent",
    "BackendAllocatorException": NO_ROOM,
    "BackendValueError": "the compiler refuses a value",
    "SubprocessTracebackFailure": "a part of the compiler failed",
}


def reason_of(text: object) -> str:
    """What helps of an exception's text, in one line of at most MOST characters.

    The operators that the parser does not take, a line on memory, the last line of a traceback; else the
    first line.
    """
    said = str(text)
    lines = [" ".join(line.split()) for line in said.splitlines() if line.strip()]
    if found := _OPERATORS.search(said):
        return (
            "the errors found in the graph are: "
            + "; ".join(" ".join(line.split()) for line in found[1].splitlines() if line.strip())[:MOST]
        )
    if memory := next(filter(_MEMORY.search, lines), None):
        return memory[:MOST]
    if lines and _TRACE.search(said):
        return lines[-1][:MOST]
    return first_line(said, MOST)


def out_of_memory(error: BaseException) -> bool:
    """Whether memory is what was lacking."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "ResourceExhaustedError"} or _MEMORY.search(str(error)))


def advice_for(error: BaseException) -> str:
    """What to do about an exception of the SDK, by its classes and its text."""
    said = str(error)
    if out_of_memory(error):
        return "memory ran out; close other programs, or give model_optimization_config a smaller batch_size"
    if _CANNOT_START.search(said):
        return (
            "the compiler program cannot start; run it without another program's LD_LIBRARY_PATH, "
            "outside of conda, in an environment of its own"
        )
    if _CRASH.search(said):
        return "the compiler program crashed; try another version of the Dataflow Compiler"
    names = [kind.__name__ for kind in type(error).__mro__]
    return next((ADVICE[name] for name in names if name in ADVICE), "the SDK failed")
