"""NASNet-A mobile (Zoph et al. 2018), of keras.applications."""

from fer_hailo.training.networks.nasnet_mobile.network import nasnet_mobile
from fer_hailo.training.networks.record import Network

NETWORK = Network(nasnet_mobile, "Apache 2.0", "unlikely: crops and pads feature maps, 750 small layers")
