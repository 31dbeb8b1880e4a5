"""HDF5 files in which one thing is another, while HDF5 itself finds nothing wrong."""

from __future__ import annotations

import io

from tools.fuzz.mutate import Rng, damaged
from tools.fuzz.values import strange_json

CONFIG = "model_config"


def h5_mutant(sample: bytes, rng: Rng) -> bytes:
    """A dataset, group or attribute lost, renamed, of another type or shape, or a link that leads round."""
    import h5py
    import numpy as np

    buffer = io.BytesIO(sample)
    with h5py.File(buffer, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = rng.choice(names)
        values = (
            np.zeros((0,)), np.float64(7), np.full((3, 2), np.nan), "text", b"\xff",
            np.zeros((1, 1, 1, 1, 1)), np.array([b"a", b"b"]), np.zeros(3, [("a", "f4")]), np.int64(-1),
        )  # fmt: skip
        kind = rng.randrange(6)
        if kind == 0:
            del file[name]
        elif kind == 1:
            file.move(name, rng.choice(["x", f"{name}_", "layers/x", "0"]))
        elif kind == 2:
            del file[name]
            file[name] = rng.choice(values)
        elif kind == 3:
            del file[name]
            file[name] = rng.choice(
                [h5py.SoftLink("/"), h5py.SoftLink("/none"), h5py.ExternalLink("x.h5", "/")]
            )
        else:
            place = rng.choice([file, file[name]])
            key = rng.choice([*place.attrs, "layer_names", "weight_names"])
            place.attrs[key] = rng.choice(values)
    content = buffer.getvalue()
    return damaged(content, rng, sample) if rng.random() < 0.1 else content


def model_mutant(sample: bytes, rng: Rng) -> bytes:
    """The same of a whole model; of half of them the configuration, which is JSON, says something else."""
    import h5py

    if rng.random() < 0.5:
        return h5_mutant(sample, rng)
    buffer = io.BytesIO(sample)
    with h5py.File(buffer, "r+") as file:
        text = file.attrs[CONFIG]
        changed = strange_json(text.encode() if isinstance(text, str) else text, rng)
        file.attrs[CONFIG] = changed.decode().encode("utf-8", "replace")
    return buffer.getvalue()
