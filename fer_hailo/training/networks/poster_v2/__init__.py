"""POSTER V2, or POSTER++ (Mao et al. 2025)."""

from fer_hailo.common.classes import AFFECTNET, RAF_DB
from fer_hailo.training.networks.attention import UNSUITED
from fer_hailo.training.networks.poster_v2.network import RENAMED, poster_v2
from fer_hailo.training.networks.record import System

NETWORK = System(
    poster_v2,
    UNSUITED,
    renamed=RENAMED,
    multiple=32,
    orders={"RAF-DB": RAF_DB, "AffectNet-7": AFFECTNET[:7], "AffectNet-8": AFFECTNET},
)
