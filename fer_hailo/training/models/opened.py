"""The network of any model file that Keras can run: a .keras or .h5 file, or an official checkpoint."""

from __future__ import annotations

from dataclasses import replace

import keras

from fer_hailo.common.config import load_config
from fer_hailo.common.errors import UserError
from fer_hailo.common.preprocess import PreprocessSpec
from fer_hailo.common.resources import recipes
from fer_hailo.deploy.home import Format, Home, Kind
from fer_hailo.training.models.build import build_model, load_model
from fer_hailo.training.models.state_dict import load_whole
from fer_hailo.training.networks.record import System
from fer_hailo.training.networks.registry import ARCHITECTURES, network


def open_network(home: Home) -> keras.Model:
    """From float32 (B, I, I, 3) to logits float32 (B, C), in the order of `home.order`.

    A checkpoint becomes the network that the flag --arch names, at the input size of its paper or of the
    flag. Raises UserError where it is another network's, or nothing says what `check_stated` asks for.
    """
    if home.format is not Format.CHECKPOINT:
        return load_model(home.model)
    check_stated(home)
    config = load_config(None, home.overrides, recipes())
    model = build_model(config, weights="none", logits=len(home.order))
    load_whole(home.model, model)
    return model


def check_stated(home: Home) -> None:
    """Raise UserError unless flags, or a labels.txt beside it, say what a checkpoint's network is, and in
    which order its outputs stand. Other files know their network.
    """
    if home.format is not Format.CHECKPOINT:
        return
    name = home.overrides.get("arch", "")
    known = network(name) if name else None
    if not isinstance(known, System):
        systems = ", ".join(name for name, each in ARCHITECTURES.items() if isinstance(each, System))
        raise UserError(f"{home.model} holds weights alone: say with --arch of which network, {systems}")
    if "classes" not in home.overrides and home.stated.labels is None:
        orders = " or ".join(f"{','.join(order)} ({data})" for data, order in known.orders.items())
        raise UserError(
            f"{home.model} does not say which class each output is: add --classes with their names in that "
            f"order; that of the official code is {orders}"
        )


def seen_by(home: Home, model: keras.Model) -> PreprocessSpec:
    """How faces are prepared for a model: of a bare file, at the size that it takes unless a flag says
    another.
    """
    spec = home.config.preprocess
    shape: tuple = getattr(model, "input_shape", ())
    if home.kind is Kind.BARE and "input_size" not in home.overrides and len(shape) == 4 and shape[1]:
        return replace(spec, input_size=shape[1])
    return spec
