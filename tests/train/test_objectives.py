"""Methods by name: those that the configuration knows, and the networks that they go with."""

from dataclasses import fields

import pytest

from fer_hailo.common.config import Config
from fer_hailo.common.errors import UserError
from fer_hailo.common.groups import Loss
from fer_hailo.training.models.listing import METHODS as STATED
from fer_hailo.training.networks.record import System
from fer_hailo.training.networks.registry import ARCHITECTURES, METHODS, objective


def test_the_configuration_and_the_list_know_these_methods():
    (option,) = (field for field in fields(Loss) if field.name == "method")
    assert set(option.metadata["choices"]) == {"plain", *METHODS}
    assert all(f"--method {name} " in STATED for name in METHODS)
    systems = sorted(name for name, known in ARCHITECTURES.items() if isinstance(known, System))
    assert f"(not {', '.join(systems)})" in STATED


def test_a_method_that_does_not_fit():
    with pytest.raises(UserError, match="a head of one dense layer"):
        objective(Config.of(method="lnsu"))
    with pytest.raises(UserError, match="dan has a head and a method of its own"):
        objective(Config.of(method="lnsu", arch="dan", head_units=(), head_dropout=(0.1,)))
    assert objective(Config().change(arch="ddamfn")).outside == 1
