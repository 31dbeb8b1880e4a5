"""ResNet-50 (He et al. 2016), of keras.applications."""

from fer_hailo.training.networks.record import Network
from fer_hailo.training.networks.resnet50.network import resnet50

NETWORK = Network(resnet50, "MIT", "yes: Hailo's model zoo has it")
