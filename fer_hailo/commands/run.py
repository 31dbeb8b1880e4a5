"""Read the expressions of faces in images, videos and from cameras, with a .keras, .tflite or .hef model.

fer-hailo run photo.jpg                              an image, by the newest run's model or the released one
fer-hailo run photos/ 'more/**/*.png' clip.mp4 --save out --json
fer-hailo run photo.jpg --save out --explain         where in the faces the network saw it
fer-hailo run 0 --model deploy/hailo8/model.hef --web 8080      the first camera; look at 127.0.0.1:8080
fer-hailo run picamera --size 1280x720 --rate 30     a Raspberry Pi camera
fer-hailo run --cameras                              the cameras here, by name
fer-hailo run --benchmark A.tflite B.hef             images/s, latency, memory
fer-hailo run --doctor                               what is wrong on this board, and how to mend it

Nothing is stored unless --save asks for it. Exit status: 0 done, 1 some inputs could not be read or gave no
answer, 2 nothing could be done or the disk is full, 130 ended by Ctrl-C or SIGTERM, 141 nobody reads the
output any more.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re

from fer_hailo.common.cli import Parser, command_parser
from fer_hailo.common.errors import UserError


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    instead = arguments.doctor or arguments.cameras or arguments.benchmark is not None
    if arguments.sources and instead:
        raise UserError(
            f"{arguments.sources[0]}: --doctor, --cameras and --benchmark take no SOURCE; a model goes after "
            "--model, or after --benchmark"
        )
    if arguments.cameras:
        from fer_hailo.board.devices import list_cameras

        return list_cameras()
    if arguments.doctor:
        from fer_hailo.board.doctor.report import run_doctor

        return run_doctor(arguments.model, detector=arguments.detector)
    if arguments.benchmark is not None:
        from fer_hailo.board.benchmark import run_benchmark

        if arguments.benchmark and arguments.model:
            raise UserError("--model does not go with models named after --benchmark: name all of them there")
        return run_benchmark(arguments.benchmark or [arguments.model], arguments.threads)
    if not arguments.sources:
        raise UserError(
            "name an image, folder, pattern, video, camera number, picamera or rtsp:// address (see --help)"
        )
    from fer_hailo.board.session import Settings, analyse

    others = ("doctor", "cameras", "benchmark")
    return analyse(Settings(**{name: value for name, value in vars(arguments).items() if name not in others}))


def _parser() -> Parser:
    parser = command_parser("run", __doc__)
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="image, folder, pattern, video, camera number, picamera, rtsp:// address, gst:PIPELINE",
    )
    parser.add_argument(
        "--model",
        help="model file, a folder with one, or released:NAME[/FILE] [the newest run's, else a released one]",
    )
    parser.add_argument(
        "--threads", type=_number(int, 1, 64), default=1, metavar="N", help="CPU threads of a .tflite [1]"
    )
    parser.add_argument(
        "--batch",
        type=_number(int, 1, 64),
        default=8,
        metavar="N",
        help="faces that a Hailo device takes at once [8]",
    )
    faces = parser.add_argument_group("faces")
    faces.add_argument(
        "--detector",
        metavar="NAME",
        default="yunet",
        help="yunet, haar, none (images are faces), a YuNet .onnx of your own, or an SCRFD .hef, such as "
        "scrfd_2.5g.hef, which runs on the Hailo device [yunet]",
    )
    faces.add_argument(
        "--every",
        type=_every,
        metavar="N|auto",
        help="search each Nth frame of a video, follow faces in between; 1: each, whole [auto]",
    )
    faces.add_argument(
        "--turn",
        choices=("auto", "never"),
        default="auto",
        help="auto: search images turned, too, where no face is surely upright [auto]",
    )
    faces.add_argument(
        "--margin",
        type=_number(float, -0.5, 2),
        metavar="PART",
        help="enlarge the face's box by this part of it",
    )
    faces.add_argument(
        "--smooth",
        type=_number(float, 0, 60),
        default=0.5,
        metavar="S",
        help="smooth over S seconds of a video [0.5; 0: not]",
    )
    faces.add_argument(
        "--max-pixels",
        type=_number(int, 1, 10**10),
        default=10**8,
        metavar="N",
        help="largest image [100,000,000 pixels]",
    )
    camera = parser.add_argument_group("camera")
    camera.add_argument("--size", type=_size, metavar="WxH", help="size of its frames, such as 1280x720")
    camera.add_argument("--rate", type=_number(float, 1, 240), metavar="N", help="its frames a second")
    output = parser.add_argument_group("output").add_mutually_exclusive_group()
    for name, what in (
        ("json", "one list"),
        ("jsonl", "one JSON line an image or frame"),
        ("csv", "one line a face"),
    ):
        output.add_argument(
            f"--{name}",
            dest="form",
            action="store_const",
            const=name,
            default="table",
            help=f"{what}, on standard output",
        )
    more = parser.add_argument_group("images")
    more.add_argument("--save", metavar="DIR|FILE.mp4", help="write annotated images and videos")
    more.add_argument(
        "--explain",
        action="store_true",
        help="with --save: beside each image NAME-explained.png, heat maps of where the network looked",
    )
    more.add_argument("--show", action="store_true", help="show them in a window; q ends")
    more.add_argument("--web", metavar="[HOST:]PORT", help="show them on a web page")
    more.add_argument(
        "--token", default=os.environ.get("FER_HAILO_TOKEN"), help="password of the page [$FER_HAILO_TOKEN]"
    )
    other = parser.add_argument_group("instead of a SOURCE").add_mutually_exclusive_group()
    other.add_argument("--cameras", action="store_true", help="list the cameras by name")
    other.add_argument("--benchmark", nargs="*", metavar="MODEL", help="measure models")
    other.add_argument(
        "--doctor",
        action="store_true",
        help="check driver, firmware, packages, camera, model, and a detector that is a .hef",
    )
    return parser


def _every(text: str) -> int | None:
    if text == "auto":
        return None
    try:
        return _number(int, 1, 1000)(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}; or auto") from None


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{2,5})x(\d{2,5})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"must be WIDTHxHEIGHT, such as 1280x720, not {text}")
    return int(found[1]), int(found[2])


def _number(kind: type, low: float, high: float):
    def read(text: str):
        with contextlib.suppress(ValueError):
            if low <= (value := kind(text)) <= high:
                return value
        raise argparse.ArgumentTypeError(
            f"must be {'a whole number' if kind is int else 'a number'} from {low:g} to {high:g}, not {text}"
        )

    return read
