"""DenseNet-121 (Huang et al. 2017), of keras.applications."""

from fer_hailo.training.networks.densenet121.network import densenet121
from fer_hailo.training.networks.record import Network

NETWORK = Network(densenet121, "BSD 3-clause", "unsure: its batch norms before the convolutions do not fold")
