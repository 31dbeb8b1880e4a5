"""VGG-19 (Simonyan and Zisserman 2015), of keras.applications."""

from fer_hailo.training.networks.record import Network
from fer_hailo.training.networks.vgg19.network import vgg19

NETWORK = Network(vgg19, "CC BY 4.0", "likely: plain convolutions; untried")
