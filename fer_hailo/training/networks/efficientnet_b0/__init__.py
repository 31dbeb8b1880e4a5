"""EfficientNet-B0 (Tan and Le 2019), of keras.applications."""

from fer_hailo.training.networks.efficientnet_b0.network import efficientnet_b0
from fer_hailo.training.networks.record import Network

NETWORK = Network(efficientnet_b0, "Apache 2.0", "unsure: swish; the zoo has the lite variant, with ReLU6")
