"""Networks and methods by name: one line each. What is known about one stands in its folder."""

from __future__ import annotations

from fer_hailo.common.cli import nearest
from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.training.networks import (
    ada_df,
    ada_df_fusion,
    dan,
    ddamfn,
    densenet121,
    dlib_resnet,
    efficientnet_b0,
    lnsu,
    mini_xception,
    mobilenet_v3_small,
    nasnet_mobile,
    poster,
    poster_v2,
    resnet18,
    resnet50,
    vgg19,
)
from fer_hailo.training.networks.record import PLAIN, Method, Network, Objective, System

ARCHITECTURES: dict[str, Network | System] = {
    "mobilenet_v3_small": mobilenet_v3_small.NETWORK,
    "mobilenet_v3_small_no_se": mobilenet_v3_small.NO_SE,
    "mobilenet_v3_small_relu6": mobilenet_v3_small.RELU6,
    "mobilenet_v3_small_minimalistic": mobilenet_v3_small.MINIMALISTIC,
    "densenet121": densenet121.NETWORK,
    "nasnet_mobile": nasnet_mobile.NETWORK,
    "vgg19": vgg19.NETWORK,
    "resnet18": resnet18.NETWORK,
    "resnet50": resnet50.NETWORK,
    "efficientnet_b0": efficientnet_b0.NETWORK,
    "mini_xception": mini_xception.NETWORK,
    "dlib_resnet": dlib_resnet.NETWORK,
    "dan": dan.NETWORK,
    "ddamfn": ddamfn.NETWORK,
    "ada_df": ada_df.NETWORK,
    "poster": poster.NETWORK,
    "poster_v2": poster_v2.NETWORK,
}
METHODS: dict[str, Method] = {
    "lnsu": lnsu.METHOD,
    "ada_df_fusion": ada_df_fusion.METHOD,
}


def network(name: str) -> Network | System:
    """The network of this name. Raises UserError with the nearest known name."""
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UserError(f"unknown arch '{name}'{nearest(name, ARCHITECTURES)}: known are {known}")
    return ARCHITECTURES[name]


def objective(config: Config) -> Objective:
    """What a configuration's network or method adds to the loss. Raises UserError where they do not fit."""
    name, known = config.loss.method, network(config.model.arch)
    if name == "plain":
        return known.objective if isinstance(known, System) else PLAIN
    if isinstance(known, System):
        own = f"{config.model.arch} has a head and a method of its own"
        raise UserError(f"method {name} is for networks with the common head, {own}")
    method = METHODS[name].objective
    if method.one_dense and config.model.head_units:
        one = "give head_units no value, and head_dropout one"
        raise UserError(f"method {name} needs a head of one dense layer: {one}")
    return method
