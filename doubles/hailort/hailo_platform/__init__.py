"""A double of HailoRT's Python for tests: the interface and rules of hailo_platform, with a TFLite
interpreter for a chip.

It shares no code with fer_hailo, keeps to what HailoRT's public code does, and refuses where that would fail
or go wrong silently. Its predictions are real: the INT8 TFLite that lies beside a HEF, or one folder up, is
run on what the chip's normalisation makes of the bytes; what it gives is rounded to the 256 steps of the
HEF's output, and dequantized again for FLOAT32.

    PYTHONPATH=doubles/hailort FER_HAILO_RT_DOUBLE='{"architecture": "HAILO8L"}' python run.py ...

switches.py lists the faults that can be ordered.
"""

from hailo_platform.device import Device, OldVDevice, VDevice
from hailo_platform.errors import HailoRTException
from hailo_platform.formats import FormatType, HailoSchedulingAlgorithm, HailoStreamInterface
from hailo_platform.hef import HEF
from hailo_platform.streams import ConfigureParams, InferVStreams, InputVStreamParams, OutputVStreamParams
from hailo_platform.switches import switch

if switch("import") == "library":
    raise ImportError("libhailort.so.4.23.0: cannot open shared object file: No such file or directory")
if switch("api") == "vstreams":
    VDevice = OldVDevice
__all__ = [
    "HEF", "ConfigureParams", "Device", "FormatType", "HailoRTException", "HailoSchedulingAlgorithm",
    "HailoStreamInterface",
    "InferVStreams", "InputVStreamParams", "OutputVStreamParams", "VDevice",
]  # fmt: skip
__version__ = switch("version") or "4.23.0"
