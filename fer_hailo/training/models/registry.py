"""Networks by name: what builds them, and what is known about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import keras

from fer_hailo.common.cli import nearest
from fer_hailo.common.errors import UserError
from fer_hailo.training.models import (
    ada_df,
    applications,
    dan,
    ddamfn,
    dlib_resnet,
    mini_xception,
    mobilenet_v3,
    poster,
    poster_v2,
    resnet,
)


@dataclass(frozen=True)
class Network:
    """A backbone, to which the common head is added.

    build: backbone(input_size, weights), a Functional model from (I, I, 3) floats in [-1, 1] to a feature map, with the same graph
    whatever the weights (a path, "imagenet" or None). licence: of the weights that it can start from, empty where none are published for
    it. hailo: what Hailo-8 makes of it. tflite: whether convert_tflite.py takes it. own: suffixes of the files in which its weights are
    published, where they are not Keras' .h5. Those come without the statistics of batch norms: training measures them first."""

    build: Callable[[int, str | None], keras.Model]
    licence: str
    hailo: str
    tflite: str = "yes"
    own: tuple[str, ...] = ()


@dataclass(frozen=True)
class System:
    """A whole classifier with a head of its own, as a paper has it. Its layers are called as its official code calls its modules, with
    - for the dot.

    build: classifier(input_size, logits), from (I, I, 3) floats in [-1, 1] to logits. hailo, tflite: as of a Network; there are no ImageNet
    weights. training: what trains in its stead, if anything else does, of which the first output is the classifier's; its layers that
    begin with twin[0] start as those that begin with twin[1]. renamed: {the beginning of a name in the checkpoint of a backbone: where that
    stands in the network}. multiple: what the input size must be divisible by.
    """

    build: Callable[[int, int], keras.Model]
    hailo: str
    licence: str = ""
    tflite: str = "yes"
    training: Callable[[int, int], keras.Model] | None = None
    twin: tuple[str, str] = ("", "")
    renamed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    multiple: int = 1


ZOO = "yes: Hailo's model zoo has it"
TOKENS = "no: attention between tokens, layer norms, exact GELU"
ARCHITECTURES: dict[str, Network | System] = {
    "mobilenet_v3_small": Network(mobilenet_v3.small, "Apache 2.0", "yes; h-swish and squeeze-and-excite may need 16 bits"),
    "mobilenet_v3_small_no_se": Network(mobilenet_v3.small_without_se, "Apache 2.0", "yes; h-swish may need 16 bits"),
    "mobilenet_v3_small_relu6": Network(mobilenet_v3.small_relu6, "Apache 2.0", "yes; squeeze-and-excite may need 16 bits"),
    "mobilenet_v3_small_minimalistic": Network(mobilenet_v3.small_minimalistic, "Apache 2.0", "yes"),
    "densenet121": Network(applications.densenet121, "BSD 3-clause", "unsure: its batch norms before the convolutions do not fold"),
    "nasnet_mobile": Network(applications.nasnet_mobile, "Apache 2.0", "unlikely: crops and pads feature maps, 750 small layers"),
    "vgg19": Network(applications.vgg19, "CC BY 4.0", "likely: plain convolutions; untried"),
    "resnet18": Network(resnet.resnet18, "", ZOO),
    "resnet50": Network(applications.resnet50, "MIT", ZOO),
    "efficientnet_b0": Network(applications.efficientnet_b0, "Apache 2.0", "unsure: swish; the zoo has the lite variant, with ReLU6"),
    "mini_xception": Network(mini_xception.mini_xception, "", "likely: separable convolutions; untried"),
    "dlib_resnet": Network(
        dlib_resnet.dlib_resnet, "CC0 (faces)", "unsure: its shortcuts are padded with channels of zeros", own=(".npz", ".dat")
    ),
    "dan": System(dan.dan, "unsure: a logarithm of the softmax over four heads", renamed=dan.RENAMED),
    "ddamfn": System(ddamfn.ddamfn, "likely: convolutions and gates; untried", renamed=ddamfn.RENAMED),
    "ada_df": System(
        ada_df.ada_df, "yes: what is left is a ResNet-18", training=ada_df.ada_df_pair, twin=ada_df.TWIN, renamed=ada_df.RENAMED
    ),
    "poster": System(poster.poster, TOKENS, renamed=poster.RENAMED, multiple=32),
    "poster_v2": System(poster_v2.poster_v2, TOKENS, renamed=poster_v2.RENAMED, multiple=32),
}


def network(name: str) -> Network | System:
    """The network of this name. Raises UserError with the nearest known name."""
    if name not in ARCHITECTURES:
        raise UserError(f"unknown arch '{name}'{nearest(name, ARCHITECTURES)}: known are {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]
