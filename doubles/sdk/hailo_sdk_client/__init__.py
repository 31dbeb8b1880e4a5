"""A double of the vendor's SDK for tests: the interface, rules, log and files of its ClientRunner, on a
TFLite interpreter.

It shares no code with fer_hailo, keeps to what is known of the SDK and is strict where the SDK is. Its
numbers are real: the float network is run by LiteRT, and the quantized one is the same network with its
weights and activations rounded as a model script says. What it cannot emulate it refuses, but for the SDK's
accuracy algorithms (equalization, fine-tuning, ...), which it accepts and leaves out.

    PYTHONPATH=doubles/sdk FER_HAILO_SDK_DOUBLE='{"downgrade": true}' python compile_hef.py ...

switches.py lists the faults that can be ordered. The package is a double of paths too, as far as they are
known.
"""

import sys

if "tensorflow" in sys.modules:
    raise ImportError(
        "hailo_sdk_client must be imported before tensorflow: together they need one order of loading"
    )

from hailo_sdk_client.exposed_definitions import CalibrationDataType, InferenceContext, States
from hailo_sdk_client.log import native
from hailo_sdk_client.runner.client_runner import ClientRunner
from hailo_sdk_client.switches import switch

__all__ = ["CalibrationDataType", "ClientRunner", "InferenceContext", "States"]
if switch("downgrade"):
    native("No GPU chosen and no suitable GPU found, falling back to CPU")
__version__ = switch("version") or "3.33.0"
