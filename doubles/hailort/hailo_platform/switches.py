"""What a test orders from the double: a JSON object in the environment variable FER_HAILO_RT_DOUBLE."""

import json
import os

YES = (True, False)
# Each switch with the values that it takes; None: any.
SWITCHES = {
    "version": None,  # of the library, instead of 4.23.0
    "import": ("library",),  # the import finds no libhailort of its version
    "api": ("vstreams",),  # an old version, without InferModel
    # Path of the network to run, instead of the model_int8.tflite beside the HEF or one folder up
    "tflite": None,
    "normalization": None,  # [mean, scale] that the model script put on the chip, instead of [127.5, 127.5]
    "devices": None,  # how many there are, instead of 1
    "architecture": None,  # of the devices, instead of HAILO8
    "driver": ("other", "absent"),  # its version is not the library's; it is not loaded
    "node": ("closed",),  # this user may not open the device node
    "busy": (
        "program",
        "service",
    ),  # another program holds the device: directly, or through the multi-process service
    "service": ("silent",),  # the multi-process service does not answer
    "hef": ("unsupported",),  # made by a compiler that this version does not know
    "memory": ("short",),
    "pages": ("large",),  # the driver's descriptor pages are larger than the device takes
    "queue": None,  # images that the device takes without waiting, instead of 32
    "lost_after": None,  # images after which the device is gone
    "hang_after": None,  # images after which it predictions no more
    "seconds": None,  # that an image takes
    "record": None,  # path of a file to which each call appends a line of JSON
}


def switch(name: str):
    """The value of a switch, None where it is not set.

    Raises ValueError where the variable sets anything that is not in SWITCHES.
    """
    text = os.environ.get("FER_HAILO_RT_DOUBLE", "{}")
    chosen = json.loads(text)
    for key, value in chosen.items():
        allowed = SWITCHES.get(key, ())
        if allowed is not None and value not in allowed:
            raise ValueError(
                f"FER_HAILO_RT_DOUBLE={text}: the double has no switch {key} = {value!r}; it has "
                f"{', '.join(SWITCHES)}"
            )
    return chosen.get(name)


def record(**facts) -> None:
    """Append a call to the record, where one is ordered."""
    path = switch("record")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(facts) + "\n")
