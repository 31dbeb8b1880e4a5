"""Tensors out of a file: numpy's .npz, what torch.save writes, or dlib's .dat.

With numpy alone, and without running what the file says.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np

from fer_hailo.common.errors import UserError, one_line
from fer_hailo.formats.dlib import Plan, read_network

SUFFIXES = (".npz", ".pth", ".pt", ".pth.tar")
_LEGACY = 0x1950A86A20F9469CFC6C  # the number at the beginning of what torch.save wrote before version 1.6
_TYPES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8",
    "IntStorage": "<i4", "ShortStorage": "<i2",
    "CharStorage": "<i1", "ByteStorage": "<u1", "BoolStorage": "?", "BFloat16Storage": "<u2",
}  # fmt: skip
# Where training scripts put the weights beside their other state
_INSIDE = ("state_dict", "model_state_dict", "model", "net")


def read_tensors(path: Path | str, plan: Plan = ()) -> dict[str, np.ndarray]:
    """The floating-point tensors of a checkpoint by name, in the layout of the file.

    path: .npz, or a .pth, .pt or .pth.tar file of PyTorch 0.4 or later: a state dict, a dictionary that holds
    one, or a whole pickled module. Objects in it that are no tensors are passed over, and none of their code
    is run. With a plan (`read_network`) also dlib's .dat. Raises UserError for a file that is none of these.
    """
    path = Path(path)
    if plan and path.suffix == ".dat":
        return read_network(path, plan)
    if not path.is_file():
        raise UserError(f"no weights at {path}")
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                tensors = {name: value for name, value in file.items() if isinstance(value, np.ndarray)}
        else:
            tensors = _resolve(_read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path))
    except Exception as error:  # what a damaged pickle or archive can raise has no end
        raise UserError(f"{path} cannot be read as a checkpoint: {one_line(error, 160)}") from None
    tensors = {name: value for name, value in tensors.items() if value.dtype.kind == "f"}
    if not tensors:
        raise UserError(f"{path} holds no weights")
    return tensors


class _Storage:
    """Numbers in a row, which the older format gives only after all that refers to them."""

    def __init__(self, kind: str):
        self.kind, self.numbers = kind, np.empty(0)

    def fill(self, data: bytes) -> None:
        numbers = np.frombuffer(data, _TYPES[self.kind])
        if self.kind == "BFloat16Storage":  # the upper half of a float32
            numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
        self.numbers = numbers


class _Tensor:
    """A view of a storage: `offset`, `size` and `stride` in numbers."""

    def __init__(self, storage: _Storage, offset: int, size: tuple, stride: tuple, *rest):
        self.storage, self.offset, self.size, self.stride = storage, offset, tuple(size), tuple(stride)

    def array(self) -> np.ndarray:
        numbers = self.storage.numbers[self.offset :]
        reach = (
            1 + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
            if all(self.size)
            else 0
        )
        if max(reach, math.prod(self.size)) > len(numbers) or min(self.stride, default=0) < 0:
            raise ValueError("a tensor reaches beyond its storage")
        strides = [step * numbers.itemsize for step in self.stride]
        return np.array(np.lib.stride_tricks.as_strided(numbers, self.size, strides, writeable=False))


class _Other(dict):
    """Stands for an object of a class that is not needed: takes what a pickle gives it, and does nothing."""

    def __init__(self, *arguments, **options):
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):
            self.update(part if isinstance(part, dict) else {})

    def append(self, item: Any) -> None:
        pass

    extend = __call__ = append
    # a pickle may use any object as a key; typeshed has it that a dictionary's subclass cannot be one
    __hash__ = object.__hash__  # type: ignore[assignment]


class _Reader(pickle.Unpickler):
    """Makes dictionaries and tensors, and nothing else."""

    def __init__(self, file: IO[bytes]):
        super().__init__(file, encoding="latin1")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *parts: _Tensor(*parts)  # new each time, as is all that a pickle could change
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *rest: tensor
        return name if name in _TYPES and module == "torch" else type("Other", (_Other,), {})

    def persistent_load(self, saved: Any) -> Any:
        if saved[0] != "storage":
            return _Other
        kind, key = saved[1:3]
        return self.storages.setdefault(key, _Storage(kind))


def _read_zip(path: Path):
    with zipfile.ZipFile(path) as archive:
        pickled = next((name for name in archive.namelist() if name.endswith("data.pkl")), None)
        if pickled is None:
            raise ValueError("it is a zip file without data.pkl")
        with archive.open(pickled) as file:
            reader = _Reader(file)
            content = reader.load()
        for key, storage in reader.storages.items():
            storage.fill(archive.read(pickled.removesuffix("data.pkl") + f"data/{key}"))
    return content


def _read_legacy(path: Path):
    with path.open("rb") as file:
        if _Reader(file).load() != _LEGACY:
            raise ValueError("torch.save did not write it")
        for _ in ("protocol", "system"):
            _Reader(file).load()
        reader = _Reader(file)
        content = reader.load()
        for key in _Reader(file).load():
            storage = reader.storages[key]
            count = int.from_bytes(file.read(8), "little")
            size = count * np.dtype(_TYPES[storage.kind]).itemsize
            data = file.read(size)
            if len(data) < size:
                raise ValueError("its end is missing")
            storage.fill(data)
    return content


def _resolve(content) -> dict[str, np.ndarray]:
    for key in _INSIDE:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict):
        return {}
    return _of_module(content, "") if "_parameters" in content else {
        name: value.array() for name, value in content.items() if isinstance(value, _Tensor)
    }  # fmt: skip


def _of_module(module: dict, name: str) -> dict[str, np.ndarray]:
    """The tensors of a whole pickled module, by the names that its state dict would have."""
    tensors: dict[str, np.ndarray] = {}
    for kind in ("_parameters", "_buffers"):
        tensors |= {
            name + key: value.array()
            for key, value in module.get(kind, {}).items()
            if isinstance(value, _Tensor)
        }
    for key, inner in module.get("_modules", {}).items():
        tensors |= _of_module(inner, f"{name}{key}.") if isinstance(inner, dict) else {}
    return tensors
