"""The float network made ready for 8 bits: constants folded, nearly constant h-swish channels widened, channels scaled.

All of it is done on the float network, so that the quantizer of a chip's maker starts from it too, not only ours.
"""

from __future__ import annotations

import keras
import numpy as np

from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.training.convert.folding import fold_constants
from fer_hailo.training.convert.scaling import scale_channels
from fer_hailo.training.convert.swish_scaling import widen_swishes
from fer_hailo.training.data.rows import Images

IMAGES = 256  # calibration pictures that tell how wide a channel is


def equalise(model: keras.Model, calibration: np.ndarray, val: Images, spec: PreprocessSpec) -> tuple[keras.Model, keras.Model, dict]:
    """(network for 8 bits, network that it must equal in float, facts for the report).

    model: a cleaned Functional classifier. calibration: uint8 (N, I, I, 3). val: uint8 (M, S, S[, 3]) cached pictures.
    The second is the first before scaling, which changes no answer; it differs from `model` by the h-swish channels, as the facts say.
    """
    widened, outcome = widen_swishes(fold_constants(model), calibration, val, spec)
    scaled, count = scale_channels(widened, calibration[:IMAGES], spec)
    straight = {name: [channel.number for channel in channels] for name, channels in outcome.channels.items()}
    facts = {"scaled": count, "straight": straight, "tolerance": outcome.tolerance, "same": outcome.same, "moved": outcome.moved}
    return scaled, widened, facts
