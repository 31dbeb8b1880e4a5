"""MobileNetV3Small (Howard et al. 2019), and what is left of it without the parts that 8 bits like least."""

from fer_hailo.training.networks.mobilenet_v3_small.network import (
    small,
    small_minimalistic,
    small_relu6,
    small_without_se,
)
from fer_hailo.training.networks.record import Network

APACHE = "Apache 2.0"
NETWORK = Network(small, APACHE, "yes; h-swish and squeeze-and-excite may need 16 bits")
NO_SE = Network(small_without_se, APACHE, "yes; h-swish may need 16 bits")
RELU6 = Network(small_relu6, APACHE, "yes; squeeze-and-excite may need 16 bits")
MINIMALISTIC = Network(small_minimalistic, APACHE, "yes: the one to take for a chip")
