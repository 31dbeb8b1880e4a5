"""ResNet-18 (He et al. 2016), which other networks here have inside too."""

from fer_hailo.training.networks.record import Network
from fer_hailo.training.networks.resnet18.network import resnet18

NETWORK = Network(resnet18, "", "yes: Hailo's model zoo has it")
