"""dlib's network for recognising faces (King 2017), whose weights are public domain."""

from fer_hailo.training.networks.dlib_resnet.network import dlib_resnet
from fer_hailo.training.networks.record import Network
from fer_hailo.training.networks.weights import Kind

UNSURE = "unsure: its shortcuts are padded with channels of zeros"
NETWORK = Network(dlib_resnet, "CC0 (faces)", UNSURE, own=(Kind.ARRAYS, Kind.DLIB))
