"""What a test orders from the double: a JSON object in the environment variable FER_HAILO_SDK_DOUBLE."""

import json
import os
import signal
import time

YES = (True, False)
# Each switch with the values that it takes; None: any.
SWITCHES = {
    "version": None,  # of the SDK, instead of 3.33.0
    "slow": None,  # seconds that parsing, optimizing and compiling take at least
    "rank": (2, 4),  # of the predictions: (N, C), the default, or (N, 1, 1, C)
    "hn_as_string": YES,  # get_hn() gives JSON text, as some versions do
    "parse": ("recommend",),  # without end nodes the parser stops, and recommends the network's own
    "refuses": None,  # kinds of operators that the parser does not take, such as ["HARD_SWISH"]
    # The first convolution's channels are scaled by turns: native predictions are slightly wrong
    "parse_wrong": YES,
    "bad_shape": YES,  # optimize() finds the calibration set's shape wrong
    "downgrade": YES,  # there is no GPU: where the script states no level, 0 is taken
    "level": (0, 1, 2, 3, 4),  # the optimization level that takes effect, whatever the script states
    "compression4": YES,  # all weights become 4-bit ones, whatever the script says
    "raises": None,  # {"optimize": [class, text]}: what parsing, optimize() or compile() raises
    "nan": YES,  # optimize() makes all weights NaN
    "allocator": ("fail",),  # compile() finds no place on the chip
    "no_normalization_in_hef": YES,  # no original name tells of it
    "no_bytes_in_hef": YES,  # the input's numbers are others than 1, 0 and 0..255
    "reduced": None,  # {"net/conv1": 5}: layers whose output bits are reduced in optimize(), and by how many
    "no_statistics": YES,  # get_params_statistics() is empty
    "wrong_arch_in_hef": YES,
    "kill_after": ("parse", "optimize"),  # SIGKILL in the first call after the HAR of that step was saved
    "kill_before": ("optimize", "compile"),  # SIGKILL at the start of optimize() or compile()
}


def switch(name: str):
    """The value of a switch, None where it is not set.

    Raises ValueError where the variable sets anything that is not in SWITCHES.
    """
    text = os.environ.get("FER_HAILO_SDK_DOUBLE", "{}")
    chosen = json.loads(text)
    for key, value in chosen.items():
        allowed = SWITCHES.get(key, ())
        if allowed is not None and value not in allowed:
            raise ValueError(
                f"FER_HAILO_SDK_DOUBLE={text}: the double has no switch {key} = {value!r}; it has "
                f"{', '.join(SWITCHES)}"
            )
    return chosen.get(name)


def ordered_exception(call: str) -> None:
    """Raise what is ordered for this call: an exception of a class of that name, with that text."""
    kind, text = (switch("raises") or {}).get(call, (None, ""))
    if kind:
        raise type(kind, (Exception,), {})(text)


def kill() -> None:
    """End the process as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def delay() -> None:
    time.sleep(switch("slow") or 0)
