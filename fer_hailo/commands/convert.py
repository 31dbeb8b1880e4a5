"""Convert a trained model to TFLite and make the deploy bundle for the SDK machine and the board.

fer-hailo convert                      the newest complete run
fer-hailo convert RUN
fer-hailo convert MODEL.keras --data PATH [--mean 127.5 --scale 127.5]      or a .h5 of Keras 1 to 3
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from fer_hailo.common.calls import install
from fer_hailo.common.cli import command_parser
from fer_hailo.common.config import add_flags, flag_values
from fer_hailo.common.errors import UserError

OTHERS = (".tflite", ".onnx", ".pb", ".pt", ".pth", ".har", ".hef")


def main(argv: list[str] | None = None) -> None:
    parser = command_parser("convert", __doc__)
    parser.add_argument("model", nargs="?", help="run folder, .keras or .h5 file [the newest complete run]")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for deploy/ and the report [the run folder]"
    )
    parser.add_argument(
        "--mean", type=float, help="of a bare .keras file: it was trained on (value - mean) / scale [127.5]"
    )
    parser.add_argument("--scale", type=float, help="see --mean [127.5]")
    add_flags(parser)
    arguments = parser.parse_args(argv)
    if Path(arguments.model or "").suffix.lower() in OTHERS:
        raise UserError(
            f"{arguments.model} is no Keras file: conversion starts from the .keras or .h5 that it was made "
            "of (docs/models-from-elsewhere.md)"
        )
    for name in ("tensorflow", "ai_edge_quantizer"):
        if importlib.util.find_spec(name) is None:
            raise UserError(f"{name} is not installed here, and conversion needs it: {install('train')}")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # only TensorFlow writes TFLite, whatever trained the model
    from fer_hailo.training.convert.conversion import convert

    convert(arguments.model, flag_values(arguments), arguments.out, arguments.mean, arguments.scale)
