"""DDAMFN (Zhang et al. 2023)."""

from fer_hailo.common.classes import AFFECTNET
from fer_hailo.training.networks.ddamfn.loss import answer
from fer_hailo.training.networks.ddamfn.network import RENAMED, ddamfn
from fer_hailo.training.networks.record import Objective, System

LIKELY = "likely: convolutions and gates; untried"
NETWORK = System(
    ddamfn,
    LIKELY,
    objective=Objective(answer),
    renamed=RENAMED,
    # Its scripts have the order of AffectNet for every data set
    orders={
        "RAF-DB, AffectNet-7": AFFECTNET[:7],
        "AffectNet-8, FERPlus": AFFECTNET,
    },
)
