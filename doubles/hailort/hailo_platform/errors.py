"""HailoRT's exceptions.

A few statuses have a class of their own; all others become a HailoRTException that names the status.
"""

NUMBERS = {
    "HAILO_INVALID_ARGUMENT": 2, "HAILO_TIMEOUT": 4, "HAILO_INVALID_OPERATION": 6,
    "HAILO_INTERNAL_FAILURE": 8,
    "HAILO_OPEN_FILE_FAILURE": 13, "HAILO_INVALID_HEF": 26,
    "HAILO_NOT_FOUND": 61, "HAILO_STREAM_ABORT": 63, "HAILO_DRIVER_NOT_INSTALLED": 64,
    "HAILO_NETWORK_GROUP_NOT_ACTIVATED": 69,
    "HAILO_OUT_OF_PHYSICAL_DEVICES": 74, "HAILO_INVALID_DRIVER_VERSION": 76, "HAILO_RPC_FAILED": 77,
    "HAILO_OUT_OF_HOST_CMA_MEMORY": 81,
    "HAILO_QUEUE_IS_FULL": 82, "HAILO_HEF_FILE_CORRUPTED": 91, "HAILO_HEF_NOT_SUPPORTED": 92,
    "HAILO_HEF_NOT_COMPATIBLE_WITH_DEVICE": 93,
}  # fmt: skip


class HailoRTStatusException(Exception):
    """What the compiled part raises: a bare number. Not a HailoRTException."""


class HailoRTException(Exception):
    pass


class HailoRTTimeout(HailoRTException):
    pass


class HailoRTStreamAborted(HailoRTException):
    pass


class HailoRTInvalidOperationException(HailoRTException):
    pass


class HailoRTInvalidArgumentException(HailoRTException):
    pass


class HailoRTNotFoundException(HailoRTException):
    pass


class HailoRTInvalidHEFException(HailoRTException):
    pass


class HailoRTNetworkGroupNotActivatedException(HailoRTException):
    pass


CLASSES = {
    "HAILO_TIMEOUT": (
        HailoRTTimeout,
        "Received a timeout - hailort has failed because a timeout had occurred",
    ),
    "HAILO_STREAM_ABORT": (HailoRTStreamAborted, "Stream was aborted"),
    "HAILO_INVALID_OPERATION": (
        HailoRTInvalidOperationException,
        "Invalid operation. See hailort.log for more information",
    ),
    "HAILO_INVALID_ARGUMENT": (
        HailoRTInvalidArgumentException,
        "Invalid argument. See hailort.log for more information",
    ),
    "HAILO_NOT_FOUND": (HailoRTNotFoundException, "Item not found. See hailort.log for more information"),
    "HAILO_INVALID_HEF": (HailoRTInvalidHEFException, "Invalid HEF. See hailort.log for more information"),
    "HAILO_NETWORK_GROUP_NOT_ACTIVATED": (
        HailoRTNetworkGroupNotActivatedException,
        "Network group is not activated",
    ),
}


def failure(status: str) -> HailoRTException:
    """The exception for a status, with the text that HailoRT gives it."""
    if status in CLASSES:
        kind, text = CLASSES[status]
        return kind(text)
    return HailoRTException(f"libhailort failed with error: {NUMBERS[status]} ({status})")


def bare(status: str) -> HailoRTStatusException:
    """The exception where HailoRT's Python does not translate: in Device.scan and in the making of a
    Device.
    """
    return HailoRTStatusException(str(NUMBERS[status]))
