"""Write what torch.save writes since PyTorch 1.6, without PyTorch: a zip file of a pickle and of raw
numbers.
"""

import struct
import zipfile
from pathlib import Path

import numpy as np


def write_pth(path: Path, content: dict) -> None:
    """content: what torch.save is given: dictionaries with text keys, numbers, text, float32 arrays
    (tensors).
    """
    storages: list[np.ndarray] = []
    pickled = b"\x80\x02" + _value(content, storages) + b"."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}/data.pkl", pickled)
        for number, array in enumerate(storages):
            archive.writestr(f"{path.stem}/data/{number}", array.tobytes())


def _value(value, storages: list) -> bytes:
    if isinstance(value, dict):
        items = b"".join(_value(key, storages) + _value(item, storages) for key, item in value.items())
        return b"ccollections\nOrderedDict\n)R(" + items + b"u"
    if isinstance(value, np.ndarray):
        return _tensor(np.ascontiguousarray(value, np.float32), storages)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    text = str(value).encode()
    return b"X" + struct.pack("<I", len(text)) + text


def _tensor(array: np.ndarray, storages: list) -> bytes:
    key, whole = str(len(storages)), _value(array.size, storages)
    storages.append(array)
    text = [_value(word, storages) for word in ("storage", key, "cpu")]
    storage = b"(" + text[0] + b"ctorch\nFloatStorage\n" + text[1] + text[2] + whole + b"tQ"
    sizes = b"(" + b"".join(_value(n, storages) for n in array.shape) + b"t"
    steps = b"(" + b"".join(_value(n // 4, storages) for n in array.strides) + b"t"
    rest = b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + sizes + steps + rest + b"tR"
