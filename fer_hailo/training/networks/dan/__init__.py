"""DAN, "Distract Your Attention" (Wen et al. 2023)."""

from fer_hailo.common.classes import AFFECTNET, RAF_DB
from fer_hailo.training.networks.dan.loss import answer
from fer_hailo.training.networks.dan.network import RENAMED, dan
from fer_hailo.training.networks.record import Objective, System

UNSURE = "unsure: a logarithm of the softmax over four heads"
NETWORK = System(
    dan,
    UNSURE,
    objective=Objective(answer, labelled=True),
    renamed=RENAMED,
    settings={"heads": "dan_heads"},
    orders={"RAF-DB": RAF_DB, "AffectNet-7": AFFECTNET[:7], "AffectNet-8": AFFECTNET},
)
