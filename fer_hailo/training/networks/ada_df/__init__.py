"""Ada-DF (Liu et al. 2023)."""

from fer_hailo.common.classes import AFFECTNET, RAF_DB
from fer_hailo.training.networks.ada_df.loss import OBJECTIVE
from fer_hailo.training.networks.ada_df.network import RENAMED, TWIN, ada_df, ada_df_pair
from fer_hailo.training.networks.record import System

YES = "yes: what is left is a ResNet-18"
NETWORK = System(
    ada_df,
    YES,
    objective=OBJECTIVE,
    training=ada_df_pair,
    twin=TWIN,
    renamed=RENAMED,
    orders={
        "RAF-DB": RAF_DB,
        "AffectNet-7": AFFECTNET[:7],
        "SFEW": tuple(sorted(AFFECTNET[:7])),  # class folders by the alphabet
    },
)
