"""POSTER (Zheng et al. 2023)."""

from fer_hailo.common.classes import AFFECTNET, RAF_DB
from fer_hailo.training.networks.attention import UNSUITED
from fer_hailo.training.networks.poster.network import RENAMED, poster
from fer_hailo.training.networks.record import System

NETWORK = System(
    poster,
    UNSUITED,
    renamed=RENAMED,
    multiple=32,
    orders={"RAF-DB": RAF_DB, "AffectNet-7": AFFECTNET[:7], "AffectNet-8": AFFECTNET},
)
