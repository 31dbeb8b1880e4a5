"""HailoRT's enumerations, as far as a classifier needs them."""

from enum import Enum, IntEnum


class FormatType(Enum):
    AUTO = 0
    UINT8 = 1
    UINT16 = 2
    FLOAT32 = 3


class HailoSchedulingAlgorithm(Enum):
    NONE = 0
    ROUND_ROBIN = 1


class HailoStreamInterface(Enum):
    PCIe = 0
    ETH = 1


class DeviceArchitectureTypes(IntEnum):
    HAILO8_A0 = 0
    HAILO8 = 1
    HAILO8L = 2
    HAILO15H = 3

    def __str__(self):
        return self.name
