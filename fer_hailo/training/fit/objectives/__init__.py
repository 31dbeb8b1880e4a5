"""What the papers' methods add to the loss: of a network (DAN, DDAMFN, Ada-DF), or of a method that trains any network (LNSU-Net, Ada-DF's
fusion)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.training.fit.objectives import ada_df, dan, ddamfn, lnsu
from fer_hailo.training.models.registry import System, network


@dataclass(frozen=True)
class Setting:
    """What a method may need to know: the configuration, pictures of each class, (C,), steps an epoch, and the part of the loss that comes
    from the labels, the rest being a teacher's."""

    config: Config
    counts: np.ndarray
    steps: int
    own: float = 1.0


@dataclass(frozen=True)
class Objective:
    """answer(network, faces, targets, setting): the logits of faces (B, I, I, 3), after `add_loss` of what the method adds. labelled:
    whether that takes the targets (B, C), None otherwise. outside: the part of the usual loss that stays. spread: counts (C,) to a matrix
    (C, C) by which labels are softened. one_dense: whether the head must be a single dense layer."""

    answer: Callable
    labelled: bool = False
    outside: float = 1.0
    spread: Callable[[np.ndarray], np.ndarray] | None = None
    one_dense: bool = False


PLAIN = Objective(lambda network, faces, targets, setting: network(faces))
FUSION = Objective(ada_df.answer, labelled=True, outside=0.0)
OBJECTIVES = {
    "dan": Objective(dan.answer, labelled=True),
    "ddamfn": Objective(ddamfn.answer),
    "ada_df": FUSION,
    "ada_df_fusion": FUSION,
    "lnsu": Objective(lnsu.answer, spread=lnsu.spread, one_dense=True),
}


def objective(config: Config) -> Objective:
    """The method of a configuration. Raises UserError where it does not go with the network."""
    if config.loss.method == "plain":
        return OBJECTIVES.get(config.model.arch, PLAIN)
    if isinstance(network(config.model.arch), System):
        raise UserError(
            f"method {config.loss.method} is for networks with the common head, {config.model.arch} has a head and a method of its own"
        )
    method = OBJECTIVES[config.loss.method]
    if method.one_dense and config.model.head_units:
        raise UserError(f"method {config.loss.method} needs a head of one dense layer: give head_units no value, and head_dropout one")
    return method
