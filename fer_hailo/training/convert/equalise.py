"""The float network made ready for 8 bits: constants folded, nearly constant h-swish channels widened,
channels scaled.

All of it is done on the float network, so that the quantizer of a chip's maker starts from it too, not only
ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.training.convert.folding import fold_constants
from fer_hailo.training.convert.scaling import scale_channels
from fer_hailo.training.convert.swish_scaling import widen_swishes
from fer_hailo.training.data.rows import Images

IMAGES = 256  # calibration images that tell how wide a channel is


@dataclass(frozen=True)
class Equalised:
    """scaled: channels, which changes no answer. straight: by h-swish, nearly constant channels that became
    its identity.

    tolerance: within how much of a straight line they are. same: part of the validation predictions that
    stayed. moved: the largest move of a logit.
    """

    scaled: int
    straight: dict[str, list[int]]
    tolerance: float
    same: float
    moved: float


def equalise(
    model: keras.Model,
    calibration: np.ndarray,
    val: Images,
    spec: PreprocessSpec,
    expected: np.ndarray | None = None,
) -> tuple[keras.Model, keras.Model, Equalised]:
    """(network for 8 bits, network that it must equal in float, what was done).

    model: a cleaned Functional classifier. calibration: uint8 (N, I, I, 3). val: uint8 (M, S, S[, 3]) cached
    images. expected: what they gave before the clean-up, logits (M, C) of a Scorer, where that is known. The
    second is the first before scaling, which changes no answer; it differs from `model` by the
    h-swish channels, as the last says.
    """
    widened, outcome = widen_swishes(fold_constants(model), calibration, val, spec, expected)
    scaled, count = scale_channels(widened, calibration[:IMAGES], spec)
    straight = {name: [channel.number for channel in channels] for name, channels in outcome.channels.items()}
    return scaled, widened, Equalised(count, straight, outcome.tolerance, outcome.same, outcome.moved)
