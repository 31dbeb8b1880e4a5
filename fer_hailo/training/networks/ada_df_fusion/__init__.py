"""Ada-DF's targets (Liu et al. 2023) for any network with the common head."""

from fer_hailo.training.networks.ada_df.loss import OBJECTIVE
from fer_hailo.training.networks.ada_df_fusion.network import twin_pair
from fer_hailo.training.networks.record import Method

METHOD = Method(OBJECTIVE, pair=twin_pair)
