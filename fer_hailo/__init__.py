"""FER-Hailo: train a facial-expression classifier with Keras, convert it, and run it on a Hailo-8.

For programs:

    import fer_hailo

    model = fer_hailo.load()
    for face in model.predict("photo.jpg"):
        print(face.label, face.probabilities[face.label], face.box)

Importing this package loads no framework and starts nothing; see the modules of each stage.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

# pip sees to it; a checkout and compile_hef.pyz are run by any Python
if sys.version_info < (3, 10):  # noqa: UP036
    sys.stderr.write(
        f"error: this Python ({sys.executable}) is {sys.version_info[0]}.{sys.version_info[1]}, and "
        "fer-hailo needs 3.10 or newer\n"
    )
    sys.exit(2)

if TYPE_CHECKING:
    from pathlib import Path

    from fer_hailo.api import Model

__version__ = "0.1.0"


def load(path: Path | str | None = None, *, detector: str = "yunet", threads: int = 1) -> Model:
    """Open a model. Close it after use, or use it in a `with`.

    path: a .keras, .tflite or .hef file, a folder with one, or released:NAME; None: the released model,
    whatever the current folder. detector: yunet, haar, none (each image is one face), or a YuNet .onnx
    file of your own. threads: of the CPU, for a .tflite.

    Raises UserError (fer_hailo.common.errors) where there is no such model or detector, or a package that it
    needs is missing.
    """
    from fer_hailo.common.errors import UserError
    from fer_hailo.common.missing import remedy
    from fer_hailo.common.released import DEFAULT, PREFIX

    try:
        from fer_hailo.api import Model

        return Model(PREFIX + DEFAULT if path is None else path, detector, threads)
    except ImportError as error:
        if said := remedy(error, "run"):
            raise UserError(said) from error
        raise
