"""LNSU-Net's losses (Zhang et al. 2023, "Leave No Stone Unturned") for any network with the common head."""

from fer_hailo.training.networks.lnsu.loss import answer, spread
from fer_hailo.training.networks.record import Method, Objective

METHOD = Method(Objective(answer, spread=spread, one_dense=True))
