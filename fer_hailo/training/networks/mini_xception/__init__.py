"""mini-XCEPTION (Arriaga et al. 2017)."""

from fer_hailo.training.networks.mini_xception.network import mini_xception
from fer_hailo.training.networks.record import Network

NETWORK = Network(mini_xception, "", "likely: separable convolutions; untried")
