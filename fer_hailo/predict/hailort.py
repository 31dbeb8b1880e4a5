"""A classifier's HEF on a Hailo-8: checked before the device is touched."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np

from fer_hailo.common.calls import call
from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.formats.hef import DAMAGED, Hef, read_hef
from fer_hailo.predict.device import RUNNABLE, Network

MAX_BATCH = 0xFFFF  # HailoRT keeps it in 16 bits


class HailoRT:
    """A classifier on the process's Hailo device, until `close`. One thread at a time.

    path: the .hef. spec, labels: what its manifest promises; the chip normalises, so that of `spec` only the
    size is used. batch: images that go to the device as one job, 1 to 65535. Raises UserError, in this order:
    the file does not fit `spec` and `labels`, and what Network raises.
    """

    stage = "hef"

    def __init__(self, path: Path | str, spec: PreprocessSpec, labels: tuple[str, ...], batch: int = 8):
        if not 1 <= batch <= MAX_BATCH:
            raise UserError(f"a batch must have 1 to {MAX_BATCH} images, got {batch}")
        hef = read_hef(path)
        if doubt := check_hef(hef, path, spec, labels):
            print(f"warning: {doubt}", file=sys.stderr)
        self._input, self._classes = hef.groups[0].inputs[0].shape, len(labels)
        self._network = Network(path, hef, batch, compiled_for)

    def logits(self, images: np.ndarray, spec: PreprocessSpec) -> np.ndarray:
        """uint8 (N, I, I, 3) RGB, values 0..255, to float32 (N, C), dequantized by HailoRT.

        Raises ValueError for other images.
        """
        if images.dtype != np.uint8 or images.shape[1:] != self._input:
            raise ValueError(
                f"images must be uint8 (N, {', '.join(map(str, self._input))}), got {images.dtype} "
                f"{images.shape}"
            )
        if not len(images):
            return np.empty((0, self._classes), np.float32)
        (answer,) = self._network.infer(images).values()
        return answer.reshape(len(images), -1)

    def close(self) -> None:
        """Wait for what the device still does, and give it back. A second call does nothing."""
        self._network.close()


def compiled_for(architecture: str) -> str:
    """What to do with a classifier that is for another chip than this one."""
    return f"{call('compile')} --hw-arch {architecture.lower()}"


def check_hef(hef: Hef, path: Path | str, spec: PreprocessSpec, labels: tuple[str, ...]) -> str:
    """Raise UserError where a HEF is no classifier of `labels` for images as `prepare` makes them.

    Returns what the file leaves in doubt, "" if nothing.
    """
    if hef.architecture not in RUNNABLE:
        raise UserError(
            f"{path} is for {hef.architecture}, none of {', '.join(RUNNABLE)}: compile it for the board's "
            "chip (--hw-arch)"
        )
    if len(hef.groups) != 1:
        raise UserError(
            f"{path} holds {len(hef.groups)} network groups instead of one: compile this network alone"
        )
    group = hef.groups[0]
    if len(group.inputs) != 1 or len(group.outputs) != 1:
        raise UserError(
            f"{path} has {len(group.inputs)} inputs and {len(group.outputs)} outputs instead of one each: is "
            "it a classifier?"
        )
    source, answer, wanted = group.inputs[0], group.outputs[0], (spec.input_size, spec.input_size, 3)
    if (source.type, source.order, source.shape) != ("UINT8", "NHWC", wanted):
        found = f"{source.type} {source.order} {source.shape}"
        raise UserError(
            f"{path} takes {found}, its files promise UINT8 NHWC {wanted}: keep a HEF with the bundle that "
            "it was compiled from"
        )
    if not source.takes_bytes:
        raise UserError(
            f"{path} does not take the bytes 0..255 (scale {source.qp_scale}, zero point {source.qp_zp}), "
            "which are "
            "all that is sent: compile it with normalization()"
        )
    if answer.damaged:
        raise UserError(f"{path}: its output {DAMAGED}")
    if math.prod(answer.shape) != len(labels):
        raise UserError(
            f"{path} gives {math.prod(answer.shape)} values, its files name {len(labels)} classes: keep a "
            "HEF with the bundle that it "
            "was compiled from"
        )
    if source.normalised_on_chip:
        return ""
    return (
        f"no name in {path} proves that the chip normalises, and a network that was compiled without "
        "normalization() "
        f"looks the same: compare its predictions with the SDK's, {call('evaluate')} {path} --data BUNDLE"
    )
