"""The SDK's enumerations, as far as they are used here."""

from enum import Enum


class States(Enum):
    """How far a model has come. A HAR of HAILO_MODEL counts as native."""

    UNINITIALIZED = "uninitialized"
    HAILO_MODEL = "hailo_model"
    FP_OPTIMIZED_MODEL = "fp_optimized_model"
    QUANTIZED_MODEL = "quantized_model"
    COMPILED_MODEL = "compiled_model"


class InferenceContext(Enum):
    """The network as parsed, with the model script in float, and quantized."""

    SDK_NATIVE = "sdk_native"
    SDK_FP_OPTIMIZED = "sdk_fp_optimized"
    SDK_QUANTIZED = "sdk_quantized"


class CalibrationDataType(Enum):
    """Forms of calibration data; the double tells them apart by itself."""

    auto = "auto"
    np_array = "np_array"
    npy_file = "npy_file"
